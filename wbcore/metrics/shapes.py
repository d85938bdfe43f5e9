"""The sizes that decide what a backbone costs and how many parameters it has."""

from itertools import pairwise
from typing import Protocol, runtime_checkable


@runtime_checkable
class BlockShape(Protocol):
    """What decides the cost and the parameters of a layer; :class:`wbcore.models.BackboneConfig` has it all."""

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
    """What decides the cost and the parameters of a backbone."""

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


def feedforward_dim(shape: BlockShape) -> int:
    """Units of the feed-forward half: ISTA's code is as wide as its tokens."""
    return round(shape.dim * shape.mlp_ratio) if shape.feedforward in ("mlp", "swiglu") else shape.dim


def classifier_widths(shape: BackboneShape) -> tuple[int, ...]:
    """The widths of the classification head, from the token to the classes; empty without one."""
    hidden = () if shape.head_dim is None else (shape.head_dim,)
    return (shape.dim, *hidden, shape.num_classes) if shape.num_classes else ()


def weights(*widths: int) -> int:
    """Weights of linear maps from one width to the next, without biases."""
    return sum(before * after for before, after in pairwise(widths))
