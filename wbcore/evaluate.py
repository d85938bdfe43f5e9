"""The meeting point: model × data × metric → records."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from tqdm import tqdm

from wbcore.data.cutouts import CutoutScenes
from wbcore.data.example import Dataset, Example
from wbcore.data.registry import open_dataset
from wbcore.data.views import subset
from wbcore.errors import InputError
from wbcore.metrics.attention import (
    NoObjectError,
    best_head_iou,
    dino_jaccard,
    keep_entries,
    keep_mass,
    paper_miou,
    to_pixels,
    to_tokens,
)
from wbcore.metrics.baselines import centred_blob, random_heads
from wbcore.metrics.coco_form import Truth, coco_form
from wbcore.metrics.detection import class_agnostic_ap
from wbcore.metrics.intervals import bootstrap_mean
from wbcore.metrics.maskcut import maskcut_batch
from wbcore.models.backbone import Backbone
from wbcore.plots import Overlay
from wbcore.provenance import provenance
from wbcore.records import Record

BATCH = 16


class Reading(NamedTuple):
    """What a model shows of a batch of images, patches only, and the masks that MaskCut makes of it."""

    attention: Mapping[int, Float[Tensor, "b h p"]]
    """The class token's attention, by layer."""
    masks: Bool[Tensor, "b m rows cols"]
    """Objects found, in order."""


@dataclass(frozen=True)
class Subject:
    """Something whose segmentation can be measured: a model, or a baseline that has looked at nothing."""

    name: str
    read: Callable[[UInt8[Tensor, "b 3 h w"]], Reading]
    seed: int | None = None
    weights_sha256: str | None = None


def model_subject(
    model: Backbone,
    *,
    name: str,
    layers: Sequence[int] = (-2, -1),
    feature_layer: int = -1,
    num_masks: int = 3,
    tau: float = 0.15,
    device: str = "cpu",
    seed: int | None = None,
    weights_sha256: str | None = None,
) -> Subject:
    """A model as a subject: attention of ``layers``, MaskCut on the segmentation feature of ``feature_layer``."""
    model = model.to(device).eval()
    wanted = {"cls_attention": tuple(layers), "segmentation_feature": (feature_layer,)}

    def read(images: UInt8[Tensor, "b 3 h w"]) -> Reading:
        images = images.to(device)
        layout = model.layout(images)
        with torch.inference_mode():
            taps = model.taps(model.normalise(images), wanted)
        features = layout.patches(taps["segmentation_feature"][feature_layer])
        masks = maskcut_batch(features.float(), layout.grid, tau=tau, num_masks=num_masks)
        attention = {layer: layout.patches(taps["cls_attention"][layer], dim=-1).float().cpu() for layer in layers}
        return Reading(attention, masks.cpu())

    return Subject(name, read, seed, weights_sha256)


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
        masks = keep_mass(attention[:, :num_masks], 0.6).unflatten(-1, grid)
        return Reading(dict.fromkeys(layers, attention), masks)

    return Subject(name, read, seed if name == "random_heads" else None)


@dataclass(frozen=True)
class Measurement:
    """Data and image size of one kind of measurement."""

    data: str
    split: str
    size: int
    limit: int | None = None

    def open(self, data_root: Path | str | None = None, limit: int | None = None) -> Dataset:
        """The data set, with no more than ``limit`` images (default: the profile's own limit)."""
        count = self.limit if limit is None else limit
        if self.data == "cutouts":
            return CutoutScenes(self.split, size=self.size, count=200 if count is None else count)
        dataset = open_dataset(self.data, data_root=data_root, split=self.split)
        return dataset if count is None else subset(dataset, count)


RULES: dict[str, Callable[[Float[Tensor, "b h p"]], Bool[Tensor, "b h p"]]] = {
    "mass60": lambda attn: keep_mass(attn, 0.6),  # DINO's code
    "entries60": lambda attn: keep_entries(attn, 0.6),  # CRATE, appendix B.3, to the letter
    "entries20": lambda attn: keep_entries(attn, 0.2),  # about the share of an image that objects cover
}
"""How attention becomes a mask; see :mod:`wbcore.metrics.attention`."""


