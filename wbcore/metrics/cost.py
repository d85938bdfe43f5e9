"""What a backbone costs: multiply-accumulates, by closed form and by counting.

Counted is what the code executes for one image, in two entries:

- ``linear``: products of weights with activations, that is every linear map and convolution;
- ``attention``: products of activations with activations, above all ``Q Kᵀ`` and ``A V``.

Counters that know modules only (mmcv's, with which the papers on segmentation count) see ``linear`` alone.  Norms,
softmax, activations, sums, sorting and interpolation hold no multiply-accumulate that either way would count.  One
multiply-accumulate (MAC) is two floating-point operations; tables give GMACs, which mmcv's counter calls GFLOPs.

Decoders and whatever decides on tokens: :mod:`wbcore.metrics.segmentation_cost`.  Parameters:
:mod:`wbcore.metrics.parameters`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from wbcore.metrics.shapes import BackboneShape, BlockShape, classifier_widths, feedforward_dim, weights


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one image."""

    linear: int = 0
    attention: int = 0

    @property
    def total(self) -> int:
        return self.linear + self.attention

    def __add__(self, other: "Macs") -> "Macs":
        return Macs(self.linear + other.linear, self.attention + other.attention)


@dataclass(frozen=True)
class Ledger:
    """Where the multiply-accumulates of one image go."""

    embedding: Macs
    blocks: tuple[Macs, ...]
    """One entry for each layer."""
    decoder: Macs = Macs()
    """What follows the last layer: a decoder or a classification head."""
    decisions: tuple[Macs, ...] = ()
    """What decides between layers on which tokens go on."""

    @property
    def whole(self) -> Macs:
        return sum((*self.blocks, *self.decisions, self.decoder), self.embedding)


def block_macs(shape: BlockShape, tokens: int) -> Macs:
    """One layer on ``tokens`` tokens, all of which attend to each other.

    MSSA projects once where MHSA projects three times; ISTA applies its dictionary twice, an MLP has two maps, and a
    gated one three.
    Source: CRATE, Eqs. (5) and (7), and ViT, as this project writes them.
    """
    projections = 1 if shape.attention == "mssa" else 3
    maps = 3 if shape.feedforward == "swiglu" else 2
    linear = (projections + 1) * shape.dim * shape.inner_dim + maps * shape.dim * feedforward_dim(shape)
    return Macs(linear=tokens * linear, attention=2 * tokens**2 * shape.inner_dim)


def embedding_macs(shape: BackboneShape, patches: int) -> Macs:
    """The linear map of every patch."""
    return Macs(linear=patches * shape.in_channels * shape.patch_size**2 * shape.dim)


def classifier_macs(shape: BackboneShape) -> Macs:
    """The classification head, on the class token."""
    return Macs(linear=weights(*classifier_widths(shape)))


def classification_ledger(shape: BackboneShape, grid: tuple[int, int]) -> Ledger:
    """A backbone with its classification head on a ``grid = (rows, cols)`` of patches."""
    patches = grid[0] * grid[1]
    block = block_macs(shape, shape.num_prefix + patches)
    return Ledger(embedding_macs(shape, patches), (block,) * shape.depth, classifier_macs(shape))


def count_macs(run: Callable[[], object]) -> int:
    """The multiply-accumulates of whatever ``run`` does, counted while it runs, attention included.

    Attention is computed with its matrix meanwhile, because torch 2.13's counter does not see the fused kernel of a
    CPU.  A model on the ``meta`` device is counted without memory or arithmetic, so any size will do.
    """
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2
