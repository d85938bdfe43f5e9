"""The only place that knows which tokens are patches and which are not."""

import math
from dataclasses import dataclass

from torch import Tensor

from wbcore.errors import InputError


@dataclass(frozen=True)
class TokenLayout:
    """How a sequence of tokens is laid out: ``num_prefix`` prefix tokens (class token, then registers),
    then the patches of a ``grid = (rows, cols)``, row by row.
    """

    num_prefix: int
    grid: tuple[int, int]

    @property
    def num_patches(self) -> int:
        return math.prod(self.grid)

    @property
    def num_tokens(self) -> int:
        return self.num_prefix + self.num_patches

    def patches(self, values: Tensor, *, dim: int = -2) -> Tensor:
        """The patch part of ``values`` along ``dim``: -2 for tokens ``[.., n, d]``, -1 for attention rows ``[.., n]``.

        Raises: InputError if that dimension does not have this layout's number of tokens.
        """
        self._check(values, dim)
        return values.narrow(dim, self.num_prefix, self.num_patches)

    def prefix(self, values: Tensor, *, dim: int = -2) -> Tensor:
        """The prefix part of ``values`` along ``dim``, as :meth:`patches`."""
        self._check(values, dim)
        return values.narrow(dim, 0, self.num_prefix)

    def to_grid(self, values: Tensor) -> Tensor:
        """Patch values ``[.., rows·cols]`` as a map ``[.., rows, cols]``."""
        return values.unflatten(-1, self.grid)

    def _check(self, values: Tensor, dim: int) -> None:
        if values.shape[dim] != self.num_tokens:
            raise InputError(
                f"{values.shape[dim]} tokens given, but {self.num_prefix} prefix tokens and a grid of "
                f"{self.grid[0]}×{self.grid[1]} patches make {self.num_tokens}: pass the values before any split"
            )


def grid_of(size: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """The patch grid (rows, cols) of an image of ``size = (height, width)`` pixels.

    Raises: InputError if a side is not a multiple of the patch.
    """
    height, width = size
    if height % patch_size or width % patch_size or not height or not width:
        raise InputError(
            f"image size {height}×{width} is not divisible by the patch size {patch_size}: "
            f"resize it to {max(1, round(height / patch_size)) * patch_size}×"
            f"{max(1, round(width / patch_size)) * patch_size}"
        )
    return height // patch_size, width // patch_size
