"""What a backbone costs: multiply-accumulates and parameters, by closed form and by counting.

Counted is what the code executes for one image, in two entries:

- ``linear``: products of weights with activations, that is every linear map and convolution;
- ``attention``: products of activations with activations, above all ``Q Kᵀ`` and ``A V``.

Counters that know modules only (mmcv's, with which the papers on segmentation count) see ``linear`` alone.  Norms,
softmax, activations, sums, sorting and interpolation hold no multiply-accumulate that either way would count.  One
multiply-accumulate (MAC) is two floating-point operations; tables give GMACs, which mmcv's counter calls GFLOPs.

Decoders and whatever decides on tokens: :mod:`wbcore.metrics.segmentation_cost`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@runtime_checkable
class BlockShape(Protocol):
    """What decides the cost of a layer; :class:`wbcore.models.BackboneConfig` has it all."""

    @property
    def dim(self) -> int: ...
    @property
    def inner_dim(self) -> int: ...
    @property
    def attention(self) -> str: ...
    @property
    def output_projection(self) -> str: ...
    @property
    def feedforward(self) -> str: ...
    @property
    def mlp_ratio(self) -> float: ...
    @property
    def qkv_bias(self) -> bool: ...
    @property
    def layer_scale(self) -> float | None: ...


@runtime_checkable
class BackboneShape(BlockShape, Protocol):
    """What decides the cost of a backbone."""

    @property
    def depth(self) -> int: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def patch_size(self) -> int: ...
    @property
    def num_prefix(self) -> int: ...
    @property
    def grid(self) -> tuple[int, int]: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def head_dim(self) -> int | None: ...
    @property
    def patch_embedding(self) -> str: ...
    @property
    def patch_bias(self) -> bool: ...
    @property
    def position_embedding(self) -> str: ...
    @property
    def pre_norm(self) -> bool: ...


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
    weights = (projections + 1) * shape.dim * shape.inner_dim + maps * shape.dim * _feedforward_dim(shape)
    return Macs(linear=tokens * weights, attention=2 * tokens**2 * shape.inner_dim)


def embedding_macs(shape: BackboneShape, patches: int) -> Macs:
    """The linear map of every patch."""
    return Macs(linear=patches * shape.in_channels * shape.patch_size**2 * shape.dim)


def classifier_macs(shape: BackboneShape) -> Macs:
    """The classification head, on the class token."""
    return Macs(linear=_weights(_classifier(shape)))


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


def backbone_parameters(shape: BackboneShape) -> int:
    """Learned numbers of a backbone without its classification head, position embedding at the native grid."""
    dim, patch_dim = shape.dim, shape.in_channels * shape.patch_size**2
    embedding = patch_dim * dim + shape.patch_bias * dim
    if shape.patch_embedding == "normalised":
        embedding += norm_parameters(patch_dim) + norm_parameters(dim)
    positions = shape.grid[0] * shape.grid[1] + (shape.position_embedding == "with_class")
    norms = (1 + shape.pre_norm) * norm_parameters(dim)
    return embedding + (shape.num_prefix + positions) * dim + norms + shape.depth * block_parameters(shape)


def classifier_parameters(shape: BackboneShape) -> int:
    """Learned numbers of the classification head."""
    return linear_parameters(*_classifier(shape))


def block_parameters(shape: BlockShape) -> int:
    """Learned numbers of one layer."""
    dim, inner = shape.dim, shape.inner_dim
    projections = dim * inner if shape.attention == "mssa" else 3 * (dim * inner + shape.qkv_bias * inner)
    output = linear_parameters(inner, dim) if shape.output_projection == "free" else 0
    feedforward = dim**2  # D
    if shape.feedforward in ("mlp", "swiglu"):
        feedforward = linear_parameters(dim, _feedforward_dim(shape), dim)
    if shape.feedforward == "swiglu":
        feedforward += linear_parameters(dim, _feedforward_dim(shape))
    scales = 0 if shape.layer_scale is None else 2 * dim
    return 2 * norm_parameters(dim) + projections + output + feedforward + scales


def linear_parameters(*widths: int) -> int:
    """Weights and biases of linear maps from one width to the next."""
    return _weights(widths) + sum(widths[1:])


def norm_parameters(dim: int) -> int:
    """Scale and shift of a LayerNorm or batch norm."""
    return 2 * dim


def _weights(widths: Sequence[int]) -> int:
    return sum(before * after for before, after in pairwise(widths))


def _feedforward_dim(shape: BlockShape) -> int:
    return round(shape.dim * shape.mlp_ratio) if shape.feedforward in ("mlp", "swiglu") else shape.dim


def _classifier(shape: BackboneShape) -> tuple[int, ...]:
    """The widths of the classification head, from the token to the classes; empty without one."""
    hidden = () if shape.head_dim is None else (shape.head_dim,)
    return (shape.dim, *hidden, shape.num_classes) if shape.num_classes else ()
