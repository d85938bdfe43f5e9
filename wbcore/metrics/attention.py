"""From attention maps to masks, and from masks to the papers' mIoU.

A head's attention over the patch tokens is cut to a mask (:func:`keep_mass` or :func:`keep_entries`), mask and
annotation are brought to one grid (:func:`to_pixels` or :func:`to_tokens`), and the IoU of every label with
every head (:func:`label_iou`) is reduced: best head or one fixed head, mean over labels.  The mean over images
and its interval are :func:`wbcore.metrics.intervals.bootstrap_mean`.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Integer, Shaped
from torch import Tensor

from wbcore.data.example import VOID
from wbcore.errors import InputError

_SLACK = 1 - 1e-9
"""Shares are shortened by this factor, so that on a boundary rounding does not let one entry more in."""

Background = Literal["exclude", "include"]
Void = Literal["ignore", "negative"]

_FIRST_LABEL = {"exclude": 1, "include": 0}


class NoObjectError(InputError):
    """The annotation has no object to compare with, so no IoU is defined: leave the image out and count it."""


def keep_mass(attn: Float[Tensor, "*batch n"], share: float) -> Bool[Tensor, "*batch n"]:
    """The largest entries of each row, as few as reach ``share`` of the row's mass.

    An entry is kept while the mass of those before it is below ``share``; so the entry that crosses the
    boundary is kept, and the one after a mass of exactly ``share`` is not.  Of equal entries the one with the
    lower index comes first.  Entries of zero and rows without any mass are never kept.

    Source: DINO, visualize_attention.py: sorted in ascending order, kept where the cumulative mass exceeds
    ``1 - share``.
    Deviates: summed in float64 from the largest, with a slack of 1e-9, and a stable order of equal entries;
    the official sum is in float32 and its order of equal entries undefined.
    Raises: InputError if ``share`` is not in (0, 1] or ``attn`` has NaN, infinite or negative entries.
    """
    _check(attn, share)
    values, order = attn.double().sort(dim=-1, descending=True, stable=True)
    kept = _within(values, torch.tensor([share], dtype=torch.float64, device=attn.device)).squeeze(-2)
    return torch.zeros_like(kept).scatter(-1, order, kept)


def keep_entries(attn: Float[Tensor, "*batch n"], share: float) -> Bool[Tensor, "*batch n"]:
    """The ``ceil(share * n)`` largest entries of each row, whatever their mass.

    Of equal entries the one with the lower index comes first.  On a uniform row this is :func:`keep_mass`.

    Source: CRATE, appendix B.3 ("the top P = 60 % of the entries"); the rounding of the count is ours.
    Raises: InputError if ``share`` is not in (0, 1] or ``attn`` has NaN, infinite or negative entries.
    """
    _check(attn, share)
    count = _count(share, attn.shape[-1])
    order = attn.sort(dim=-1, descending=True, stable=True).indices
    return torch.zeros_like(attn, dtype=torch.bool).scatter(-1, order[..., :count], True)


def kept_by_mass(attn: Float[Tensor, "*batch n"], shares: Sequence[float]) -> Int[Tensor, "*batch s"]:
    """How many entries of each row :func:`keep_mass` keeps, for several shares at once.  Raises: as it does."""
    _check(attn, *shares)
    values = attn.double().sort(dim=-1, descending=True).values
    return _within(values, torch.tensor(shares, dtype=torch.float64, device=attn.device)).sum(-1)


def kept_by_entries(attn: Float[Tensor, "*batch n"], shares: Sequence[float]) -> Int[Tensor, "*batch s"]:
    """How many entries of each row :func:`keep_entries` keeps, for several shares at once.  Raises: as it does."""
    _check(attn, *shares)
    counts = torch.tensor([_count(share, attn.shape[-1]) for share in shares], device=attn.device)
    return counts.expand(*attn.shape[:-1], -1)


def _within(values: Float[Tensor, "*batch n"], shares: Float[Tensor, "s"]) -> Bool[Tensor, "*batch s n"]:
    """Of entries in descending order, those before which less than a share of the mass lies."""
    reached = values.cumsum(-1)
    limits = shares[:, None] * _SLACK * reached[..., None, -1:]
    return (reached - values)[..., None, :] < limits


def _count(share: float, n: int) -> int:
    return math.ceil(share * _SLACK * n)


def _check(attn: Float[Tensor, "*batch n"], *shares: float) -> None:
    for share in shares:
        if not 0 < share <= 1:
            raise InputError(f"share is {share}: give a share above 0 and at most 1, such as 0.6")
    if attn.isnan().any():
        raise InputError("attn has NaN entries: look for the layer where they begin, masks of NaN mean nothing")
    if not ((attn >= 0) & attn.isfinite()).all():
        raise InputError("attn has negative or infinite entries: give attention after the softmax, not its scores")


def _token_of_pixel(pixels: int, tokens: int, device: torch.device) -> Int[Tensor, "pixels"]:
    """Along one side, the token in which each pixel's centre lies; integers, so no rounding."""
    return (2 * torch.arange(pixels, device=device) + 1) * tokens // (2 * pixels)


