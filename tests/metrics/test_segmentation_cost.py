"""The cost of segmentation models: the closed form against a counter on every policy, and published numbers."""

import dataclasses

import pytest
import torch

from wbcore.errors import InputError
from wbcore.metrics.cost import Macs, count_macs
from wbcore.metrics.parameters import backbone_parameters
from wbcore.metrics.segmentation_cost import dense_ledger, segmentation_ledger, segmentation_parameters
from wbcore.models import BackboneConfig
from wbcore.models.dovit import DoViT, Policy, SegmenterConfig
from wbcore.models.zoo import model_config

GRID = 5, 7
VIT = {"attention": "mhsa", "feedforward": "mlp", "patch_embedding": "plain", "qkv_bias": True}


def small(decoder: str = "setr", policy: Policy | None = None, **options) -> SegmenterConfig:
    """Five layers with decisions after two and three; 13 classes."""
    sizes = {"patch_size": 2, "image_size": 6, "dim": 12, "heads": 3, "dim_head": 2, "depth": 5}
    backbone = BackboneConfig(**{**sizes, **options})
    return SegmenterConfig(backbone, 13, decoder=decoder, decisions=(2, 3), policy=policy or Policy())


def model(config: SegmenterConfig) -> DoViT:
    torch.manual_seed(0)
    return DoViT(config).eval()


def images(config: SegmenterConfig, grid: tuple[int, int] = GRID, *, batch: int = 1) -> torch.Tensor:
    rows, cols = (side * config.backbone.patch_size for side in grid)
    return torch.randn(batch, 3, rows, cols, generator=torch.Generator().manual_seed(1))


def check(config: SegmenterConfig, grid: tuple[int, int] = GRID, *, batch: int = 1) -> list[list[int]]:
    """Closed form and counter agree to the last multiply-accumulate over a batch; the tokens of each image."""
    network, batch_of_images = model(config), images(config, grid, batch=batch)
    with torch.inference_mode():
        tokens = [list(image) for image in zip(*network(batch_of_images).tokens, strict=True)]
    expected = sum(segmentation_ledger(config, grid, each).whole.total for each in tokens)
    assert count_macs(lambda: network(batch_of_images)) == expected
    return tokens


@pytest.mark.parametrize("decoder", ["setr", "segmenter"])
@pytest.mark.parametrize("options", [{}, VIT, {"num_registers": 3}], ids=["crate", "vit", "registers"])
def test_dense(decoder, options):
    config = small(decoder, **options)
    check(config)
    full = [config.backbone.num_prefix + 35] * 5
    assert segmentation_ledger(config, GRID, full) == dense_ledger(config, GRID)


@pytest.mark.parametrize("merging", ["none", "printed", "code"])
@pytest.mark.parametrize("options", [{}, VIT, {"num_registers": 3}], ids=["crate", "vit", "registers"])
def test_confidence_image_by_image(merging, options):
    """Near the median confidence some tokens of every image stop, and not of every image as many."""
    probe = small(policy=Policy("confidence", threshold=1.0), **options)
    with torch.inference_mode():
        logits = model(probe)(images(probe, batch=3)).auxiliary[0]
    # Between two confidences, so that no rounding can decide.
    threshold = logits.softmax(-1).amax(-1).flatten().sort().values[52:54].mean().item()
    tokens = check(small(policy=Policy("confidence", threshold=threshold, merging=merging), **options), batch=3)
    assert len({tuple(image) for image in tokens}) > 1
    assert all(image[0] == image[1] > image[2] >= image[3] == image[4] for image in tokens)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_everything_stops_or_nothing(threshold):
    config = small(policy=Policy("confidence", threshold=threshold))
    (tokens,) = check(config)
    assert tokens == [36, 36, *([36] * 3 if threshold else [1] * 3)]
    found, dense = segmentation_ledger(config, GRID, tokens), dense_ledger(config, GRID)
    probes = Macs(linear=35 * 12 * 13, attention=35 * 12)
    assert found.decisions == (probes, probes)
    assert (found.whole.total > dense.whole.total) == bool(threshold)


@pytest.mark.parametrize("keep_ratio", [0.0, 0.4, 1.0])
def test_ratio(keep_ratio):
    check(small(policy=Policy("ratio", keep_ratio=keep_ratio), **VIT), batch=2)


