"""Token-pass: which tokens stop, where they wait, and how they come back.  Pure functions, exact for every image."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wbcore.errors import InputError

Merging = Literal["none", "printed", "code"]
MERGE_FROM = 0.1
"""Share of the patches from which on the official code merges those that stopped."""


def confidence(logits: Float[Tensor, "b p c"]) -> Float[Tensor, "b p"]:
    """How sure an early probe is of each patch: its largest class probability.

    Source: DoViT, Eqs. (2) and (3).
    """
    return logits.float().softmax(dim=-1).amax(dim=-1)


def keep_mask(
    sure: Float[Tensor, "b p"], previous: Bool[Tensor, "b p"], *, threshold: float, same_count: bool = False
) -> Bool[Tensor, "b p"]:
    """The patches that go on: those of ``previous`` of which the probe is not surer than ``threshold``.

    A patch that stopped stays stopped.  With ``same_count`` every image keeps as many, the rounded mean over the
    batch, in the order of confidence, the least sure first: an image's result then depends on its batch.

    Source: DoViT, Eqs. (4) and (5); ``same_count``: section 4.1.2.
    Notation: ``sure`` is q, ``threshold`` is ξ, ``previous`` is M^{ℓ-1}.
    Raises: InputError if ``threshold`` is not between 0 and 1.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold={threshold}: a confidence lies between 0 and 1, give ξ in that range")
    keep = previous & (sure <= threshold)
    if not same_count:
        return keep
    count = round(float(keep.sum(dim=1).float().mean()))
    # Patches that stopped before come last; where fewer are left than the mean, none of them comes back.
    return keep_lowest(sure.masked_fill(~previous, torch.inf), count) & previous


def keep_lowest(values: Float[Tensor, "b p"], count: int) -> Bool[Tensor, "b p"]:
    """The ``count`` patches of each image with the lowest values; of equal ones the first."""
    chosen = values.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, chosen, value=True)


@dataclass(frozen=True)
class Split:
    """Which tokens of a batch go on: one object gathers them and puts them back, so the two cannot disagree."""

    kept: Int[Tensor, "k"]
    """Places among the ``b·n`` tokens of the batch, in order."""
    lengths: tuple[int, ...]
    """How many of them each image has."""
    num_tokens: int
    """``b·n``."""

    @property
    def is_whole(self) -> bool:
        """Whether no token stopped in any image."""
        return len(self.kept) == self.num_tokens

    def gather(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "1 k d"]:
        """The tokens that go on, image after image.  Source: DoViT, Eq. (6), G(T, M)."""
        return tokens.flatten(0, 1)[self.kept][None]

    def scatter(self, packed: Float[Tensor, "1 k d"], tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """``tokens`` with those that went on put back into their places.  Source: DoViT, section 3.3, R(T, I)."""
        return tokens.flatten(0, 1).index_copy(0, self.kept, packed[0].to(tokens.dtype)).view_as(tokens)


def split(keep: Bool[Tensor, "b p"], *, num_prefix: int) -> Split:
    """The split that a mask of patches makes; the ``num_prefix`` prefix tokens always go on."""
    whole = torch.cat([keep.new_ones(len(keep), num_prefix), keep], dim=1)
    lengths = tuple(whole.sum(dim=1).tolist())
    return Split(whole.flatten().nonzero().squeeze(1), lengths, whole.numel())


def merge(
    class_token: Float[Tensor, "b d"],
    patch_tokens: Float[Tensor, "b p d"],
    keep: Bool[Tensor, "b p"],
    *,
    rule: Merging = "code",
) -> Float[Tensor, "b d"]:
    """The class token with what the stopped patches hold, so that the others can still attend to it.

    ``printed``: ½·cls + mean over the stopped.  ``code``: ½·(cls + mean), and only where more than a tenth of the
    patches has stopped.  The class token of an image in which nothing stopped stays as it is.

    Source: DoViT, Eq. (8), and the official code.
    Deviates: Eq. (8) also sums over the channels, which would make a number of a token; neither we nor the code do.
    """
    if rule == "none":
        return class_token
    stopped = (~keep).to(patch_tokens.dtype)
    count = stopped.sum(dim=1, keepdim=True)
    mean = torch.einsum("b p d, b p -> b d", patch_tokens, stopped) / count.clamp(min=1)
    if rule == "printed":
        return torch.where(count > 0, class_token / 2 + mean, class_token)
    return torch.where(count > MERGE_FROM * keep.shape[1], (class_token + mean) / 2, class_token)
