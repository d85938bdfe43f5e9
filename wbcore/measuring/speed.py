"""How fast a segmentation model runs under each policy, against itself with all tokens in all layers.

The two take turns, batch by batch, so that their ratio means something on a machine that does other work too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from wbcore.data.example import Dataset
from wbcore.data.segmentation_batches import to_size
from wbcore.data.views import subset
from wbcore.errors import InputError
from wbcore.measuring.segmentation import describe
from wbcore.metrics.intervals import Interval, bootstrap
from wbcore.metrics.segmentation_cost import dense_ledger, segmentation_ledger
from wbcore.metrics.timing import throughput
from wbcore.models.dovit import DoViT, Policy
from wbcore.records import Record
from wbcore.records.measured import common_fields

GROUP = 8
"""Images of a timing."""
MODES = {"throughput": GROUP, "fps": 1}
"""What is measured, and how many of them go through the model at once."""
DENSE = Policy()


@dataclass(frozen=True)
class Timings:
    """What one policy did: a line for each pair of timings."""

    rates: Float[np.ndarray, "n"]
    """Images per second."""
    dense: Float[np.ndarray, "n"]
    """The same images with all tokens, just before."""

    @property
    def rate(self) -> Interval:
        """Median and quartiles of the images per second."""
        low, median, high = np.quantile(self.rates, (0.25, 0.5, 0.75)).tolist()
        return Interval(median, low, high, len(self.rates))

    @property
    def speedup(self) -> Interval:
        """How many times faster than dense: the median over the pairs, with its bootstrap interval."""
        ratios = self.rates / self.dense
        (interval,) = bootstrap(lambda drawn: np.median(ratios[drawn], keepdims=True), len(ratios))
        return interval


def timed_images(dataset: Dataset, count: int, *, shorter: int | None = None) -> UInt8[Tensor, "n 3 h w"]:
    """``count`` evenly spaced images as one batch, their lesser side brought to ``shorter`` pixels.

    Images of different sizes are cut, around their centres, to the least height and width among them.
    """
    chosen = subset(dataset, count)
    images = [chosen[index].image for index in range(len(chosen))]
    if shorter is not None:
        images = [to_size(image, shorter) for image in images]
    rows, cols = (min(image.shape[axis] for image in images) for axis in (0, 1))
    return torch.from_numpy(np.stack([_centre(image, rows, cols) for image in images])).permute(0, 3, 1, 2).contiguous()


def _centre(image: UInt8[np.ndarray, "_h _w 3"], rows: int, cols: int) -> UInt8[np.ndarray, "_rows _cols 3"]:
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - cols) // 2
    return image[top : top + rows, left : left + cols]


def timings(
    model: DoViT,
    groups: Sequence[Float[Tensor, "_g c h w"]],
    policy: Policy,
    *,
    batch: int,
    repeats: int,
    precision: str = "float32",
) -> Timings:
    """Each group of images with all tokens and then under ``policy``, ``repeats`` times, after one round that does not
    count.

    Timed is the forward pass, from normalised images on the device to the logits of every pixel, ``batch`` images at
    once.
    """
    device = groups[0].device.type

    def run(used: Policy, group: Tensor) -> int:
        model.policy = used
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            for images in group.split(batch):
                model(images)
        return len(group)

    pairs = [
        [throughput(partial(run, used, group), device=device, warmup=0, repeats=1).median for used in (DENSE, policy)]
        for group in (groups[0], *(group for _ in range(repeats) for group in groups))
    ][1:]
    dense, rates = np.array(pairs).T
    return Timings(rates, dense)


def macs_ratio(model: DoViT, groups: Sequence[Float[Tensor, "_g c h w"]], policy: Policy) -> float:
    """The multiply-accumulates of the dense model over those of ``policy``, on the same images, attention included."""
    model.policy, config = policy, replace(model.config, policy=policy)
    dense = ours = 0
    for group in groups:
        with torch.inference_mode():
            found = model(group)
        dense += len(group) * dense_ledger(config, found.grid).whole.total
        ours += sum(
            segmentation_ledger(config, found.grid, tokens).whole.total for tokens in zip(*found.tokens, strict=True)
        )
    return dense / ours


def speed_records(
    model: DoViT,
    images: UInt8[Tensor, "n 3 h w"],
    runs: Mapping[str, Policy],
    *,
    data: str,
    command: str,
    repeats: int = 2,
    precision: str = "float32",
    seed: int | None = None,
    weights_sha256: str | None = None,
) -> list[Record]:
    """How fast ``model`` is under each policy of ``runs``, by the names that its records get.

    ``speed/throughput`` (eight images at once) and ``speed/fps`` (one by one) are images per second: the median over
    the timings, ``low`` and ``high`` their quartiles.  ``speedup/…`` is how many times faster than the same model with
    all tokens: the median over the pairs of timings, with its 95 % interval over the pairs.  ``settings`` say so, and
    hold ``dense``, the images per second with all tokens, and ``macs_ratio``, which is what the same images promise.
    Images that do not fill a batch are left out.

    Raises: InputError if there is no image, nothing is repeated, or the precision is unknown.
    """
    if not len(images) or repeats < 1:
        raise InputError(f"{len(images)} images, repeats={repeats}: give at least one image and one repeat")
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"precision={precision!r}: choose float32 or bfloat16")
    device, own = next(model.parameters()).device, model.policy
    size = min(GROUP, len(images))
    groups = model.normalise(images[: len(images) // size * size].to(device)).split(size)
    common = common_fields(data=data, command=command, device=device, seed=seed, weights_sha256=weights_sha256)
    records = []
    for (name, policy), (mode, batch) in product(runs.items(), MODES.items()):
        try:
            found = timings(model, groups, policy, batch=batch, repeats=repeats, precision=precision)
            ratio = macs_ratio(model, groups, policy)
        finally:
            model.policy = own
        settings: dict[str, Any] = {
            "device": device.type,
            "threads": torch.get_num_threads(),
            "precision": precision,
            "size": list(images.shape[-2:]),
            "images": size * len(groups),
            "batch": min(batch, size),
            "policy": describe(policy),
            "macs_ratio": round(ratio, 4),
            "dense": round(float(np.median(found.dense)), 4),
        }
        shown = {f"speed/{mode}": (found.rate, "quartiles of the timings")}
        if policy.kind != "dense":
            shown[f"speedup/{mode}"] = found.speedup, "95 % over pairs of timings"
        records += [
            Record(
                metric=metric,
                model=name,
                **interval._asdict(),
                settings=settings | {"interval": kind},
                **common,
            )
            for metric, (interval, kind) in shown.items()
        ]
    return records