@pytest.mark.parametrize("merged", [0, 3, 100])
@pytest.mark.parametrize("options", [{}, VIT, {"num_registers": 2}], ids=["crate", "vit", "registers"])
def test_merge(merged, options):
    tokens = check(small(policy=Policy("merge", merged=merged), **options), batch=2)
    assert (tokens[0][-1] < tokens[0][0]) == bool(merged)


@pytest.mark.parametrize("grid", [(2, 1), (11, 3)])
@pytest.mark.parametrize("kind", ["dense", "confidence", "ratio", "merge"])
def test_every_size(kind, grid):
    check(small("segmenter", Policy(kind, threshold=0.1, merged=2)), grid)


@pytest.mark.parametrize("kind", ["dense", "confidence", "ratio", "merge"])
@pytest.mark.parametrize("decoder", ["setr", "segmenter"])
def test_parameters(kind, decoder):
    for options in ({}, VIT, {"num_classes": 0, "num_registers": 3}):
        config = small(decoder, Policy(kind), **options)
        found, network = segmentation_parameters(config), model(config)
        parts = (network.backbone, network.decoder, network.probes, network.predictors)
        assert found == tuple(sum(parameter.numel() for parameter in part.parameters()) for part in parts)
        assert found.dense == found.backbone + found.decoder


@pytest.mark.parametrize("tokens", [[], [36] * 4, [36] * 6])
def test_one_number_of_tokens_for_each_layer(tokens):
    with pytest.raises(InputError, match=f"{len(tokens)} numbers of tokens for 5 layers"):
        segmentation_ledger(small(), GRID, tokens)


WIDTHS = {"S": {"dim": 384, "heads": 6}, "B": {"dim": 768, "heads": 12}, "L": {"dim": 1024, "heads": 16, "depth": 24}}


def full_size(width: str, decoder: str, size: tuple[int, int], classes: int) -> SegmenterConfig:
    """As the paper builds it, with its position embedding at the size of the images."""
    backbone = model_config("vit_base_patch16_224", **WIDTHS[width], num_classes=0, image_size=size)
    decisions = (6, 12, 18) if width == "L" else (3, 6, 9)
    return SegmenterConfig(backbone, classes, decoder=decoder, decisions=decisions)


@pytest.mark.parametrize("width", ["S", "B", "L"])
@pytest.mark.parametrize("decoder", ["setr", "segmenter"])
@pytest.mark.parametrize("size", [((1024, 2048), 19), ((512, 512), 150)], ids=["street", "scenes"])
def test_the_papers_sizes(width, decoder, size):
    """Counted on the meta device, which does no arithmetic and so can be asked for any size (but not what to keep)."""
    config = full_size(width, decoder, *size)
    with torch.device("meta"):
        network, image = DoViT(config).eval(), torch.empty(1, 3, *size[0])

    def run() -> None:
        patches = network.backbone.layout(image).patches(network.backbone.tokens(image))
        network.decoder(network.backbone.norm(patches), config.backbone.grid)

    assert count_macs(run) == dense_ledger(config, config.backbone.grid).whole.total
    found = segmentation_parameters(config)
    assert sum(found) == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("width", "gmacs_without", "gmacs", "parameters"),
    # By hand for SETR-naive at 512×512: 12·12·1025·dim² (24 layers for L) and 1024·768·dim, plus 2·12·1025²·dim.
    [("S", 22.2, 31.9, 22.1), ("B", 87.9, 107.3, 86.7), ("L", 310.7, 362.3, 304.5)],
)
def test_setr_at_512_pixels(width, gmacs_without, gmacs, parameters):
    config = full_size(width, "setr", (512, 512), 150)
    found = dense_ledger(config, config.backbone.grid).whole
    assert round(found.linear / 1e9, 1) == gmacs_without
    assert round(found.total / 1e9, 1) == gmacs
    assert round(segmentation_parameters(config).dense / 1e6, 1) == parameters


def test_the_position_embedding_is_the_native_one():
    config = small()
    larger = dataclasses.replace(config.backbone, image_size=10)
    assert backbone_parameters(larger) - backbone_parameters(config.backbone) == (25 - 9) * 12
