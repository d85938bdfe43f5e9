"""Attention that has looked at nothing: what every segmentation number must beat to mean anything."""

import torch
from jaxtyping import Float
from torch import Tensor

from wbcore.errors import InputError


def random_heads(heads: int, n: int, *, generator: torch.Generator) -> Float[Tensor, "h n"]:
    """Attention rows of ``heads`` heads over ``n`` tokens: softmax of independent standard normal scores.

    The best of several random heads gains from the choice alone, so give as many heads as the model under test.
    """
    return torch.randn(heads, n, generator=generator, device=generator.device).softmax(-1)


def centred_blob(grid: tuple[int, int], *, spread: float = 0.25) -> Float[Tensor, "1 n"]:
    """One attention row over a grid of ``n = rows * cols`` tokens: a Gaussian around the centre of the image.

    ``spread`` is the standard deviation as a share of each side, so on a wide grid the blob is wide.  Its top
    tokens form a centred disc (an ellipse where rows and columns differ); 60 % of the mass at the default
    spread is a disc of about a third of the image.

    Raises: InputError if ``spread`` is not positive.
    """
    if not spread > 0:
        raise InputError(f"spread is {spread}: give a positive share of the side, such as 0.25")
    rows, cols = ((torch.arange(size) + 0.5) / size - 0.5 for size in grid)
    distance = rows[:, None] ** 2 + cols[None, :] ** 2
    return (-distance / (2 * spread**2)).flatten().softmax(-1)[None]
