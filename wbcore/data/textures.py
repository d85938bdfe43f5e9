"""The pictures of scenes as stacks of one size, sampled through affine maps without aliasing."""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor


class Piece(NamedTuple):
    """A part of a picture: left, top, right and bottom are shares of its sides."""

    file: Path
    part: tuple[float, ...] = (0.0, 0.0, 1.0, 1.0)


class Textures:
    """Pictures of one size at halving resolutions, so that shrinking them does not alias."""

    def __init__(self, stack: Float[Tensor, "k c h w"], levels: int = 3) -> None:
        self.levels = [stack]
        for _ in range(levels - 1):
            self.levels.append(F.avg_pool2d(self.levels[-1], 2))

    def sample(
        self,
        index: Int[Tensor, "b"],
        placement: Float[Tensor, "b 2 3"],
        shrink: Float[Tensor, "b"],
        size: int,
        padding: str,
    ) -> Float[Tensor, "b c s s"]:
        """Picture ``index`` seen through the affine ``placement`` (output to texture, both in [-1, 1]).

        ``shrink`` is how many texture pixels of the finest level meet one output pixel.  These three are on the CPU;
        the result is where the textures are.
        """
        finest = self.levels[0]
        level = shrink.log2().round().clamp(0, len(self.levels) - 1).long()
        output = finest.new_empty(len(index), finest.shape[1], size, size)
        for number, stack in enumerate(self.levels):
            chosen = (level == number).nonzero().squeeze(1)
            if len(chosen):
                theta, pictures = placement[chosen].to(stack.device), stack[index[chosen].to(stack.device)]
                grid = F.affine_grid(theta, [len(chosen), 1, size, size], align_corners=False)
                output[chosen.to(stack.device)] = F.grid_sample(
                    pictures, grid, mode="bilinear", padding_mode=padding, align_corners=False
                )
        return output


@functools.cache
def cutout_textures(files: tuple[Path, ...], side: int) -> Float[Tensor, "k 4 t t"]:
    """Cut-outs with premultiplied alpha, centred in a square whose side is the longer one's."""
    stack = []
    for file in files:
        with Image.open(file) as image:
            rgba = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255
        tensor = torch.from_numpy(rgba).permute(2, 0, 1)[None]
        tensor[:, :3] *= tensor[:, 3:]
        height, width = tensor.shape[-2:]
        scale = side / max(height, width)
        rows, cols = max(1, round(height * scale)), max(1, round(width * scale))
        small = F.interpolate(tensor, (rows, cols), mode="bilinear", antialias=True, align_corners=False)
        top, left = (side - rows) // 2, (side - cols) // 2
        stack.append(F.pad(small, (left, side - cols - left, top, side - rows - top)))
    return torch.cat(stack).clamp(0, 1)


@functools.cache
def background_textures(pieces: tuple[Piece, ...], rows: int) -> Float[Tensor, "k 3 rows cols"]:
    """Pieces of pictures resized to cover, and centrally cropped to, 3:2."""
    cols = rows * 3 // 2
    stack = []
    for piece in pieces:
        with Image.open(piece.file) as image:
            left, top, right, bottom = (
                round(share * side) for share, side in zip(piece.part, image.size * 2, strict=True)
            )
            rgb = np.asarray(image.convert("RGB").crop((left, top, right, bottom)), dtype=np.float32) / 255
        tensor = torch.from_numpy(rgb).permute(2, 0, 1)[None]
        height, width = tensor.shape[-2:]
        scale = max(rows / height, cols / width)
        size = (max(rows, round(height * scale)), max(cols, round(width * scale)))
        covering = F.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
        top, left = (size[0] - rows) // 2, (size[1] - cols) // 2
        stack.append(covering[..., top : top + rows, left : left + cols])
    return torch.cat(stack).clamp(0, 1)
