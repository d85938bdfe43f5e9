"""What can be measured: a model, or a baseline that has looked at nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from wbcore.devices import choose_device
from wbcore.errors import InputError
from wbcore.metrics.attention import keep_mass, to_pixels
from wbcore.metrics.baselines import centred_blob, random_heads
from wbcore.metrics.crf import refine
from wbcore.metrics.maskcut import Peak, maskcut_batch
from wbcore.metrics.normalized_cut import Affinity
from wbcore.models.backbone import Backbone


@dataclass(frozen=True)
class Reading:
    """What a subject shows of a batch of images, patches only."""

    attention: Mapping[int, Float[Tensor, "b h p"]]
    """The class token's attention, by layer."""
    grid: tuple[int, int]
    """Rows and columns of the ``p`` patches."""
    find: Callable[[], Bool[Tensor, "b m rows cols"]]
    """Finds the objects; called when :attr:`masks` is first looked at, because it costs far more than the rest."""

    @cached_property
    def masks(self) -> Bool[Tensor, "b m rows cols"]:
        """Objects found, in order."""
        return self.find().cpu()


@dataclass(frozen=True)
class Subject:
    """Something whose segmentation can be measured."""

    name: str
    read: Callable[[UInt8[Tensor, "b 3 h w"]], Reading]
    seed: int | None = None
    weights_sha256: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How its masks are made, for the records of them."""


def model_subject(
    model: Backbone,
    *,
    name: str,
    layers: Sequence[int] = (-2, -1),
    feature_layer: int = -1,
    num_masks: int = 3,
    tau: float = 0.15,
    affinity: Affinity = "cosine",
    peak: Peak = "positive",
    device: str = "cpu",
    seed: int | None = None,
    weights_sha256: str | None = None,
) -> Subject:
    """A model as a subject: attention of ``layers``, MaskCut on the segmentation feature of ``feature_layer``.

    Raises: InputError if there is no such device.
    """
    model = model.to(choose_device(device)).eval()
    wanted = {"cls_attention": tuple(layers), "segmentation_feature": (feature_layer,)}
    cutting: dict[str, Any] = {"tau": tau, "num_masks": num_masks, "affinity": affinity, "peak": peak}

    def read(images: UInt8[Tensor, "b 3 h w"]) -> Reading:
        images = images.to(device)
        layout = model.layout(images)
        with torch.inference_mode():
            taps = model.taps(model.normalise(images), wanted)
        features = layout.patches(taps["segmentation_feature"][feature_layer]).float()
        attention = {layer: layout.patches(taps["cls_attention"][layer], dim=-1).float().cpu() for layer in layers}
        return Reading(attention, layout.grid, lambda: maskcut_batch(features, layout.grid, **cutting))

    return Subject(name, read, seed, weights_sha256, cutting)


def baseline_subject(
    name: str, *, patch_size: int, layers: Sequence[int] = (-2, -1), heads: int = 6, num_masks: int = 3, seed: int = 0
) -> Subject:
    """``random_heads`` or ``centred_blob`` on the token grid of a model with this patch.

    What MaskCut would return is 60 % of the mass of the blob, or of ``num_masks`` random heads.
    Raises: InputError for another name.
    """
    if name not in ("random_heads", "centred_blob"):
        raise InputError(f"unknown baseline {name!r}: choose random_heads or centred_blob")
    generator = torch.Generator().manual_seed(seed)

    def read(images: UInt8[Tensor, "b 3 h w"]) -> Reading:
        grid = images.shape[-2] // patch_size, images.shape[-1] // patch_size
        if name == "centred_blob":
            attention = centred_blob(grid).expand(len(images), -1, -1)
        else:
            n = grid[0] * grid[1]
            attention = random_heads(len(images) * heads, n, generator=generator).unflatten(0, (-1, heads))
        return Reading(
            dict.fromkeys(layers, attention), grid, lambda: keep_mass(attention[:, :num_masks], 0.6).unflatten(-1, grid)
        )

    return Subject(name, read, seed if name == "random_heads" else None)


def shrunk(subject: Subject, *, size: int) -> Subject:
    """A subject that sees every image as a square of ``size`` pixels (bilinear with antialiasing)."""

    def read(images: UInt8[Tensor, "b 3 h w"]) -> Reading:
        seen = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
        return subject.read(seen.round().clamp(0, 255).to(torch.uint8))

    return replace(subject, read=read)


def refined(subject: Subject) -> Subject:
    """A subject whose masks go through the CRF on the image that it is shown: masks of pixels, not of tokens.

    Source: MaskCut's last step, :func:`wbcore.metrics.crf.refine`.
    Deviates: the official code brings the result to the photograph's size by bicubic interpolation; here masks with
    and without CRF take the nearest pixel alike, so that the CRF is all that differs.
    Raises: ImportError, naming the remedy, when masks are looked at without the optional package.
    """

    def read(images: UInt8[Tensor, "b 3 h w"]) -> Reading:
        reading = subject.read(images)

        def find() -> Bool[Tensor, "b m rows cols"]:
            masks = to_pixels(reading.masks, (images.shape[-2], images.shape[-1])).numpy()
            pictures = images.permute(0, 2, 3, 1).cpu().numpy()
            return torch.from_numpy(np.stack([refine(*each) for each in zip(masks, pictures, strict=True)]))

        return replace(reading, find=find)

    return replace(subject, read=read, settings={**subject.settings, "crf": True})


def add_noise(
    images: UInt8[Tensor, "b 3 h w"], *, sigma: float, share: float, generator: torch.Generator
) -> UInt8[Tensor, "b 3 h w"]:
    """Gaussian noise on a random share of the pixels.

    ``sigma`` is its standard deviation in grey levels of 255, independent in the three colours; ``share`` the part of
    the pixels that it falls on, drawn anew for each image; the result is clipped to the range of a photograph.

    Source: CRATE, Figs. 11 and 12; clipping and the order of the draws are ours.
    Raises: InputError if ``sigma`` is negative or ``share`` not within [0, 1].
    """
    _check_noise(sigma, share)
    noise = sigma * torch.randn(images.shape, generator=generator)
    chosen = torch.rand(len(images), 1, *images.shape[2:], generator=generator) < share
    return (images + noise * chosen).round().clamp(0, 255).to(torch.uint8)


def noisy(subject: Subject, *, sigma: float, share: float, seed: int = 0) -> Subject:
    """A subject that sees every image behind the noise of :func:`add_noise`.

    Raises: InputError if ``sigma`` is negative or ``share`` not within [0, 1].
    """
    _check_noise(sigma, share)
    generator = torch.Generator().manual_seed(seed)
    return replace(
        subject, read=lambda images: subject.read(add_noise(images, sigma=sigma, share=share, generator=generator))
    )


def _check_noise(sigma: float, share: float) -> None:
    if sigma < 0 or not 0 <= share <= 1:
        raise InputError(f"noise of sigma={sigma} on a share of {share}: give sigma >= 0 and a share from 0 to 1")
