"""Principal components of the patch tokens of several images at once: a foreground and colours, without training.

The images of one class are analysed jointly, so that a component means the same in all of them.  The first component of
all tokens, cut at one half, parts foreground from background; the first three components of the foreground's tokens
become red, green and blue.  What the CRATE paper writes and what its code does differ in every step: see :data:`RULES`.

Two things that a principal component leaves open are settled by rule.  *Sign*: the foreground is the side of the first
component that has the smaller share of its tokens on the border of the images, all images together; every other
component is turned so that its projection of largest magnitude is positive.  *Scale*: a colour channel runs from the
smallest to the largest projection among the foreground's tokens of all images, so equal colours are equal projections.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from scipy import ndimage
from torch import Tensor

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.metrics.attention import label_iou, to_pixels
from wbcore.metrics.normalized_cut import equals_maximum

_RANK_TOLERANCE, _ROUNDING = 1e-10, 1e-20
"""A direction holds nothing but rounding errors if its eigenvalue is below these shares of the largest one and of the
sum of squares that the longest token would give."""


@dataclass(frozen=True)
class Rule:
    """How the first principal component becomes a foreground."""

    centred: bool
    """Whether the mean token is subtracted; if not, components are eigenvectors of ``Z* Z``, as the paper has it."""
    scale: Literal["image", "class", "none"]
    """Projections run from 0 to 1 in each image, from 0 to 1 in all images of the class, or stay as they are."""
    threshold: float = 0.5
    either_side: bool = False
    """For ``scale="none"``: whether large negative projections are foreground too."""
    fill_holes: bool = False

    def cut(self, projection: Float[Tensor, "i n"]) -> Bool[Tensor, "i n"]:
        """The tokens on the upper side of the threshold: strictly above it in scaled projections, as in the code,
        at least at it in plain ones, as in the paper.  An image in which nothing varies has none.
        """
        if self.scale == "none":
            return (projection.abs() if self.either_side else projection) >= self.threshold
        axes = (0, 1) if self.scale == "class" else (1,)
        low, high = projection.amin(axes, keepdim=True), projection.amax(axes, keepdim=True)
        return projection - low > self.threshold * (high - low)


RULES: dict[str, Rule] = {
    # CRATE's demonstration code, pca_visualization.py.
    "code": Rule(centred=True, scale="image", fill_holes=True),
    # The same, with one scale for all images of the class.
    "code_one_scale": Rule(centred=True, scale="class", fill_holes=True),
    # CRATE, appendix B.2: the tokens of which the hard threshold leaves something above zero …
    "text": Rule(centred=False, scale="none"),
    # … or, as the next line says, something other than zero.
    "text_nonzero": Rule(centred=False, scale="none", either_side=True),
}
"""Each way to draw the foreground that the paper and its code suggest, by name."""


class ClassComponents(NamedTuple):
    """What principal components show of the images of one class."""

    first: Float[Tensor, "i rows cols"]
    """Projections on the first component of all tokens, turned so that the foreground is high."""
    foreground: Bool[Tensor, "i rows cols"]
    colours: Float[Tensor, "i rows cols 3"]
    """First three components of the foreground's tokens, each from 0 to 1; 0 on the background."""


class DepthComponents(NamedTuple):
    """The first four components of all tokens, background included, each from 0 to 1."""

    first: Float[Tensor, "i rows cols"]
    """Turned as in :class:`ClassComponents`."""
    colours: Float[Tensor, "i rows cols 3"]
    """Second, third and fourth component."""


def principal_projections(
    tokens: Float[Tensor, "i n d"],
    num_components: int,
    *,
    centred: bool = True,
    among: Bool[Tensor, "i n"] | None = None,
) -> Float[Tensor, "i n {num_components}"]:
    """Projections of the tokens of several images on their common principal directions, largest variance first.

    Directions, mean and projections are those of the tokens ``among`` (all by default), taken together; the others
    have projection 0.  Computed in float64.  Each component is turned so that its projection of largest magnitude, the
    first of equal ones, is positive.  A component beyond the rank of the tokens is 0 everywhere, and so are all of
    them where no two tokens differ (``centred``) or no token is kept.

    Source: CRATE, appendix B.2 (``centred=False``); scikit-learn's PCA (``centred=True``), which CRATE's code calls.
    Raises: InputError if a token is not finite or more components are asked for than tokens have numbers.
    """
    *shape, dim = tokens.shape
    if not 1 <= num_components <= dim:
        raise InputError(f"{num_components} components of tokens of width {dim}: ask for 1 to {dim}")
    if bad := int((~tokens.isfinite()).sum()):
        raise InputError(f"tokens hold {bad} values that are NaN or infinite: check the model and its input")
    chosen = torch.ones(shape, dtype=torch.bool, device=tokens.device) if among is None else among
    projections = tokens.new_zeros(*shape, num_components, dtype=torch.float64)
    points = tokens[chosen].double()
    if len(points) == 0:
        return projections
    rounding = _ROUNDING * len(points) * points.square().sum(-1).max()
    if centred:
        points = points - points.mean(0)
    variances, directions = torch.linalg.eigh(points.mT @ points)
    variances, directions = variances.flip(0)[:num_components], directions.flip(1)[:, :num_components]
    real = variances > (_RANK_TOLERANCE * variances[0]).maximum(rounding)
    found = torch.where(real, points @ directions, 0.0)
    peaks = equals_maximum(found.abs().mT).int().argmax(-1)
    projections[chosen] = torch.where(found.gather(0, peaks[None]) < 0, -found, found)
    return projections


