"""MaskCut: up to ``num_masks`` object masks of an image from the features of its patches, without training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from wbcore.errors import InputError
from wbcore.metrics.normalized_cut import TIE, Affinity, Cut, equals_maximum, normalized_cut, similarity_graph

_MAX_EDGES = {"cpu": 2**20, "cuda": 2**30}  # of the graphs held at a time; a CPU gains nothing from large batches
Peak = Literal["positive", "negative"]
"""The sign of an eigenvector's entry of largest magnitude."""

_MAX_OVERLAP = 0.5
_MIN_AREA = 0.01
_IN_PLANE = np.stack([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))])


@dataclass(frozen=True, eq=False)
class Round:
    """One round of MaskCut for a batch: the cut, the foreground chosen from it, and the mask that remained.

    ``foreground`` is the chosen side of the partition, before the component of its seed is taken and before any
    test; ``mask`` is what the round adds to the earlier masks, all false if it was dropped.
    """

    cut: Cut
    foreground: Bool[Tensor, "b rows cols"]
    mask: Bool[Tensor, "b rows cols"]


def maskcut(
    features: Float[Tensor, "n d"],
    grid: tuple[int, int],
    *,
    tau: float = 0.15,
    num_masks: int = 3,
    affinity: Affinity = "cosine",
    peak: Peak = "positive",
) -> Bool[Tensor, "num_masks rows cols"]:
    """The masks of one image on its token grid, in the order they were found; a dropped one is all false.

    See :func:`maskcut_batch`, of which this is the batch of one.
    """
    return maskcut_batch(features[None], grid, tau=tau, num_masks=num_masks, affinity=affinity, peak=peak)[0]


