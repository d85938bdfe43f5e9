"""The named models: the papers' parameter counts, names, overrides, and timm."""

from dataclasses import replace

import pytest
import torch

from wbcore._compat import import_timm
from wbcore.errors import InputError
from wbcore.models import Backbone, create_model, list_models, model_config

timm = import_timm()


def parameters(name, *, build=create_model, **overrides):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(name, **overrides).parameters())


@pytest.mark.parametrize(
    ("name", "classes", "exact", "millions"),
    [
        # CRATE, Table 3, with ImageNet-21k's head.
        ("crate_tiny_patch8_224", 21841, 5_743_057, 5.74),
        ("crate_small_patch8_224", 21841, 14_118_097, 14.12),
        ("crate_base_patch8_224", 21841, 38_830_801, 38.83),
        # The README of the official repository.
        ("crate_tiny_patch16_224", 1000, 6_090_856, 6.09),
        ("crate_small_patch16_224", 1000, 13_116_328, 13.12),
        ("crate_base_patch16_224", 1000, 22_796_008, 22.80),
        ("crate_large_patch16_224", 1000, 77_641_192, 77.64),
    ],
)
def test_parameter_counts_are_the_printed_ones(name, classes, exact, millions):
    found = parameters(name, num_classes=classes)
    assert found == exact
    assert round(found / 1e6, 2) == millions


@pytest.mark.parametrize("name", list_models("vit_*_patch16_224"))
def test_vit_is_as_large_as_timms(name):
    assert parameters(name, depth=1) == parameters(name, depth=1, build=timm.create_model)


def counted(dim, depth, patch, side, classes):
    """CRATE's parameters, counted layer by layer from the architecture."""
    patch_dim = 3 * patch**2
    embedding = 2 * patch_dim + patch_dim * dim + dim + 2 * dim
    layer = 2 * dim + dim * dim + (dim * dim + dim) + 2 * dim + dim * dim
    return embedding + dim + ((side // patch) ** 2 + 1) * dim + depth * layer + 2 * dim + (dim + 1) * classes


@pytest.mark.parametrize("name", sorted({*list_models("crate_[tsbl]*")} - {*list_models("crate_tied*")}))
def test_crate_parameters_counted_by_hand(name):
    config = model_config(name, num_classes=37)
    expected = counted(config.dim, config.depth, config.patch_size, config.size[0], 37)
    assert parameters(name, num_classes=37) == expected


def test_variants_differ_in_attention_and_feedforward_alone():
    crate = model_config("crate_small_patch8_224")
    assert model_config("crate_mlp_small_patch8_224") == replace(crate, feedforward="mlp")
    assert model_config("crate_mhsa_small_patch8_224") == replace(crate, attention="mhsa")
    assert model_config("crate_sth_small_patch8_224") == replace(crate, feedforward="ista_soft")
    lab = model_config("crate_lab_patch8_72")
    assert model_config("vit_lab_patch8_72") == replace(lab, attention="mhsa", feedforward="mlp")


def test_a_tied_output_projection_needs_no_parameters_of_its_own():
    config = model_config("crate_tied_lab_patch8_72", num_classes=37)
    of_layers = config.depth * (config.dim * config.dim + config.dim)
    expected = counted(config.dim, config.depth, config.patch_size, config.size[0], 37) - of_layers
    assert parameters("crate_tied_lab_patch8_72", num_classes=37) == expected


def test_list_models():
    assert list_models("crate_*_patch16_224") == sorted(list_models("crate_*_patch16_224"))
    assert {"crate_large_patch16_224", "crate_sth_base_patch8_224"} <= set(list_models("crate*"))
    assert set(list_models("vit_*_224")) == {
        f"vit_{size}_patch{patch}_224" for size in ("tiny", "small", "base", "large") for patch in (8, 16)
    }
    assert list_models("no_such*") == []


@pytest.mark.parametrize("name", list_models("*lab_*"))
def test_create_model_runs(name):
    model = create_model(name, num_classes=7)
    assert not model.training
    assert model(torch.randn(1, 3, *model.config.size)).shape == (1, 7)


def test_overrides():
    config = create_model("crate_lab_patch8_72", depth=2, skip="normalised", num_registers=4).config
    assert (config.depth, config.skip, config.num_registers, config.dim) == (2, "normalised", 4, 192)


def test_unknown_names_get_the_nearest_known_ones():
    with pytest.raises(InputError, match="unknown model 'crate_smal_patch8_224': did you mean crate_small_patch8_224"):
        create_model("crate_smal_patch8_224")
    with pytest.raises(InputError, match="unknown model 'x': did you mean crate_"):
        create_model("x")
    with pytest.raises(InputError, match="unknown configuration field 'widht'"):
        create_model("crate_lab_patch8_72", widht=3)


def test_timm_makes_our_models():
    model = timm.create_model("crate_small_patch16_224", num_classes=7, depth=1)
    assert isinstance(model, Backbone)
    assert (model.config.dim, model.config.num_classes, model.config.depth) == (576, 7, 1)
    assert set(timm.list_models("crate*")) >= set(list_models("crate*"))


def test_timm_keeps_its_own_vits():
    model = timm.create_model("vit_tiny_patch16_224", depth=1)
    assert isinstance(model, timm.models.vision_transformer.VisionTransformer)
    assert "vit_lab_patch8_72" not in timm.list_models("vit*")


def test_there_are_no_released_weights():
    with pytest.raises(InputError, match="crate_tiny_patch16_224: no released weights are known"):
        timm.create_model("crate_tiny_patch16_224", pretrained=True)
