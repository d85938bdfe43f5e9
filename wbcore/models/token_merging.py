"""Token merging: similar tokens become one, layer by layer, and are given back to their places at the end."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Merged:
    """Tokens of which some stand for several patches."""

    tokens: Float[Tensor, "b n d"]
    sizes: Float[Tensor, "b n"]
    """How many patches each token stands for."""
    place: Int[Tensor, "b m"]
    """For each of the ``m`` tokens there were at the beginning, the token that stands for it now."""

    @classmethod
    def whole(cls, tokens: Float[Tensor, "b n d"]) -> "Merged":
        """Every token for itself."""
        batch, count, _ = tokens.shape
        place = torch.arange(count, device=tokens.device).expand(batch, -1)
        return cls(tokens, tokens.new_ones(batch, count), place)

    def restore(self) -> Float[Tensor, "b m d"]:
        """One token for each of the first ones: those that were merged have the same."""
        return self.tokens.gather(1, self.place[..., None].expand(-1, -1, self.tokens.shape[-1]))


def merge_similar(state: Merged, keys: Float[Tensor, "b n k"], *, count: int, num_prefix: int) -> Merged:
    """Merge the ``count`` most similar pairs of patches: of every second patch with its nearest among the others.

    A merged token is the mean of its parts, weighted by how many patches each stands for; prefix tokens stay alone.
    No more than half of the patches can be merged at once.

    Source: ToMe (Bolya et al., 2023), section 3 and its algorithm of bipartite soft matching; ``keys`` are its metric.
    Deviates: called before a layer instead of between its two halves, because ISTA has no residual path to merge on.
    """
    tokens, sizes = state.tokens, state.sizes
    total = tokens.shape[1]
    index = torch.arange(num_prefix, total, device=tokens.device)
    sources, targets = index[::2], index[1::2]
    count = min(count, len(sources), len(targets) * len(sources))
    if count <= 0:
        return state
    keys = F.normalize(keys.float(), dim=-1)
    similarity, nearest = (keys[:, sources] @ keys[:, targets].mT).max(dim=-1)
    chosen = similarity.argsort(dim=1, descending=True, stable=True)[:, :count]
    gone, into = sources[chosen], targets[nearest.gather(1, chosen)]

    weighted = tokens * sizes[..., None]
    weighted = weighted.scatter_add(1, into[..., None].expand(-1, -1, tokens.shape[-1]), _rows(weighted, gone))
    sizes = sizes.scatter_add(1, into, sizes.gather(1, gone))
    stays = torch.ones_like(sizes, dtype=torch.bool).scatter(1, gone, value=False)
    remaining = stays.nonzero()[:, 1].view(len(tokens), total - count)
    number = stays.cumsum(dim=1) - 1  # of each token that stays, among those that stay
    number = number.scatter(1, gone, number.gather(1, into))
    sizes = sizes.gather(1, remaining)
    merged = _rows(weighted, remaining) / sizes[..., None]
    return Merged(merged, sizes, number.gather(1, state.place))


def _rows(values: Float[Tensor, "b n d"], index: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
