"""What a patch token holds of its own patch: its position, its pixels, and its class, each by one linear map.

One map is fitted to the tokens of all patches; then outliers and normal tokens are scored apart, by the number that
each token gets here (:func:`wbcore.metrics.norms.image_means`).  Give tokens after the final LayerNorm.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from sklearn.linear_model import LinearRegression
from torch import Tensor

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.metrics.attention import to_tokens
from wbcore.metrics.probes import LinearProbe, fit_linear


class PositionErrors(NamedTuple):
    """Of each token, whether its position was named (1 or 0) and how many patches away the named one is."""

    correct: Float[Tensor, "b n"]
    distance: Float[Tensor, "b n"]


def position_errors(
    train: Float[Tensor, "m n d"],
    test: Float[Tensor, "b n d"],
    grid: tuple[int, int],
    *,
    strengths: Sequence[float] = (1.0,),
    seed: int = 0,
) -> PositionErrors:
    """How well a linear classifier of ``train``'s tokens names the positions of ``test``'s, one class a position.

    Source: Registers, section 2.2 and Fig. 5b: top-1 accuracy and average distance.
    Deviates: the paper does not say how it measures distance; here it is Euclidean, in patches, between centres.
    Raises: InputError if the grid has one patch or not as many as there are tokens.
    """
    n, (rows, cols) = train.shape[1], grid
    if n != rows * cols:
        raise InputError(f"{n} tokens given, but the grid {rows}x{cols} has {rows * cols}: leave out prefix tokens")
    places = torch.arange(n)
    probe = fit_linear(train.flatten(0, 1), places.repeat(len(train)), strengths=strengths, seed=seed)
    named = probe.predict(test.flatten(0, 1)).unflatten(0, test.shape[:2])
    down, right = (named // cols - places // cols).float(), (named % cols - places % cols).float()
    return PositionErrors((named == places).float(), torch.hypot(down, right))


def patch_pixels(images: Float[Tensor, "b c height width"], patch_size: int) -> Float[Tensor, "b n p"]:
    """The pixels of each patch as one row, patches in the order of the tokens.

    Raises: InputError if a side is not a multiple of the patch.
    """
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size:
        raise InputError(f"images of {height}x{width} pixels have no whole patches of {patch_size}: resize them")
    return rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=patch_size, q=patch_size)


def reconstruction_errors(
    train: Float[Tensor, "m n d"],
    train_pixels: Float[Tensor, "m n p"],
    test: Float[Tensor, "b n d"],
    test_pixels: Float[Tensor, "b n p"],
) -> Float[Tensor, "b n"]:
    """The L2 norm of what a linear map of each token misses of its patch's pixels, fitted by least squares.

    In units of the pixels, those that the model gets; the norm of a patch grows with the root of its size.

    Source: Registers, section 2.2 and Fig. 5b, which do not state their units.
    """
    arrays = (values.flatten(0, 1).detach().double().cpu().numpy() for values in (train, train_pixels, test))
    tokens, pixels, queries = arrays
    guess = torch.from_numpy(LinearRegression().fit(tokens, pixels).predict(queries))
    return (test_pixels.detach().double().cpu() - guess.unflatten(0, test.shape[:2])).norm(dim=-1).float()


def fit_segmentation(
    tokens: Float[Tensor, "m n d"],
    labels: Sequence[UInt8[Tensor, "_h _w"]],
    grid: tuple[int, int],
    *,
    strengths: Sequence[float] = (1.0,),
    seed: int = 0,
) -> LinearProbe:
    """A linear classifier of patches: each has the class of most of its pixels, and patches mostly void are left out.

    Source: Registers, section 3.2 and Table 2a: linear segmentation on frozen features, after DINOv2.
    Deviates: fitted to patches at once instead of to pixels by gradient steps.  It has one minimum, which needs neither
    learning rate nor schedule; what it loses are patches that several classes share.
    Raises: InputError if images and labels differ in number, or fewer than two classes have a patch.
    """
    if len(tokens) != len(labels):
        raise InputError(f"tokens of {len(tokens)} images and {len(labels)} label maps: give one for each")
    classes = torch.stack([to_tokens(each, grid) for each in labels]).flatten()
    known = classes != VOID
    return fit_linear(tokens.flatten(0, 1)[known], classes[known], strengths=strengths, seed=seed)


def segment(
    probe: LinearProbe, tokens: Float[Tensor, "n d"], grid: tuple[int, int], size: tuple[int, int]
) -> Int[Tensor, "h w"]:
    """The class of every pixel of an image of ``size = (height, width)``: logits resized bilinearly, then the largest.

    :func:`wbcore.metrics.segmentation.confusion` and its neighbours score it.

    Source: DINOv2's linear segmentation head.
    """
    maps = probe.logits(tokens).T.unflatten(1, grid)[None]
    resized = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    return probe.classes[resized[0].argmax(dim=0)]
