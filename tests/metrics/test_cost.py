"""The closed form against a counter, against timm's models, against published numbers, and by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wbcore._compat import import_timm
from wbcore.metrics.cost import (
    Ledger,
    Macs,
    block_macs,
    classification_ledger,
    count_macs,
)
from wbcore.metrics.parameters import parameters_by_part
from wbcore.models import Backbone, BackboneConfig
from wbcore.models.zoo import MODELS, model_config

GRID = 5, 7


def images(config: BackboneConfig, grid: tuple[int, int] = GRID, *, batch: int = 1) -> torch.Tensor:
    rows, cols = (side * config.patch_size for side in grid)
    return torch.zeros(batch, config.in_channels, rows, cols)


def small(**options) -> BackboneConfig:
    """All sizes differ: 3 heads of 2 in 11 channels, 13 classes, two layers."""
    sizes = {"patch_size": 2, "image_size": 6, "dim": 11, "heads": 3, "dim_head": 2, "depth": 2, "num_classes": 13}
    return BackboneConfig(**{**sizes, **options})


def on_meta(config: BackboneConfig) -> Backbone:
    with torch.device("meta"):
        return Backbone(config).eval()


def check(config: BackboneConfig, grid: tuple[int, int] = GRID) -> Ledger:
    """Closed form and counter agree to the last multiply-accumulate, closed form and module to the last parameter."""
    model, found = on_meta(config), classification_ledger(config, grid)
    assert count_macs(lambda: model(images(config, grid).to("meta"))) == found.whole.total
    assert sum(parameters_by_part(config).values()) == sum(parameter.numel() for parameter in model.parameters())
    return found


@pytest.mark.parametrize("registers", [0, 1, 3])
@pytest.mark.parametrize("attention", ["mssa", "mhsa"])
@pytest.mark.parametrize("feedforward", ["ista", "ista_soft", "mlp", "swiglu"])
def test_counter_agrees(attention, feedforward, registers):
    check(small(attention=attention, feedforward=feedforward, num_registers=registers))


@pytest.mark.parametrize(
    "options",
    [
        {"output_projection": "tied"},
        {"attention": "mhsa", "qkv_bias": True},
        {"feedforward": "mlp", "mlp_ratio": 2.7},
        {"patch_embedding": "plain", "patch_bias": False},
        {"position_embedding": "patches_only"},
        {"pre_norm": True, "layer_scale": 0.1, "in_channels": 5},
        {"num_classes": 0},
        {"head_dim": 17},
        {"skip": "normalised", "depth": 3},
    ],
    ids=str,
)
def test_counter_agrees_on_every_option(options):
    check(small(**options))


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (13, 1)])
def test_counter_agrees_on_every_size(grid):
    check(small(), grid)


@pytest.mark.parametrize("name", [name for name in MODELS if name.endswith(("tiny_patch16_224", "lab_patch8_72"))])
def test_counter_agrees_on_named_models(name):
    config = model_config(name)
    check(config, config.grid)


def test_a_run_on_a_cpu_counts_the_same_for_each_image():
    config = small()
    torch.manual_seed(0)
    model, batch = Backbone(config).eval(), images(config, batch=3)
    assert count_macs(lambda: model(batch)) == 3 * classification_ledger(config, GRID).whole.total


def test_the_entries_are_what_their_names_say():
    """Without attention's own products nothing but ``linear`` is left: a module counter sees only that."""
    config = small(attention="mhsa", feedforward="mlp")
    model = on_meta(config)
    found = classification_ledger(config, GRID)
    inputs: dict[nn.Module, int] = {}

    def note(module: nn.Module, _arguments, output: torch.Tensor) -> None:
        inputs[module] = output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(note)
    model(images(config).to("meta"))
    assert sum(inputs.values()) == found.whole.linear


def test_attention_by_hand():
    query = torch.zeros(1, 3, 37, 2, device="meta")
    assert count_macs(lambda: F.scaled_dot_product_attention(query, query, query)) == 2 * 37 * 37 * 3 * 2
    assert block_macs(small(), 37).attention == 2 * 37 * 37 * 3 * 2


def test_linear_maps_by_hand():
    # MSSA 11→6→11, ISTA twice 11→11; MHSA 11→18 and 6→11, MLP 11→44→11.
    assert block_macs(small(), 5).linear == 5 * (66 + 66 + 2 * 121)
    assert block_macs(small(attention="mhsa", feedforward="mlp"), 5).linear == 5 * (198 + 66 + 2 * 484)
    assert block_macs(small(), 0) == Macs(0, 0)


def test_a_ledger_adds_up():
    found = Ledger(Macs(1, 2), (Macs(3, 5), Macs(7, 11)), Macs(13, 17), (Macs(19, 23),))
    assert found.whole == Macs(43, 58)
    assert found.whole.total == 101


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"])
def test_timms_models_cost_the_same(name):
    """The same architecture, written by others and counted: nothing is computed twice or left out here."""
    config = model_config(name)
    with torch.device("meta"):
        theirs = import_timm().create_model(name).eval()
    found = classification_ledger(config, config.grid).whole
    assert count_macs(lambda: theirs(images(config, config.grid).to("meta"))) == found.total
    assert sum(parameters_by_part(config).values()) == sum(parameter.numel() for parameter in theirs.parameters())


@pytest.mark.parametrize(
    ("name", "overrides", "gmacs", "parameters"),
    [
        # timm's model card of deit_small_patch16_224: 4.6 GMACs, 22.1 M parameters.
        ("vit_small_patch16_224", {}, "4.6", "22.1"),
        # torchvision's documentation of vit_b_16 and vit_l_16; its "GFLOPS" are GMACs, attention's products included.
        ("vit_base_patch16_224", {}, "17.56", "86.6"),
        ("vit_base_patch16_224", {"dim": 1024, "depth": 24, "heads": 16}, "61.55", "304.326632"),
    ],
)
def test_published_numbers(name, overrides, gmacs, parameters):
    """To as many digits as were published."""
    config = model_config(name, **overrides)
    found = classification_ledger(config, config.grid).whole.total / 1e9
    assert f"{found:.{len(gmacs.split('.')[1])}f}" == gmacs
    found = sum(parameters_by_part(config).values()) / 1e6
    assert f"{found:.{len(parameters.split('.')[1])}f}" == parameters