def to_pixels(masks: Bool[Tensor, "*batch rows cols"], size: tuple[int, int]) -> Bool[Tensor, "*batch h w"]:
    """Masks on the token grid at ``size = (h, w)`` pixels: each pixel takes the token in which its centre lies.

    At a multiple of the grid this repeats each token, as the official codes' nearest interpolation does.
    """
    rows = _token_of_pixel(size[0], masks.shape[-2], masks.device)
    cols = _token_of_pixel(size[1], masks.shape[-1], masks.device)
    return masks[..., rows[:, None], cols[None, :]]


def to_tokens(semantic: Integer[Tensor, "h w"], grid: tuple[int, int]) -> Int[Tensor, "rows cols"]:
    """A label map of pixels on the token grid: each token takes the label of most of its pixels.

    A pixel belongs to the token in which its centre lies, the converse of :func:`to_pixels`.  Void pixels do
    not vote, but a token of which more than half is void is ``VOID``.  Of equal counts the lower label wins.

    Source: CRATE, appendix B.3 puts the annotation on the token grid; how is not said there, so this is ours.
    Raises: InputError if the map has fewer pixels than the grid has tokens along a side.
    """
    labels, counts = label_counts(semantic, grid)
    votes, void = counts.T, labels == VOID
    mostly_void = 2 * votes[:, void].sum(-1) > votes.sum(-1)
    winner = labels[_first_argmax(votes.masked_fill(void, -1))]
    return winner.masked_fill(mostly_void, VOID).view(grid)


class LabelCounts(NamedTuple):
    """Which labels a map has, in ascending order, and how many pixels of each lie in each token."""

    labels: Int[Tensor, "m"]
    counts: Int[Tensor, "m n"]


def label_counts(semantic: Integer[Tensor, "h w"], grid: tuple[int, int]) -> LabelCounts:
    """How many pixels of each label, background and void among them, have their centre in each token of a grid.

    Raises: InputError if the map has fewer pixels than the grid has tokens along a side.
    """
    (height, width), (rows, cols) = semantic.shape, grid
    if height < rows or width < cols:
        raise InputError(f"the annotation is {height}x{width} pixels, the grid {rows}x{cols} tokens: use a larger one")
    row = _token_of_pixel(height, rows, semantic.device)
    col = _token_of_pixel(width, cols, semantic.device)
    cell = (row[:, None] * cols + col[None, :]).flatten()
    values = semantic.long().flatten()
    counts = values.bincount()  # much faster than unique, which sorts
    labels = counts.nonzero().squeeze(1)
    index = (counts > 0).cumsum(0)[values] - 1
    votes = torch.bincount(cell * len(labels) + index, minlength=rows * cols * len(labels))
    return LabelCounts(labels, votes.view(-1, len(labels)).T)


def _first_argmax(values: Tensor) -> Int[Tensor, "*batch"]:
    """Index of the last axis's maximum, the lowest of equal ones (``argmax`` leaves that open)."""
    size = values.shape[-1]
    index = torch.arange(size, device=values.device).expand_as(values)
    return index.masked_fill(values != values.amax(-1, keepdim=True), size).amin(-1)


def head_iou(
    masks: Bool[Tensor, "h n"], targets: Bool[Tensor, "m n"], *, valid: Bool[Tensor, "n"] | None = None
) -> Float[Tensor, "m h"]:
    """IoU of every target with every head's mask, over the positions that ``valid`` allows (all by default).

    Source: CRATE, Eq. (13), before its maximum over heads.
    Raises: NoObjectError if there is no target or one has no valid position.
    """
    if len(targets) == 0:
        raise NoObjectError("no object: the annotation has no label to compare with, leave this image out")
    if valid is not None:
        masks, targets = masks & valid, targets & valid
    empty = (~targets.any(-1)).nonzero()
    if len(empty):
        raise NoObjectError(f"no object: target {int(empty[0])} has no known position, leave it out")
    both = targets.double() @ masks.double().T
    return both / (targets.sum(-1)[:, None] + masks.sum(-1)[None, :] - both)


