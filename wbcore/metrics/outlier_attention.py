"""What outlier tokens do to an attention map: leaving them out of it, and where the class token's attention goes."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.tokens import TokenLayout


def longest(norms: Float[Tensor, "b p"], share: float) -> Bool[Tensor, "b p"]:
    """The ``ceil(share * p)`` longest patches of each image; of equal ones those with the lower index.

    What stands for outliers in a model that has none, so that something can be left out of its maps too.
    Source: ours.
    Raises: InputError if ``share`` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise InputError(f"share is {share}: give a share above 0 and at most 1, such as 0.02")
    count = math.ceil(share * norms.shape[-1])
    order = norms.sort(dim=-1, descending=True, stable=True).indices
    return torch.zeros_like(norms, dtype=torch.bool).scatter(-1, order[:, :count], True)


def as_many(
    where: Bool[Tensor, "b p"], among: Bool[Tensor, "b p"], *, generator: torch.Generator
) -> Bool[Tensor, "b p"]:
    """For each image as many patches as ``where`` has, drawn from those that ``among`` allows and ``where`` lacks.

    Source: ours, the control of :func:`leave_out`.
    Raises: InputError if an image has fewer to choose from.
    """
    free = among & ~where
    count = where.sum(dim=-1)
    if (lacking := (free.sum(dim=-1) < count).nonzero().flatten()).numel():
        image = int(lacking[0])
        raise InputError(
            f"image {image}: {int(count[image])} patches are to be drawn from {int(free[image].sum())}: allow more"
        )
    drawn = torch.rand(where.shape, generator=generator).masked_fill(~free, -1.0)
    place = drawn.argsort(dim=-1, descending=True).argsort(dim=-1)
    return place < count[:, None]


def leave_out(attn: Float[Tensor, "b h p"], where: Bool[Tensor, "b p"]) -> Float[Tensor, "b h p"]:
    """Attention without some patches: zero there, the rest of each row scaled to the mass that the row had.

    A row whose whole mass lies there becomes zero.
    Source: ours.
    """
    kept = attn.masked_fill(where[:, None], 0)
    mass, left = attn.sum(dim=-1, keepdim=True), kept.sum(dim=-1, keepdim=True)
    return kept * (mass / left.where(left > 0, torch.ones_like(left)))


class Budget(NamedTuple):
    """Where the class token's attention goes, in shares of 1 (mean over heads), image by image."""

    class_token: Float[Tensor, "b"]
    registers: Float[Tensor, "b"]
    outliers: Float[Tensor, "b"]
    """The patches that are called so, whatever they show."""
    object: Float[Tensor, "b"]
    """Other patches of an annotated object."""
    background: Float[Tensor, "b"]
    """All other patches, void ones included."""


def budget(
    attn: Float[Tensor, "b h t"],
    layout: TokenLayout,
    *,
    outlier: Bool[Tensor, "b p"],
    labels: Int[Tensor, "b p"],
) -> Budget:
    """What the class token's attention is spent on; ``attn`` is its whole row, prefix tokens included.

    ``labels`` are those of the patches (:func:`wbcore.metrics.attention.to_tokens`); 0 is background.
    Source: ours.
    """
    prefix = layout.prefix(attn, dim=-1).mean(dim=1)
    patches = layout.patches(attn, dim=-1).mean(dim=1)
    on_object = is_object(labels) & ~outlier
    parts = (outlier, on_object, ~outlier & ~on_object)
    return Budget(prefix[:, 0], prefix[:, 1:].sum(dim=-1), *((patches * part).sum(dim=-1) for part in parts))


def is_object(labels: Int[Tensor, "b p"]) -> Bool[Tensor, "b p"]:
    """The patches of any class but background and void."""
    return (labels > 0) & (labels != VOID)


def on_object(found: Budget) -> Float[Tensor, "b"]:
    """Of the attention on normal patches, the share that is on the object: what leaving outliers out does not change.

    Source: ours.
    """
    return found.object / (found.object + found.background)


def object_auc(
    attn: Float[Tensor, "b p"], labels: Int[Tensor, "b p"], *, without: Bool[Tensor, "b p"] | None = None
) -> Float[np.ndarray, "b"]:
    """How often a patch of the object draws more attention than one of the background: 1 always, ½ by chance.

    The area under the ROC curve; equal attention counts half.  It knows neither how wide the attention is nor how large
    the object, which every rule that cuts a mask does.  Void patches and those ``without`` which the map is to be read
    are left out; NaN where no object or no background is left.
    Source: ours; the area as Mann and Whitney's statistic, 1947.
    """
    found = np.full(len(attn), np.nan)
    left = labels != VOID if without is None else (labels != VOID) & ~without
    for image, (values, wanted, valid) in enumerate(zip(attn, is_object(labels), left, strict=True)):
        ranks, positive = stats.rankdata(values[valid].numpy()), wanted[valid].numpy()
        objects, others = int(positive.sum()), int((~positive).sum())
        if objects and others:
            found[image] = (ranks[positive].sum() - objects * (objects + 1) / 2) / (objects * others)
    return found
