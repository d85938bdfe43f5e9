"""Which part of an object a head looks at: where, within the object, its attention falls.

Parts are told from the object's shape alone, because nothing else is annotated.  What a head prefers is its share
against the mean of the other heads (:func:`preferences`), so the size of a part does not count.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from wbcore.errors import InputError
from wbcore.metrics.intervals import Interval, bootstrap_mean

PARTS = ("upper third", "lower third", "left third", "right third", "outline")
"""Thirds of the object's bounding box; the outline are the object's tokens with a neighbour outside it."""


class NoPartsError(InputError):
    """The object is too small to have parts: use a larger image, or leave this one out and count it."""


def part_tokens(mask: Bool[Tensor, "rows cols"]) -> Bool[Tensor, "5 rows cols"]:
    """The tokens of an object that belong to each of :data:`PARTS`, in their order.

    A token is in a third if its centre is.  What lies beyond the image is outside the object.
    Raises: NoPartsError if the object is less than 3 tokens high or wide.
    """
    upper, left = (_first_third(mask.any(dim=1 - axis)) for axis in (0, 1))
    lower, right = (_first_third(mask.any(dim=1 - axis).flip(0)).flip(0) for axis in (0, 1))
    padded = F.pad(mask, (1, 1, 1, 1))
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    thirds = upper[:, None], lower[:, None], left[None], right[None]
    return torch.stack([*(mask & third for third in thirds), mask & ~inside])


def _first_third(line: Bool[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """Along one side, the places in the first third of the object's extent."""
    places = line.nonzero().squeeze(1)
    first, count = (int(places[0]), int(places[-1] - places[0]) + 1) if len(places) else (0, 0)
    if count < 3:
        raise NoPartsError(f"an object {count} tokens across has no thirds: use a larger image or another object")
    index = torch.arange(len(line), device=line.device) - first
    return (index >= 0) & (3 * (2 * index + 1) < 2 * count)


def part_shares(attn: Float[Tensor, "h p"], mask: Bool[Tensor, "rows cols"]) -> Float[Tensor, "h 5"]:
    """Of the mass that each head puts on an object, the share on each of :data:`PARTS`.

    Thirds of one axis exclude each other; the outline overlaps all of them.
    Raises: NoPartsError if the object is less than 3 tokens high or wide; InputError if a head has no mass on it.
    """
    attn, parts = attn.double(), part_tokens(mask).flatten(1).double()
    whole = attn @ mask.flatten().double()
    if not (whole > 0).all():
        raise InputError(f"head {int((whole <= 0).nonzero()[0])} has no attention on the object: leave the image out")
    return attn @ parts.T / whole[:, None]


def preferences(shares: Float[np.ndarray, "n h k"], groups: Sequence[int]) -> list[list[Interval]]:
    """For each head and part, its share minus the mean share of the other heads, with the 95 % interval.

    ``groups`` names what each of the ``n`` images shows.  Images of one group are averaged first, and the interval is
    over groups, because two pictures of one animal are no two animals.
    Raises: InputError if there are fewer than two heads or no image.
    """
    n, heads, _ = shares.shape
    if n == 0 or heads < 2:
        raise InputError(f"{n} images and {heads} heads: a preference needs an image and another head")
    lead = (shares - shares.mean(axis=1, keepdims=True)) * heads / (heads - 1)
    numbers = np.asarray(groups)
    means = np.stack([lead[numbers == group].mean(axis=0) for group in np.unique(numbers)])
    return [[bootstrap_mean(column) for column in head.T] for head in means.transpose(1, 0, 2)]


def named_heads(found: Sequence[Sequence[Interval]]) -> dict[str, int]:
    """For each of :data:`PARTS` the head that prefers it most, if one does with its whole interval above zero."""
    named = {}
    for part, column in zip(PARTS, zip(*found, strict=True), strict=True):
        best = max(range(len(column)), key=lambda head: column[head].value)
        low = column[best].low
        if low is not None and low > 0:
            named[part] = best
    return named