def nested_iou(
    attn: Float[Tensor, "*batch n"], targets: Shaped[Tensor, "m n"], valid: Shaped[Tensor, "n"]
) -> Float[Tensor, "*batch m n+1"]:
    """IoU of each target with the 0, 1, …, ``n`` largest entries of each row: all masks that any share could cut.

    ``targets`` weighs each position for each target, and ``valid`` for all that is known: zeros and ones on the token
    grid, or how many pixels of a token belong to the target, which gives the IoU at pixels without going there.
    Of equal entries the one with the lower index comes first, so mask ``k`` is that of :func:`keep_mass` and
    :func:`keep_entries` where these keep ``k``.

    Source: CRATE, Eq. (13), before its maximum over heads.
    Raises: NoObjectError if there is no target or one is nowhere; InputError for NaN, infinite or negative entries.
    """
    _check(attn)
    areas = targets.double().sum(-1)
    if not len(areas) or not areas.all():
        raise NoObjectError("no object: the annotation has no label to compare with, leave this image out")
    order = attn.sort(dim=-1, descending=True, stable=True).indices
    both = F.pad(targets.double()[:, order].movedim(0, -2).cumsum(-1), (1, 0))
    covered = F.pad(valid.double()[order].cumsum(-1), (1, 0))[..., None, :]
    return both / (areas[:, None] + covered - both)


class BestHead(NamedTuple):
    """For each target its IoU with the head that fits it best, and that head's index (the lowest of equal ones)."""

    iou: Float[Tensor, "m"]
    head: Int[Tensor, "m"]


def best_head_iou(
    masks: Bool[Tensor, "h n"], targets: Bool[Tensor, "m n"], *, valid: Bool[Tensor, "n"] | None = None
) -> BestHead:
    """IoU of every target with its best head.

    Source: CRATE, Eq. (13).
    Raises: NoObjectError if there is no target or one has no valid position.
    """
    iou = head_iou(masks, targets, valid=valid)
    return BestHead(iou.amax(-1), _first_argmax(iou))


def label_iou(
    masks: Bool[Tensor, "heads h w"],
    labels: Integer[Tensor, "h w"],
    *,
    background: Background = "exclude",
    void: Void = "ignore",
) -> Float[Tensor, "m heads"]:
    """IoU of each of the ``m`` labels present (in ascending order) with each head, masks and labels on one grid.

    ``background``: whether label 0 is one of the labels.  ``void``: positions labelled ``VOID`` are never a label;
    they are left out ("ignore"), or stay as positions outside every label, so that a mask that covers them pays
    ("negative").

    Raises: NoObjectError if no label is present.
    """
    values = labels.flatten().long().bincount().nonzero().squeeze(1)
    values = values[(values >= _FIRST_LABEL[background]) & (values != VOID)]
    valid = {"ignore": (labels != VOID).flatten(), "negative": None}[void]
    return head_iou(masks.flatten(1), labels.flatten() == values[:, None], valid=valid)


def paper_miou(
    masks: Bool[Tensor, "heads rows cols"],
    semantic: Integer[Tensor, "h w"],
    *,
    head: int | None = None,
    background: Background = "exclude",
    void: Void = "ignore",
) -> float:
    """One image's mIoU by the CRATE paper: semantic classes on the token grid, best head for each, mean over classes.

    ``head`` fixes one head for all classes.  A class too small to win a token is not counted.  The paper does not
    say whether background is a class nor what it does with void: see :func:`label_iou`.

    Source: CRATE, Eq. (13) and (14), appendix B.3; masks there are ``keep_entries(attn, 0.6)``.
    Raises: NoObjectError if no class is present on the token grid.
    """
    rows, cols = masks.shape[-2:]
    return _mean(label_iou(masks, to_tokens(semantic, (rows, cols)), background=background, void=void), head)


def dino_jaccard(
    masks: Bool[Tensor, "heads rows cols"],
    labels: Integer[Tensor, "h w"],
    *,
    head: int | None = None,
    background: Background = "exclude",
    void: Void = "ignore",
) -> float:
    """One image's Jaccard index by DINO's authors: every value of the label map at pixels, best head, mean over values.

    ``labels`` may number objects or classes; ``head`` fixes one head for all of them.  What DINO did with the
    values of background and void was not published: see :func:`label_iou`.

    Source: the snippet that DINO's authors gave in their repository's discussions; masks there are
    ``keep_mass(attn, 0.6)``.
    Raises: NoObjectError if no label is present.
    """
    height, width = labels.shape
    return _mean(label_iou(to_pixels(masks, (height, width)), labels, background=background, void=void), head)


def _mean(iou: Float[Tensor, "m heads"], head: int | None) -> float:
    return float((iou.amax(-1) if head is None else iou[:, head]).mean())
