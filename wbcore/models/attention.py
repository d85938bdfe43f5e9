"""The two attentions of the ablation, MSSA and MHSA: one interface, the same taps."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class Pattern(NamedTuple):
    """Who attends to whom: every token of an image to all of them, each counting once, unless it says otherwise."""

    lengths: Sequence[int] | None = None
    """The one sequence holds several images of so many tokens each, one after the other, and every image attends to
    itself alone: images of different lengths in one batch, without padding."""
    sizes: Float[Tensor, "b n"] | None = None
    """For how many a token counts (Bolya et al., Token Merging, 2023, Eq. (1))."""


EVERYONE = Pattern()


def attend(
    query: Float[Tensor, "b h n d"],
    key: Float[Tensor, "b h n d"],
    value: Float[Tensor, "b h n d"],
    pattern: Pattern = EVERYONE,
) -> Float[Tensor, "b h n d"]:
    """Softmax attention, scaled by ``d ** -0.5``, without ever holding the n×n matrix.

    On a CPU half precision is widened first: there the fused kernel's backward pass is about four times slower in
    bfloat16 than in float32 (torch 2.13, 82 to 785 tokens).
    """
    if pattern.lengths is not None:
        return _attend_packed(query, key, value, pattern.lengths)
    bias = None if pattern.sizes is None else pattern.sizes.log()[:, None, None].to(query.dtype)
    if query.device.type == "cpu" and query.dtype != torch.float64:
        with torch.autocast("cpu", enabled=False):
            bias = None if bias is None else bias.float()
            widened = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=bias)
        return widened.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def _attend_packed(
    query: Float[Tensor, "1 h n d"],
    key: Float[Tensor, "1 h n d"],
    value: Float[Tensor, "1 h n d"],
    lengths: Sequence[int],
) -> Float[Tensor, "1 h n d"]:
    """One kernel for all images where the GPU has one, else one image after the other."""
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        from torch.nn.attention.varlen import varlen_attn

        ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=query.device)
        q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        mixed = varlen_attn(q, k, v, ends, ends, max(lengths), max(lengths))
        return cast(Tensor, mixed).transpose(0, 1)[None]
    parts = (tensor.split(list(lengths), dim=-2) for tensor in (query, key, value))
    return torch.cat([attend(q, k, v) for q, k, v in zip(*parts, strict=True)], dim=-2)


class Attention(nn.Module, ABC):
    """What MSSA and MHSA share: everything but where queries, keys and values come from.

    Tokens are ``[b, n, dim]``; queries, keys and values ``[b, heads, n, dim_head]``.  The softmax is over all
    tokens, prefix tokens included, and scaled by ``dim_head ** -0.5`` as in both official codes
    (CRATE, Eqs. (5) and (10), writes no scale).
    """

    segmentation_feature: str
    """The tap that unsupervised segmentation (MaskCut, PCA) reads from this kind of attention."""

    def __init__(self, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = dim_head**-0.5

    @abstractmethod
    def forward(self, tokens: Float[Tensor, "b n dim"], pattern: Pattern = EVERYONE) -> Float[Tensor, "b n dim"]:
        """What each token takes from the others."""

    @abstractmethod
    def queries(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n d"]:
        """What each token asks for."""

    @abstractmethod
    def keys(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n d"]:
        """What each token is found by."""

    @abstractmethod
    def values(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n d"]:
        """What each token hands on."""

    def cls_attention(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n"]:
        """The class token's row of every head's attention map, without the other ``n - 1`` rows.

        Source: CRATE, Eqs. (10) and (11).  Deviates: the softmax also runs over the class token and the registers,
        as it does in the forward pass and in the official code; the shares of the patches keep their proportions.
        """
        return self.prefix_attention(tokens, 1).squeeze(-2)

    def prefix_attention(self, tokens: Float[Tensor, "b n dim"], count: int) -> Float[Tensor, "b h {count} n"]:
        """The first ``count`` rows of every head's attention map: those of the class token and of registers."""
        scores = self.queries(tokens[:, :count]) @ self.keys(tokens).transpose(-1, -2)
        return (scores * self.scale).softmax(dim=-1)

    def split_heads(self, projected: Float[Tensor, "b n hd"]) -> Float[Tensor, "b h n d"]:
        return rearrange(projected, "b n (h d) -> b h n d", h=self.heads)


class MSSA(Attention):
    """Multi-head subspace self-attention: queries, keys and values are the same projections onto K subspaces.

    ``MSSA(Z) = [U₁, …, U_K] (U*ₖZ softmax((U*ₖZ)*(U*ₖZ)))ₖ``, one step of compression against the subspaces U.

    Source: CRATE, Eq. (5).  Notation: ``subspaces.weight`` stacks the U*ₖ, ``heads`` is K, ``dim_head`` is p.
    Deviates: with ``tied=False`` (the default, and the official code) the way back is a free linear map with a bias
    instead of U, which absorbs the constant factor of Eq. (5).  ``tied=True`` uses U itself, without that factor.
    """

    segmentation_feature = "projections"

    def __init__(self, dim: int, heads: int, dim_head: int, *, tied: bool) -> None:
        super().__init__(heads, dim_head)
        self.subspaces = nn.Linear(dim, heads * dim_head, bias=False)
        self.output = None if tied else nn.Linear(heads * dim_head, dim)

    def projections(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n d"]:
        """``U*ₖ z`` for every token and subspace."""
        return self.split_heads(self.subspaces(tokens))

    queries = keys = values = projections

    def forward(self, tokens: Float[Tensor, "b n dim"], pattern: Pattern = EVERYONE) -> Float[Tensor, "b n dim"]:
        projected = self.projections(tokens)
        mixed = attend(projected, projected, projected, pattern)
        merged = rearrange(mixed, "b h n d -> b n (h d)")
        return F.linear(merged, self.subspaces.weight.t()) if self.output is None else self.output(merged)


class MHSA(Attention):
    """Multi-head self-attention with separate queries, keys and values.

    Source: ViT (Dosovitskiy et al., 2021), appendix A; CRATE, Eq. (11).
    """

    segmentation_feature = "keys"

    def __init__(self, dim: int, heads: int, dim_head: int, *, qkv_bias: bool) -> None:
        super().__init__(heads, dim_head)
        self.qkv = nn.Linear(dim, 3 * heads * dim_head, bias=qkv_bias)
        self.output = nn.Linear(heads * dim_head, dim)
        for linear in (self.qkv, self.output):
            nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(self.output.bias)
        if qkv_bias:
            nn.init.zeros_(self.qkv.bias)

    def _third(self, index: int, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n d"]:
        """One of queries (0), keys (1), values (2), without computing the other two."""
        weight = self.qkv.weight.chunk(3)[index]
        bias = None if self.qkv.bias is None else self.qkv.bias.chunk(3)[index]
        return self.split_heads(F.linear(tokens, weight, bias))

    def queries(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n d"]:
        return self._third(0, tokens)

    def keys(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n d"]:
        return self._third(1, tokens)

    def values(self, tokens: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n d"]:
        return self._third(2, tokens)

    def forward(self, tokens: Float[Tensor, "b n dim"], pattern: Pattern = EVERYONE) -> Float[Tensor, "b n dim"]:
        query, key, value = torch.unbind(rearrange(self.qkv(tokens), "b n (t h d) -> t b h n d", t=3, h=self.heads))
        mixed = attend(query, key, value, pattern)
        return self.output(rearrange(mixed, "b h n d -> b n (h d)"))
