"""LOST: one object of an image from the features of its patches, without training; CorLoc: how often it is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco_mask
from scipy import ndimage
from torch import Tensor

from wbcore.errors import InputError
from wbcore.metrics.attention import NoObjectError

CORLOC_IOU = 0.5


class Box(NamedTuple):
    """Left, upper, right and lower edge; right and lower are exclusive, so width is ``right - left``."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, eq=False)
class Discovery:
    """What LOST computed of an image, step by step, on the token grid.

    ``degree`` is the number of other patches that each patch resembles, ``seed`` the place (row, col) of the smallest,
    ``expansion`` each patch's similarity to the patches that the seed was expanded to, summed, and ``mask`` the
    component of positive expansion that holds the seed.

    Source: Registers, appendix E shows these steps; Siméoni et al., LOST (2021), section 3.
    """

    degree: Int[Tensor, "rows cols"]
    seed: tuple[int, int]
    expansion: Float[Tensor, "rows cols"]
    mask: Bool[Tensor, "rows cols"]

    @property
    def box(self) -> Box:
        """The smallest box around the mask, in patches."""
        return Box(*mask_boxes(self.mask.numpy()[None])[0].tolist())


def lost(features: Float[Tensor, "n d"], grid: tuple[int, int], *, k: int = 100, bias: float = 0.0) -> Box:
    """The box of the one object that LOST finds in an image, in patches; see :func:`discover`."""
    return discover(features, grid, k=k, biases=(bias,))[0].box


def discover(
    features: Float[Tensor, "n d"], grid: tuple[int, int], *, k: int = 100, biases: Sequence[float] = (0.0,)
) -> list[Discovery]:
    """LOST on the features of the patches of a ``grid = (rows, cols)``, once for each bias.

    Two patches resemble each other if the inner product of their features plus the bias is positive.  The seed is the
    patch that resembles fewest others, the first in reading order of equal ones.  It is expanded to those of the ``k``
    patches of smallest degree that it resembles, itself included; the object is what resembles these on the whole,
    within the 4-connected component of the seed.

    Features are taken as they are: keys of the last layer in LOST, values for DeiT-III and OpenCLIP in Registers.  The
    bias is in units of their inner products, so a sweep that is to compare models needs features of length one.

    Source: official LOST code, ``object_discovery.py``; the bias: Registers, appendix C, whose value is not published.
    Deviates: the official sort leaves the order of equal degrees open; products are in float64 instead of float32;
    where the bias leaves a seed that does not even resemble itself, the official code stops with an error, and here
    the seed alone is the object.
    Raises: InputError if features and grid do not fit, a feature is not finite, or ``k`` is not from 1 to the number of
    patches (the official code then takes them all).
    """
    n, (rows, cols) = len(features), grid
    if n != rows * cols or not n:
        raise InputError(
            f"{n} features given for a grid of {rows}x{cols} patches: leave out prefix tokens, give it as (rows, cols)"
        )
    if not 1 <= k <= n:
        raise InputError(f"k={k}: the grid has {n} patches, give a number from 1 to {n} (LOST: 100 of some 1000)")
    features = features.detach().double().cpu()
    if not features.isfinite().all():
        raise InputError("features hold NaN or infinite values: check the model and its input")
    products = features @ features.T
    return [_discover(products, bias, grid, k) for bias in biases]


def _discover(products: Float[Tensor, "n n"], bias: float, grid: tuple[int, int], k: int) -> Discovery:
    alike = products > -bias  # what the sum being positive means, without a second matrix
    degree = alike.sum(dim=1) - alike.diagonal().long()
    order = degree.argsort(stable=True)
    seed, candidates = order[0], order[:k]
    expansion = (products[candidates[alike[seed, candidates]]] + bias).sum(dim=0)
    positive = expansion > 0
    positive[seed] = True
    components = np.empty(grid, np.int32)
    ndimage.label(positive.unflatten(0, grid).numpy(), output=components)
    place = divmod(int(seed), grid[1])
    mask = torch.from_numpy(components == components[place])
    return Discovery(degree.unflatten(0, grid), place, expansion.unflatten(0, grid), mask)


def pad_to_patches(images: Float[Tensor, "b c h w"], patch_size: int) -> Float[Tensor, "b c height width"]:
    """Images in the colours that the model expects, continued with zeros to the right and below to whole patches.

    Source: official LOST code, which keeps the size of a photograph.
    """
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % patch_size, 0, -height % patch_size))


def box_in_pixels(box: Box, *, patch_size: int, size: tuple[int, int]) -> Box:
    """A box of patches in pixels of an image of ``size = (height, width)``, without what was padded to it.

    Source: official LOST code, ``detect_box``.
    """
    left, top, right, bottom = (patch_size * edge for edge in box)
    return Box(left, top, min(right, size[1]), min(bottom, size[0]))


def mask_boxes(masks: Bool[np.ndarray, "k h w"]) -> Int[np.ndarray, "_m 4"]:
    """The tight box of every mask that has a pixel, as :class:`Box` has its edges."""
    boxes = []
    for mask in masks:
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size:
            boxes.append([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1])
    return np.array(boxes, int).reshape(-1, 4)


def localises(box: Box, truth: Int[np.ndarray, "k 4"]) -> bool:
    """Whether a box has an IoU of at least one half with any object's box.  CorLoc is its mean over images.

    Source: official LOST code, ``main_lost.py``; groups (COCO's crowds) are no objects there.
    Raises: NoObjectError if there is no object.
    """
    if not len(truth):
        raise NoObjectError("no object: CorLoc is defined on images with an object, leave this one out")
    corners = np.vstack([box, truth]).astype(float)
    corners[:, 2:] -= corners[:, :2]  # as width and height
    return bool(np.max(coco_mask.iou(corners[:1], corners[1:], [0] * len(truth))) >= CORLOC_IOU)