def class_components(tokens: Float[Tensor, "i n d"], grid: tuple[int, int], *, rule: str = "code") -> ClassComponents:
    """Foreground and colours of the images of one class, from their patch tokens on ``grid`` (rows, cols).

    Where no token passes the threshold, as in tokens that are all equal, foreground and colours are empty; a channel
    in which the foreground's tokens do not vary is one half.

    Source: CRATE, Fig. 3 and appendix B.2; its code, ``pca_visualization.py``.  ``rule`` names one of :data:`RULES`.
    Deviates: the sign is settled by the images' border, where the official code takes what comes; and colours have one
    scale for all images, where the code scales each image (the paper does not scale).
    Raises: InputError for an unknown rule, a grid that does not fit, or tokens that are not finite.
    """
    if rule not in RULES:
        raise InputError(f"unknown rule {rule!r} for the foreground: choose one of {', '.join(RULES)}")
    how = RULES[rule]
    _check_grid(tokens, grid)
    first, foreground = _oriented(principal_projections(tokens, 1, centred=how.centred)[..., 0], grid, how)
    if how.fill_holes:
        planes = foreground.unflatten(1, grid).cpu().numpy()
        filled = np.empty_like(planes)
        ndimage.binary_fill_holes(planes, ndimage.generate_binary_structure(2, 1)[None], output=filled)  # each alone
        foreground = torch.from_numpy(filled).to(tokens.device).flatten(1)
    colours = principal_projections(tokens, 3, centred=how.centred, among=foreground)
    colours[foreground] = _unit_range(colours[foreground])
    return ClassComponents(first.unflatten(1, grid), foreground.unflatten(1, grid), colours.unflatten(1, grid))


def depth_components(tokens: Float[Tensor, "i n d"], grid: tuple[int, int]) -> DepthComponents:
    """The first component and the next three of the tokens of several images, background included.

    Source: CRATE, Figs. 6, 9 and 10, after Amir et al., "Deep ViT features as dense visual descriptors".
    Deviates: sign and scale as in :func:`class_components`.
    Raises: InputError for a grid that does not fit or tokens that are not finite.
    """
    _check_grid(tokens, grid)
    components = principal_projections(tokens, 4)
    first, _ = _oriented(components[..., 0], grid, RULES["code"])
    scaled = _unit_range(torch.cat([first[..., None], components[..., 1:]], dim=-1).flatten(0, 1))
    scaled = scaled.view(*components.shape).unflatten(1, grid)
    return DepthComponents(scaled[..., 0], scaled[..., 1:])


def foreground_iou(foreground: Bool[Tensor, "rows cols"], objects: Integer[Tensor, "h w"]) -> float:
    """IoU of one image's foreground, brought to pixels, with all its objects: the pixels of any class but 0.

    Void pixels are left out.  An empty foreground has IoU 0.
    Raises: NoObjectError if the image has no object.
    """
    height, width = objects.shape
    merged = torch.where((objects > 0) & (objects != VOID), 1, objects)
    return float(label_iou(to_pixels(foreground[None], (height, width)), merged))


def _oriented(
    projection: Float[Tensor, "i n"], grid: tuple[int, int], rule: Rule
) -> tuple[Float[Tensor, "i n"], Bool[Tensor, "i n"]]:
    """The first component, turned so that its upper side is the one that has less of itself on the border."""
    border = torch.ones(grid, dtype=torch.bool, device=projection.device)
    border[1:-1, 1:-1] = False
    sides = [(turned, rule.cut(turned)) for turned in (projection, -projection)]
    shares = [float(mask[:, border.flatten()].sum() / mask.sum()) if mask.any() else 2.0 for _, mask in sides]
    return sides[shares[1] < shares[0]]


def _unit_range(values: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Each column from 0 to 1; a column in which nothing varies is one half."""
    if len(values) == 0:
        return values
    low, high = values.amin(0), values.amax(0)
    return torch.where(high > low, (values - low) / (high - low).clamp_min(torch.finfo(values.dtype).tiny), 0.5)


def _check_grid(tokens: Float[Tensor, "i n d"], grid: tuple[int, int]) -> None:
    if tokens.shape[1] != grid[0] * grid[1]:
        raise InputError(
            f"{tokens.shape[1]} tokens given for a grid of {grid[0]}×{grid[1]} patches: leave out prefix tokens"
        )
