"""Parameters by formula and by count are the same, part by part, for every named model and every option."""

from dataclasses import replace

import pytest
import torch

from wbcore.metrics.parameters import backbone_parameters, parameters_by_part
from wbcore.models import Backbone, BackboneConfig, list_models, model_config
from wbcore.models.counting import PARTS, parameters_by_count

ODD = BackboneConfig(image_size=(35, 21), patch_size=7, in_channels=2, num_classes=13, dim=33, depth=5, heads=3)


@pytest.mark.parametrize("name", list_models())
def test_every_named_model(name):
    config = model_config(name, num_classes=21841)
    assert parameters_by_part(config) == parameters_by_count(config)


@pytest.mark.parametrize(
    "option",
    [
        {"attention": "mhsa"},
        {"attention": "mhsa", "qkv_bias": True},
        {"output_projection": "tied"},
        {"dim_head": 17},
        {"feedforward": "mlp", "mlp_ratio": 2.3},
        {"feedforward": "swiglu", "mlp_ratio": 2.3},
        {"feedforward": "ista_soft"},
        {"num_registers": 3},
        {"patch_embedding": "plain"},
        {"patch_embedding": "plain", "patch_bias": False},
        {"pre_norm": True},
        {"layer_scale": 1e-5},
        {"position_embedding": "patches_only"},
        {"head_dim": 19},
        {"num_classes": 0},
    ],
    ids=str,
)
def test_every_option(option):
    config = replace(ODD, **option)
    formula = parameters_by_part(config)
    assert tuple(formula) == PARTS
    assert formula == parameters_by_count(config)
    with torch.device("meta"):
        assert sum(formula.values()) == sum(parameter.numel() for parameter in Backbone(config).parameters())


def test_without_a_head():
    assert backbone_parameters(ODD) == backbone_parameters(replace(ODD, num_classes=0))


def test_by_hand():
    """One layer of CRATE on two patches: dim 2, one head, patches of 1 × 1 pixel and one channel."""
    config = BackboneConfig(image_size=(1, 2), patch_size=1, in_channels=1, num_classes=3, dim=2, depth=1, heads=1)
    expected = {
        "embedding": 2 + (2 + (2 + 2) + 4),  # class token; LayerNorm of one number, linear map, LayerNorm of two
        "position": 3 * 2,
        "attention": 4 + (4 + 2),  # U; back
        "feedforward": 4,  # D
        "norms": 4 + 4 + 4,
        "head": 6 + 3,
    }
    assert parameters_by_part(config) == expected
    assert parameters_by_count(config) == expected
