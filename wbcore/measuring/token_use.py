"""What token-pass did with each image: when its patches stopped, what that cost, and what the cost goes with."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.measuring.segmentation import Segmented
from wbcore.metrics.correlation import rank_correlation
from wbcore.metrics.cost import Ledger
from wbcore.metrics.intervals import Interval
from wbcore.metrics.segmentation import going_on, kept_by_class
from wbcore.models.token_pass import split
from wbcore.records import segmenter_of

SHOWN_FROM = 0.01
"""Share of an image's known pixels from which a class counts as one that it shows."""


def of_variant(models: Iterable[str], variant: str) -> str:
    """The first of the segmentation models by name that saves tokens as ``variant`` does.

    Raises: InputError if there is none.
    """
    names = list(models)
    for name in names:
        parts = segmenter_of(name)
        if parts is not None and (parts.variant, parts.setting) == (variant, ""):
            return name
    raise InputError(f"there is no {variant} among {', '.join(names) or 'no models'}: put the weights of one with them")


def layers_run(found: Segmented, decisions: Sequence[int]) -> Int[np.ndarray, "r c"]:
    """How many layers each patch went through: all of them, if it never stopped or nothing was decided."""
    ends = np.array([*(decisions if found.keep else ()), len(found.tokens)])
    return ends[np.sum([np.zeros(found.grid, int), *found.keep], axis=0)]


class Passed(NamedTuple):
    """Patches of an image that go on after a decision, as pixels, moved by the very functions that move tokens."""

    gathered: UInt8[np.ndarray, "h w 3"]
    """Packed row by row; white behind the last."""
    restored: UInt8[np.ndarray, "h w 3"]
    """Back in their places; white where patches have stopped."""
    kept: int
    of: int


def passed(found: Segmented, decision: int) -> Passed:
    """What goes on after a decision (from 0), gathered and restored.  Source: DoViT, Eq. (6) and section 3.3."""
    keep, side, (rows, cols) = found.keep[decision], found.patch_size, found.grid
    height, width = found.image.shape[:2]
    image = np.pad(found.image, ((0, rows * side - height), (0, cols * side - width), (0, 0)))
    pixels = torch.from_numpy(image).float().view(rows, side, cols, side, 3).transpose(1, 2).reshape(1, rows * cols, -1)
    moved = split(torch.from_numpy(keep).view(1, -1), num_prefix=0)
    gathered, white = moved.gather(pixels), torch.full_like(pixels, 255)
    restored = moved.scatter(gathered, white)
    packed = torch.cat([gathered, white[:, : -gathered.shape[1] % cols]], dim=1)
    return Passed(_picture(packed, cols, side), _picture(restored, cols, side), moved.lengths[0], rows * cols)


def _picture(pixels: torch.Tensor, cols: int, side: int) -> UInt8[np.ndarray, "h w 3"]:
    patches = pixels.view(-1, cols, side, side, 3).transpose(1, 2)
    return patches.reshape(-1, cols * side, 3).to(torch.uint8).numpy()


def tokens_by_block(found: Segmented, decisions: Sequence[int]) -> list[int]:
    """Tokens in each block, the layers between two decisions."""
    return [found.tokens[first] for first in (0, *decisions)]


def gmacs_by_block(cost: Ledger, decisions: Sequence[int]) -> list[float]:
    """Thousand millions of multiply-accumulates in the layers of each block."""
    return [
        sum(layer.total for layer in cost.blocks[first:last]) / 1e9
        for first, last in pairwise((0, *decisions, len(cost.blocks)))
    ]


def costs(found: Sequence[Segmented]) -> Float[np.ndarray, "n"]:
    """Thousand millions of multiply-accumulates of each image, attention included."""
    return np.array([one.cost.whole.total / 1e9 for one in found])


def has_border(found: Segmented) -> Bool[np.ndarray, "h w"]:
    """Whether the patch of each pixel shows several classes by the annotation; pixels of unknown class are no class.

    Raises: InputError if the image has no annotation.
    """
    labels = _annotation(found)
    count = found.grid[0] * found.grid[1]
    patch = found.at_pixels(np.arange(count).reshape(found.grid))
    known = labels != VOID
    least, most = np.full(count, VOID), np.full(count, -1)
    np.minimum.at(least, patch[known], labels[known])
    np.maximum.at(most, patch[known], labels[known])
    return (least < most)[patch]


def kept_at_borders(found: Sequence[Segmented]) -> dict[str, list[Interval]]:
    """The share of the area that goes on after each decision, of patches that show one class and of those that show
    several, with intervals over images.  Source: DoViT, section 4.4, which says of edges that they stay."""
    by_decision = []
    for decision in range(len(found[0].keep)):
        counts = [
            going_on(one.at_pixels(one.keep[decision]), has_border(one).astype(np.uint8), classes=2) for one in found
        ]
        by_decision.append(kept_by_class(np.stack(counts)))
    inside, border = (list(column) for column in zip(*by_decision, strict=True))
    return {"one class": inside, "several classes": border}


def _annotation(found: Segmented) -> UInt8[np.ndarray, "h w"]:
    if found.example.semantic is None:
        raise InputError(f"{found.example.name} has no annotation: choose a segmentation data set")
    return found.example.semantic


def class_pixels(found: Sequence[Segmented], *, classes: int) -> Int[np.ndarray, "n c"]:
    """How many pixels of each class each image has by its annotation.

    Raises: InputError if an image has none.
    """
    every = [_annotation(one) for one in found]
    return np.stack([np.bincount(labels[labels != VOID], minlength=classes) for labels in every])


def cost_relations(
    costs: Float[np.ndarray, "n"], pixels: Int[np.ndarray, "n c"], classes: Sequence[str]
) -> dict[str, Interval]:
    """How the cost of an image goes with what it shows: rank correlations with the number of classes that cover a
    hundredth of it or more, and with the share of each class that at least a tenth of the images have."""
    shares = pixels / pixels.sum(axis=1, keepdims=True).clip(min=1)
    common = (pixels > 0).mean(axis=0) >= 0.1
    return {
        "number of classes": rank_correlation(costs, (shares >= SHOWN_FROM).sum(axis=1)),
        **{
            f"share of {name}": rank_correlation(costs, shares[:, number])
            for number, name in enumerate(classes)
            if common[number]
        },
    }
