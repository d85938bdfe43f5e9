"""Outlier tokens: how long tokens are, which are too long, where these lie, and what their patches look like.

Lengths are those of tokens *before* the final LayerNorm, which hides them.  What counts as too long differs from model
to model: :func:`valley_threshold` finds the place where a histogram falls into two, where it does.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy import ndimage, signal
from torch import Tensor

from wbcore.errors import InputError

PAPER_THRESHOLD = 150.0
"""The threshold of the paper for its DINOv2 ViT-g/14; it says that other models need others."""

_BINS_PER_DECADE = 20
_MODE = 3.0
"""A peak is a mode if it stands out of the valley by so many standard deviations of its count (Poisson) …"""
_DEPTH = 0.5
"""… and the valley is at most this deep a part of it."""


def token_norms(tokens: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
    """The L2 norm of each token, in float32.

    Give the tokens after a layer, before the final LayerNorm: patches, or class token and registers (Fig. 15).

    Source: Registers, section 2.1 and Figs. 3, 4, 7.
    Raises: InputError if a token is not finite.
    """
    norms = torch.linalg.vector_norm(tokens, dim=-1, dtype=torch.float32)
    if not norms.isfinite().all():
        bad = int((~norms.isfinite()).sum())
        raise InputError(f"{bad} tokens have a NaN or infinite norm: look for the layer where they begin")
    return norms


def outliers(norms: Float[Tensor, "*b n"], *, threshold: float) -> Bool[Tensor, "*b n"]:
    """Which tokens are longer than ``threshold``.  Source: Registers, section 2.1.

    Raises: InputError if the threshold is not positive.
    """
    if not threshold > 0:
        raise InputError(f"threshold={threshold}: give a positive norm, such as what valley_threshold finds")
    return norms > threshold


class ImageNorms(NamedTuple):
    """The norms of each image's tokens in three numbers: their median, the largest, and the share of outliers."""

    median: Float[Tensor, "b"]
    largest: Float[Tensor, "b"]
    outlier_share: Float[Tensor, "b"]


def image_norms(norms: Float[Tensor, "b n"], *, threshold: float) -> ImageNorms:
    """What :class:`ImageNorms` says, image by image.  Raises: InputError if the threshold is not positive."""
    share = outliers(norms, threshold=threshold).float().mean(dim=-1)
    return ImageNorms(norms.quantile(0.5, dim=-1), norms.amax(dim=-1), share)


def log_histogram(norms: Float[Tensor, "*b n"]) -> tuple[Float[np.ndarray, "edges"], Float[np.ndarray, "bins"]]:
    """How many norms lie in bins of equal ratio, 20 a decade: the edges and the counts.

    The edges are powers of ``10 ** (1 / 20)``, so histograms of several layers or models share them.  Norms of zero,
    which have no logarithm, count with the smallest positive one.
    Raises: InputError if no norm is positive.
    """
    values = norms.detach().flatten().double().cpu().numpy()
    positive = values[values > 0]
    if not positive.size:
        raise InputError("no token has a positive norm: their histogram on a logarithmic scale is undefined")
    logs = _BINS_PER_DECADE * np.log10(np.maximum(values, positive.min()))
    first, last = int(np.floor(logs.min())), int(np.floor(logs.max()))
    counts = np.bincount((np.floor(logs) - first).astype(int), minlength=last - first + 1)
    return 10 ** (np.arange(first, last + 2) / _BINS_PER_DECADE), counts.astype(float)


