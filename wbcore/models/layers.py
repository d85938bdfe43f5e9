"""How an image becomes tokens: patch embedding and position embedding."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class ConvPatchEmbedding(nn.Conv2d):
    """One linear map of each patch, written as a convolution.

    Source: ViT (Dosovitskiy et al., 2021), Eq. (1); CRATE, Algorithm 1, line 10.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int, *, bias: bool) -> None:
        super().__init__(in_channels, dim, kernel_size=patch_size, stride=patch_size, bias=bias)

    def forward(self, image: Float[Tensor, "b c height width"]) -> Float[Tensor, "b n d"]:
        return super().forward(image).flatten(2).transpose(1, 2)


class NormalisedPatchEmbedding(nn.Sequential):
    """LayerNorm, linear map, LayerNorm of each flattened patch.

    Source: official CRATE code, ``to_patch_embedding``; the paper writes a plain linear map.
    A patch is flattened in the order (row, column, channel).
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int, *, bias: bool) -> None:
        patch_dim = in_channels * patch_size**2
        super().__init__(nn.LayerNorm(patch_dim), nn.Linear(patch_dim, dim, bias=bias), nn.LayerNorm(dim))
        self.patch_size = patch_size

    def forward(self, image: Float[Tensor, "b c height width"]) -> Float[Tensor, "b n d"]:
        size = self.patch_size
        return super().forward(rearrange(image, "b c (h p) (w q) -> b (h w) (p q c)", p=size, q=size))


def resize_position_embedding(
    embedding: Float[Tensor, "1 n d"], native: tuple[int, int], grid: tuple[int, int]
) -> Float[Tensor, "1 m d"]:
    """Position embeddings of the patches of ``native = (rows, cols)``, resampled to another ``grid``.

    Bicubic with antialiasing, as timm does; at the native grid the very same tensor, so that nothing is
    smoothed that needs no resizing.  The parameter itself is never overwritten.
    """
    if grid == native:
        return embedding
    maps = rearrange(embedding.float(), "1 (h w) d -> 1 d h w", h=native[0])
    maps = F.interpolate(maps, size=grid, mode="bicubic", antialias=True, align_corners=False)
    return rearrange(maps, "1 d h w -> 1 (h w) d").to(embedding.dtype)


class LayerScale(nn.Module):
    """A learned factor for every channel of a residual branch.

    Source: CaiT (Touvron et al., 2021), Eq. (4); used by DINOv2 and DeiT-III.
    """

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return tokens * self.gamma