def maskcut_batch(
    features: Float[Tensor, "b n d"],
    grid: tuple[int, int],
    *,
    tau: float = 0.15,
    num_masks: int = 3,
    affinity: Affinity = "cosine",
    peak: Peak = "positive",
) -> Bool[Tensor, "b num_masks rows cols"]:
    """The masks of several images of one size on their token grid ``(rows, cols)``, each as if it were alone.

    The rules of a round, in their order:

    1. *Graph*: affinity 1 between patches whose cosine (or, by ``affinity``, inner product) exceeds ``tau``, else 1e-5.
    2. *Cut*: the second smallest generalised eigenvector ``v``; the foreground is where ``v`` exceeds its mean.
    3. *Side*: if the foreground holds three or four corners of the grid, take the other side; otherwise take
       the side that holds the peak, the entry of largest magnitude.
    4. *Component*: of that side, the 4-connected component of its own extreme entry, the seed.
    5. *Drop*, from the second round on: when the component overlaps the mask of the round before with an IoU above
       0.5, or covers at most 1 % of the grid.  A dropped mask is empty, so after it the same cut, solved again, is
       tested for its area alone.
    6. *Paint*: the features of the mask become zero for all rounds to come.  Painted patches stay in the graph and
       can be cut off next, all as one group.
    7. *Subtract*: the earlier masks are taken out of this one.

    The sign of ``v`` is arbitrary, and rule 3 depends on it when the peak's side holds three corners or more.  With
    a negative peak that side is not the foreground, which has one corner at most, and rule 3 returns to the
    peak's side; with a positive peak it is the foreground, and rule 3 takes the other.  In all other cases both signs
    give the peak's side.  So with a negative peak the corners never decide.  Here the peak is positive, the only sign
    under which both halves of the rule have an effect; ``peak`` shows the other.

    Where the cut is degenerate (see :class:`~wbcore.metrics.normalized_cut.Cut`) no partition is defined and the
    round finds nothing: an image of one colour has no object.

    Source: Wang et al., Cut and Learn for Unsupervised Object Detection and Instance Segmentation, Sec. 3.2, and its
    official code, ``maskcut.py``, on the token grid and before the CRF (:mod:`wbcore.metrics.crf`).
    Deviates: the sign and degenerate cuts, as said; any grid, not only square ones; and where several entries of
    ``v`` are equally extreme (patches with the same neighbours have the same entry) the seed is one in the largest
    component, where officially rounding errors decide.
    Raises: InputError if ``features`` does not fit ``grid`` or is not finite, if ``grid`` has fewer than two rows or
    columns, if ``tau`` is not in [0, 1) (of inner products: negative or infinite), or if ``num_masks`` is not positive.
    """
    together = max(1, _MAX_EDGES.get(features.device.type, 2**28) // features.shape[1] ** 2)
    parts = (
        maskcut_rounds(part, grid, tau=tau, num_masks=num_masks, affinity=affinity, peak=peak)
        for part in features.split(together)
    )
    return torch.cat([torch.stack([found.mask for found in rounds], dim=1) for rounds in parts])


def maskcut_rounds(
    features: Float[Tensor, "b n d"],
    grid: tuple[int, int],
    *,
    tau: float = 0.15,
    num_masks: int = 3,
    affinity: Affinity = "cosine",
    peak: Peak = "positive",
) -> Iterator[Round]:
    """The rounds of :func:`maskcut_batch` one by one, with the cuts behind the masks."""
    _check(features, grid, tau, num_masks, affinity)
    graph = similarity_graph(features, tau, affinity=affinity)
    cut = normalized_cut(graph)
    painted = torch.zeros(features.shape[:2], dtype=torch.bool, device=features.device)
    previous = changed = painted
    for index in range(num_masks):
        if index and changed.any():  # an image without new paint keeps its cut: the problem is the same
            where = slice(None) if changed.all() else changed
            cut = cut.updated(where, normalized_cut(graph[where], ~painted[where]))
        foreground, entries = _side(cut, grid, peak)
        component = _component(foreground, entries, grid)
        keep = ~cut.degenerate
        if index:
            keep &= (_iou(component, previous) <= _MAX_OVERLAP) & (component.double().mean(-1) > _MIN_AREA)
        previous = component & keep[:, None]
        added = previous & ~painted
        yield Round(cut, foreground.unflatten(1, grid), added.unflatten(1, grid))
        painted, changed = painted | added, added.any(-1)


def _side(cut: Cut, grid: tuple[int, int], peak: Peak) -> tuple[Bool[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Rules 2 and 3: the foreground, and the eigenvector with the sign that makes it large there."""
    rows, cols = grid
    corners = [0, cols - 1, (rows - 1) * cols, rows * cols - 1]
    vector = cut.vector if peak == "positive" else -cut.vector
    foreground = vector > vector.mean(-1, keepdim=True) + TIE * cut.vector.amax(-1, keepdim=True)
    reverse = foreground[:, corners].sum(-1, keepdim=True) >= 3
    reverse |= peak == "negative"  # then the peak is never foreground
    return foreground ^ reverse, torch.where(reverse, -vector, vector)


def _component(
    foreground: Bool[Tensor, "b n"], entries: Float[Tensor, "b n"], grid: tuple[int, int]
) -> Bool[Tensor, "b n"]:
    """Rule 4: the component of each foreground with its largest entry; among equal entries, the largest component."""
    planes = foreground.unflatten(1, grid).cpu().numpy()
    components = np.empty(planes.shape, np.int32)
    ndimage.label(planes, _IN_PLANE, output=components)
    labels = torch.from_numpy(components).to(foreground.device, torch.int64).flatten(1)
    count = torch.zeros(len(labels), int(components.max(initial=0)) + 1, dtype=torch.int64, device=labels.device)
    size = count.scatter_add(1, labels, foreground.long()).gather(1, labels)
    seed = (size * equals_maximum(entries)).argmax(-1, keepdim=True)
    return (labels == labels.gather(1, seed)) & foreground


def _iou(a: Bool[Tensor, "b n"], b: Bool[Tensor, "b n"]) -> Float[Tensor, "b"]:
    return (a & b).sum(-1) / (a | b).sum(-1)


def _check(features: Tensor, grid: tuple[int, int], tau: float, num_masks: int, affinity: Affinity) -> None:
    rows, cols = grid
    if rows < 2 or cols < 2:
        raise InputError(f"grid {rows}x{cols} is too small to cut: give at least 2 rows and 2 columns of patches")
    if features.shape[1] != rows * cols:
        raise InputError(
            f"features have {features.shape[1]} tokens, but the grid {rows}x{cols} has {rows * cols}: "
            "leave out prefix tokens and give the grid as (rows, cols)"
        )
    if not features.is_floating_point():
        raise InputError(f"features are {features.dtype}: give floating-point features")
    if not features.isfinite().all():
        bad = (~features.isfinite()).sum().item()
        raise InputError(f"features hold {bad} values that are NaN or infinite: check the model and its input")
    if affinity == "dot" and not 0 <= tau < float("inf"):
        raise InputError(f"tau is {tau}, but a threshold of inner products must be finite and not negative")
    if affinity == "cosine" and not 0 <= tau < 1:
        raise InputError(f"tau is {tau}, but a cosine threshold must lie in [0, 1): the official value is 0.15")
    if num_masks < 1:
        raise InputError(f"num_masks is {num_masks}: ask for at least one mask")
