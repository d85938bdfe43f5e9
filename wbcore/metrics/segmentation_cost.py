"""What a segmentation model costs for one image, which depends on how many tokens that image keeps.

Entries and what they count: :mod:`wbcore.metrics.cost`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

from wbcore.errors import InputError
from wbcore.metrics.cost import Ledger, Macs, block_macs, embedding_macs
from wbcore.metrics.parameters import backbone_parameters, block_parameters, linear_parameters, norm_parameters
from wbcore.metrics.shapes import BackboneShape, weights


@runtime_checkable
class PolicyShape(Protocol):
    """What decides the cost of deciding on tokens; :class:`wbcore.models.dovit.Policy` has it."""

    @property
    def kind(self) -> str: ...
    @property
    def merging(self) -> str: ...


@runtime_checkable
class SegmenterShape(Protocol):
    """What decides the cost of a segmentation model; :class:`wbcore.models.dovit.SegmenterConfig` has it all."""

    @property
    def backbone(self) -> BackboneShape: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def decoder(self) -> str: ...
    @property
    def decisions(self) -> tuple[int, ...]: ...
    @property
    def policy(self) -> PolicyShape: ...


SETR_CHANNELS = 256
MASK_TRANSFORMER_DEPTH = 2


def dense_ledger(shape: SegmenterShape, grid: tuple[int, int]) -> Ledger:
    """The model on a ``grid = (rows, cols)`` of patches with every token in every layer and nothing to decide."""
    patches = grid[0] * grid[1]
    blocks = (block_macs(shape.backbone, shape.backbone.num_prefix + patches),) * shape.backbone.depth
    return Ledger(embedding_macs(shape.backbone, patches), blocks, _decoder_macs(shape, patches))


def segmentation_ledger(shape: SegmenterShape, grid: tuple[int, int], tokens: Sequence[int]) -> Ledger:
    """The model on one image of ``grid = (rows, cols)`` patches, of whose tokens ``tokens[ℓ]`` went through layer ℓ.

    Prefix tokens are among them.  What decides on the tokens depends on the policy: ``confidence`` has a probe that
    looks at all patches and the mean that goes into the class token; ``ratio`` has a predictor; ``merge`` compares
    keys before each layer but the first; ``dense`` has nothing.

    Raises: InputError if ``tokens`` is not one number for each layer.
    """
    backbone, patches = shape.backbone, grid[0] * grid[1]
    if len(tokens) != backbone.depth:
        raise InputError(f"{len(tokens)} numbers of tokens for {backbone.depth} layers: give one for each layer")
    return Ledger(
        embedding_macs(backbone, patches),
        tuple(block_macs(backbone, count) for count in tokens),
        _decoder_macs(shape, patches),
        _decision_macs(shape, patches, tokens),
    )


def _decoder_macs(shape: SegmenterShape, patches: int) -> Macs:
    """SETR-naive: two 1×1 convolutions, both before the upsampling.  Segmenter: projections of patches and classes,
    layers over both, and every patch times every class."""
    dim, classes = shape.backbone.dim, shape.num_classes
    if shape.decoder == "setr":
        return Macs(linear=patches * SETR_CHANNELS * (dim + classes))
    maps = Macs(linear=(2 * patches + classes) * dim**2, attention=patches * classes * dim)
    return sum([block_macs(_MaskTransformerLayer(dim), patches + classes)] * MASK_TRANSFORMER_DEPTH, maps)


def _decision_macs(shape: SegmenterShape, patches: int, tokens: Sequence[int]) -> tuple[Macs, ...]:
    backbone, policy = shape.backbone, shape.policy
    dim = backbone.dim
    if policy.kind == "confidence":
        mean = 0 if policy.merging == "none" else patches * dim
        each = Macs(linear=patches * dim * shape.num_classes, attention=mean)
        return (each,) * len(shape.decisions)
    if policy.kind == "ratio":
        linear = sum(weights(*widths) for widths in _predictor_maps(dim))
        return (Macs(linear=patches * linear, attention=patches * (dim // 2)),) * len(shape.decisions)
    if policy.kind == "merge":
        return tuple(_merge_macs(backbone, before, after) for before, after in pairwise(tokens))
    return ()


def _merge_macs(backbone: BackboneShape, before: int, after: int) -> Macs:
    """Keys of all tokens, and the cosine of every second patch with each of the others, unless none is to merge."""
    patches = before - backbone.num_prefix
    pairs = (patches - patches // 2) * (patches // 2) if after < before else 0
    return Macs(linear=before * backbone.dim * backbone.inner_dim, attention=pairs * backbone.inner_dim)


class Parameters(NamedTuple):
    """Learned numbers of a segmentation model, by part."""

    backbone: int
    """Without a classification head."""
    decoder: int
    probes: int
    """All auxiliary heads: run by ``confidence`` alone, but trained with every policy."""
    predictors: int
    """Run by ``ratio`` alone."""

    @property
    def dense(self) -> int:
        """What every policy runs, and ``dense`` and ``merge`` alone."""
        return self.backbone + self.decoder


def segmentation_parameters(shape: SegmenterShape) -> Parameters:
    """Learned numbers of the model, by part; their sum is what its module holds."""
    dim, classes, decisions = shape.backbone.dim, shape.num_classes, len(shape.decisions)
    probe = norm_parameters(dim) + linear_parameters(dim, classes)
    predictor = norm_parameters(dim) + sum(linear_parameters(*widths) for widths in _predictor_maps(dim))
    return Parameters(
        backbone_parameters(shape.backbone),
        _decoder_parameters(shape),
        decisions * probe,
        decisions * predictor if shape.policy.kind == "ratio" else 0,
    )


def _decoder_parameters(shape: SegmenterShape) -> int:
    dim, classes = shape.backbone.dim, shape.num_classes
    if shape.decoder == "setr":
        norms = norm_parameters(dim) + norm_parameters(SETR_CHANNELS)
        return norms + linear_parameters(dim, SETR_CHANNELS, classes)
    projections = linear_parameters(dim, dim) + 2 * dim**2
    norms = norm_parameters(dim) + norm_parameters(classes)
    layers = MASK_TRANSFORMER_DEPTH * sum(block_parameters(_MaskTransformerLayer(dim)).values())
    return projections + norms + classes * dim + layers


def _predictor_maps(dim: int) -> tuple[tuple[int, int], ...]:
    """The linear maps of DynamicViT's predictor."""
    return (dim, dim), (dim, dim // 2), (dim // 2, dim // 4), (dim // 4, 2)


class _MaskTransformerLayer(NamedTuple):
    """A layer of Segmenter's decoder: a ViT's, as wide as the backbone."""

    dim: int
    attention: str = "mhsa"
    output_projection: str = "free"
    feedforward: str = "mlp"
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    layer_scale: float | None = None

    @property
    def inner_dim(self) -> int:
        return self.dim