def valley_threshold(norms: Float[Tensor, "*b n"]) -> float | None:
    """The norm that separates outliers from other tokens: the valley between two modes.  None where there is one mode.

    The rule, on the counts of :func:`log_histogram` smoothed by a Gaussian of one bin: the highest peak is the mode of
    the normal tokens; a peak at larger norms is a mode of outliers if it exceeds the lowest count between the two by
    three standard deviations of its own count (its square root) and is at least twice as high.  Of several the one
    beyond the lowest valley is taken, the first of equal ones, and valleys below one token are equal.  The
    threshold is the middle of the valley's lowest bins.

    A histogram needs tokens: with fewer than about 30 outliers none are told from chance.  Give the tokens of many
    images at once.

    Source: ours.  Registers chooses its :data:`PAPER_THRESHOLD` by eye from the same kind of histogram.
    Raises: InputError if no norm is positive.
    """
    edges, counts = log_histogram(norms)
    smooth = np.pad(ndimage.gaussian_filter1d(np.pad(counts, 4), 1.0, mode="constant"), 1)
    peaks, _ = signal.find_peaks(smooth)
    main = int(smooth.argmax())
    depths = {int(peak): float(smooth[main:peak].min()) for peak in peaks if peak > main}
    modes = {
        peak: max(valley, 1.0)
        for peak, valley in depths.items()
        if smooth[peak] - valley >= _MODE * smooth[peak] ** 0.5 and valley <= _DEPTH * smooth[peak]
    }
    if not modes:
        return None
    peak = min(modes, key=lambda place: (modes[place], place))
    lowest = main + np.flatnonzero(smooth[main:peak] <= modes[peak])
    middle = (lowest[0] + lowest[-1] + 1) / 2 - 5  # five bins were put before the first
    return float(edges[0] * 10 ** (middle / _BINS_PER_DECADE))


def neighbour_cosine(tokens: Float[Tensor, "*b n d"], grid: tuple[int, int]) -> Float[Tensor, "*b n"]:
    """For each patch of a grid, the mean cosine to the patches above, below, left and right of it.

    Patches on the border have three of these, corners two.  Give the tokens as the patch embedding makes them.  A
    token of zeros has the cosine 0 to every other.

    Source: Registers, section 2.2 and Fig. 5a.
    Deviates: one number a patch, the mean over its neighbours; the paper does not say whether it pools them.
    Raises: InputError if the grid has one patch or not as many patches as there are tokens.
    """
    _check_grid(tokens.shape[-2], grid)
    if grid == (1, 1):
        raise InputError("a grid of 1x1 patches has no neighbours: use a larger image")
    unit = F.normalize(tokens.float(), dim=-1).unflatten(-2, grid)
    vertical = (unit[..., 1:, :, :] * unit[..., :-1, :, :]).sum(dim=-1)
    horizontal = (unit[..., :, 1:, :] * unit[..., :, :-1, :]).sum(dim=-1)
    total = F.pad(vertical, (0, 0, 1, 0)) + F.pad(vertical, (0, 0, 0, 1))
    total += F.pad(horizontal, (1, 0)) + F.pad(horizontal, (0, 1))
    rows, cols = (torch.full((size,), 2.0, device=tokens.device) for size in grid)
    for line in (rows, cols):
        line[0] -= 1
        line[-1] -= 1
    return (total / (rows[:, None] + cols)).flatten(-2)


def share_map(outlier: Bool[Tensor, "b n"], grid: tuple[int, int]) -> Float[Tensor, "rows cols"]:
    """For each position, the share of the images in which its token is an outlier.

    Source: Registers, appendix A, Fig. 10.
    Raises: InputError if the grid has not as many patches as there are tokens.
    """
    _check_grid(outlier.shape[-1], grid)
    return outlier.float().mean(dim=0).unflatten(0, grid)


def attention_on(attn: Float[Tensor, "b h n"], outlier: Bool[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """The attention that the class token pays to an image's outliers, mean over heads.

    ``attn`` is the class token's row, patches only, as the softmax made it; what goes to prefix tokens stays out.
    """
    return (attn * outlier[:, None]).sum(dim=-1).mean(dim=-1)


def image_means(values: Float[Tensor, "b n"], where: Bool[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """The mean over the tokens ``where`` it is asked for of one number a token, image by image; NaN without a token.

    So a number of outliers is compared with the same of normal tokens, with intervals over images.
    """
    return values.masked_fill(~where, torch.nan).nanmean(dim=-1)


def _check_grid(tokens: int, grid: tuple[int, int]) -> None:
    rows, cols = grid
    if tokens != rows * cols:
        raise InputError(
            f"{tokens} tokens given, but the grid {rows}x{cols} has {rows * cols}: "
            "leave out prefix tokens and give the grid as (rows, cols)"
        )