def resize(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[Tensor, "3 s s"]:
    """An image as a square of ``size`` pixels (bilinear with antialiasing; the aspect is not kept).

    Source: CRATE, appendix C.1 (224 px); MaskCut's code does the same at 480 px.
    """
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if tensor.shape[-2:] == (size, size):
        return tensor
    resized = F.interpolate(tensor[None].float(), (size, size), mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)


def segmentation(
    subject: Subject, dataset: Dataset, *, data: str, size: int, command: str, device: str = "cpu"
) -> list[Record]:
    """Attention mIoU and MaskCut AP of one subject on one data set, images resized to ``size``.

    The records name the data set ``data``; its full name, split included, stands in their settings.

    Metrics of the result, as far as the data are annotated for them (classes for the first two, objects for the third):

    - ``attention_miou/<rule>/layer<l>``: CRATE, Eqs. (13) and (14), on the token grid, best head per class;
    - ``attention_jaccard/mass60/layer<l>``: DINO's protocol, at pixels;
    - ``maskcut_<bbox|segm>/<ap|ap50|ap75>``: class-agnostic COCO AP of MaskCut's masks, constant scores, without CRF.

    Images without an object are left out of a mean over images and counted in the record's settings.
    Raises: InputError if the data have no annotation for any of these.
    """
    started = time.monotonic()
    scores: dict[str, list[float]] = {}
    without_object = 0
    predictions, truths = [], []
    for example, reading, index in tqdm(
        _read(subject, dataset, size), total=len(dataset), desc=f"{subject.name} on {dataset.name}", disable=None
    ):
        if example.semantic is not None:
            try:
                for metric, value in _attention_scores(reading, index, example).items():
                    scores.setdefault(metric, []).append(value)
            except NoObjectError:
                without_object += 1
        if example.instances is not None:
            shape = (example.image.shape[0], example.image.shape[1])
            predictions.append(to_pixels(reading.masks[index], shape).numpy())
            truths.append(Truth(example.instances, example.crowd))
    if not scores and not truths:
        raise InputError(f"{dataset.name} has neither classes nor objects: segmentation needs masks")
    common: dict[str, Any] = {
        "model": subject.name,
        "data": data,
        "data_sha256": dataset.fingerprint,
        "weights_sha256": subject.weights_sha256,
        "seeds": () if subject.seed is None else (subject.seed,),
        "command": command,
        **provenance(device),
    }
    intervals = {metric: bootstrap_mean(np.array(values)) for metric, values in scores.items()}
    protocol: dict[str, Any] = {"dataset": dataset.name, "size": size}
    settings = {metric: {**protocol, "images_without_object": without_object} for metric in intervals}
    if truths:
        form = coco_form(predictions, truths)
        for kind in ("bbox", "segm"):
            found = class_agnostic_ap(form, kind=kind)
            for name, interval in zip(found._fields, found, strict=True):
                intervals[f"maskcut_{kind}/{name}"] = interval
                settings[f"maskcut_{kind}/{name}"] = {
                    **protocol,
                    "scores": "constant",
                    "crf": False,
                }
    seconds = round(time.monotonic() - started, 1)
    return [
        Record(
            metric=metric,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=interval.n,
            settings=settings[metric],
            values=tuple(round(value, 4) for value in scores[metric]) if metric in scores else None,
            seconds=seconds,
            **common,
        )
        for metric, interval in intervals.items()
    ]


def _read(subject: Subject, dataset: Dataset, size: int) -> Iterator[tuple[Example, Reading, int]]:
    """Every example with the reading of its batch and its place in it."""
    for first in range(0, len(dataset), BATCH):
        examples = [dataset[index] for index in range(first, min(first + BATCH, len(dataset)))]
        reading = subject.read(torch.stack([resize(example.image, size) for example in examples]))
        for index, example in enumerate(examples):
            yield example, reading, index


def _attention_scores(reading: Reading, index: int, example: Example) -> dict[str, float]:
    """All attention metrics of one image.  Raises: NoObjectError if it has no object."""
    grid = (reading.masks.shape[-2], reading.masks.shape[-1])
    labels = torch.from_numpy(example.semantic)
    token_labels = to_tokens(labels, grid)  # once for all layers and rules
    found = {}
    for layer, attention in reading.attention.items():
        for rule, keep in RULES.items():
            masks = keep(attention[index]).unflatten(-1, grid)
            found[f"attention_miou/{rule}/layer{layer}"] = paper_miou(masks, token_labels)
            if rule == "mass60":
                found[f"attention_jaccard/{rule}/layer{layer}"] = dino_jaccard(masks, labels)
    return found


def square(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "s s 3"]:
    """An image as :func:`resize` shows it to a model, to be drawn."""
    return resize(image, side).permute(1, 2, 0).numpy()


def look(subject: Subject, examples: Sequence[Example], *, size: int, layer: int = -1) -> list[Overlay]:
    """What a subject sees of some images: one head's attention and MaskCut's masks, to be drawn over the picture.

    Where an image is annotated, the head whose mask (60 % of the mass) fits its objects best, which is an oracle's
    choice as in CRATE's Eq. (13); elsewhere the mean over all heads.  The caption says which.
    """
    reading = subject.read(torch.stack([resize(example.image, size) for example in examples]))
    grid = (reading.masks.shape[-2], reading.masks.shape[-1])
    found = []
    for index, example in enumerate(examples):
        attention = reading.attention[layer][index]
        if example.semantic is None:
            heat, caption = attention.mean(dim=0), "mean of heads"
        else:
            objects = to_tokens(torch.from_numpy((example.semantic > 0).astype(np.uint8)), grid).flatten() == 1
            best = best_head_iou(keep_mass(attention, 0.6), objects[None])
            head = int(best.head[0])
            heat, caption = attention[head], f"head {head}, IoU {100 * float(best.iou[0]):.0f} %"
        found.append(Overlay(heat.unflatten(-1, grid).numpy(), reading.masks[index].numpy(), caption))
    return found
