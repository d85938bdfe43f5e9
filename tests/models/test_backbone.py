"""The one backbone: its blocks by hand, its taps another way, its options and its errors."""

import dataclasses
import itertools
import json

import jaxtyping
import pytest
import torch
from torch import nn

from wbcore.errors import InputError
from wbcore.models.backbone import TAPS, Backbone, BackboneConfig

SMALL = {"image_size": (15, 35), "patch_size": 5, "num_classes": 7, "dim": 22, "depth": 3, "heads": 2, "dim_head": 11}
VARIANTS = {
    f"{attention}-{feedforward}-{skip}": {"attention": attention, "feedforward": feedforward, "skip": skip}
    for attention, feedforward, skip in itertools.product(
        ("mssa", "mhsa"), ("ista", "ista_soft", "mlp"), ("raw", "normalised")
    )
}


def make(**options):
    """A small model with every parameter random, norms and scales included."""
    model = Backbone(BackboneConfig(**{**SMALL, **options})).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale + (parameter.dim() == 1))
    return model


def images(batch=2, size=(15, 35)):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=VARIANTS.values(), ids=list(VARIANTS))
def model(request):
    return make(**request.param)


def all_tokens(model, batch):
    """The tokens before the first layer and after each, block by block."""
    return list(itertools.accumulate(model.blocks, lambda tokens, block: block(tokens), initial=model.embed(batch)))


def test_block_by_hand(model):
    """What the attention's result is added to is the option ``skip``; ISTA has no residual path, an MLP has."""
    block, tokens = model.blocks[1], model.embed(images())
    normed = block.norm(tokens)
    middle = block.attention(normed) + (tokens if model.config.skip == "raw" else normed)
    expected = block.feedforward(middle) + (middle if model.config.feedforward == "mlp" else 0)
    torch.testing.assert_close(block(tokens), expected)


def test_forward_is_the_normalised_class_token_through_the_head(model):
    batch = images()
    last = all_tokens(model, batch)[-1]
    assert torch.equal(model.tokens(batch), last)
    # A norm of one row and of all rows may round differently.
    torch.testing.assert_close(model(batch), model.head(model.norm(last)[:, 0]), atol=1e-6, rtol=1e-6)


def test_image_alone_is_the_image_in_a_batch(model):
    batch = images(3)
    for one, logits in zip(batch, model(batch), strict=True):
        torch.testing.assert_close(model(one[None])[0], logits, atol=1e-5, rtol=1e-5)


def test_taps_are_what_the_layers_compute(model):
    batch, depth = images(), model.config.depth
    names = [name for name in TAPS if name != "projections" or model.config.attention == "mssa"]
    taps = model.taps(batch, {name: range(depth) for name in names})
    tokens = all_tokens(model, batch)
    for layer, block in enumerate(model.blocks):
        normed = block.norm(tokens[layer])
        assert torch.equal(taps["tokens"][layer], tokens[layer + 1])
        middle = block.attention(normed) + (tokens[layer] if model.config.skip == "raw" else normed)
        torch.testing.assert_close(taps["tokens_after_attention"][layer], middle)
        assert torch.equal(taps["cls_attention"][layer], block.attention.cls_attention(normed))
        rows = block.attention.prefix_attention(normed, model.config.num_prefix)
        assert torch.equal(taps["prefix_attention"][layer], rows)
        if model.config.attention == "mssa":
            parts = dict.fromkeys(("queries", "keys", "values", "projections"), block.attention.subspaces(normed))
        else:
            parts = dict(zip(("queries", "keys", "values"), block.attention.qkv(normed).chunk(3, -1), strict=True))
        for name, expected in parts.items():
            torch.testing.assert_close(taps[name][layer], expected, atol=1e-5, rtol=1e-5)


def test_the_feature_for_segmentation_is_each_architectures_own(model):
    feature = model.tap(images(), "segmentation_feature", 1)
    own = "projections" if model.config.attention == "mssa" else "keys"
    assert torch.equal(feature, model.tap(images(), own, 1))
    assert feature.shape == (2, 22, 22)


def test_taps_are_keyed_as_asked():
    model, batch = make(), images()
    taps = model.taps(batch, {"tokens": [-1, 0, 2], "cls_attention": [-3]})
    assert {name: list(layers) for name, layers in taps.items()} == {"tokens": [0, -1, 2], "cls_attention": [-3]}
    assert torch.equal(taps["tokens"][-1], taps["tokens"][2])
    assert torch.equal(taps["cls_attention"][-3], model.tap(batch, "cls_attention", 0))
    assert torch.equal(model.tap(batch, "tokens"), model.tokens(batch))
    assert model.taps(batch, {}) == {}


@pytest.mark.parametrize(("name", "needed"), [("tokens", 2), ("cls_attention", 1), ("segmentation_feature", 1)])
def test_nothing_after_the_last_wanted_layer_is_run(name, needed, monkeypatch):
    """Tokens *after* layer 1 need it to run; what layer 1 computes from its input needs only layer 0."""
    model = make()
    expected = model.tap(images(), name, 1)
    for block in list(model.blocks)[needed:]:
        monkeypatch.setattr(block, "forward", lambda _: pytest.fail("a layer was run that nobody needs"))
    assert torch.equal(model.tap(images(), name, 1), expected)


@pytest.mark.parametrize("layer", [3, -4, 11])
def test_unknown_layer(layer):
    with pytest.raises(InputError, match=f"layer {layer} does not exist: choose one of 0 to 2"):
        make().tap(images(), "tokens", layer)


def test_unknown_tap():
    with pytest.raises(InputError, match="no tap 'attn' in MSSA: choose one of tokens, tokens_after_attention, cls_a"):
        make().tap(images(), "attn")
    with pytest.raises(InputError, match="no tap 'projections' in MHSA: choose one of tokens, tokens_after_attention"):
        make(attention="mhsa").tap(images(), "projections")


@pytest.mark.parametrize("number", range(17))
def test_registers_stand_between_class_token_and_patches(number):
    model = make(num_registers=number)
    batch = images()
    layout, tokens = model.layout(batch), model.embed(batch)
    assert (layout.num_prefix, layout.num_tokens) == (1 + number, tokens.shape[1])
    assert torch.equal(layout.prefix(tokens)[:, 1:], model.registers.expand(2, -1, -1))
    assert torch.equal(
        layout.patches(tokens), layout.patches(make().embed(batch), dim=1) if not number else tokens[:, 1 + number :]
    )
    assert model(batch).shape == (2, 7)


def test_registers_take_part_in_attention():
    model = make(num_registers=2)
    before = model(images())
    with torch.no_grad():
        model.registers.zero_()
    assert not torch.allclose(model(images()), before, atol=1e-3)


@pytest.mark.parametrize("position", ["with_class", "patches_only"])
def test_position_embedding_is_added_where_it_belongs(position):
    model = make(position_embedding=position)
    batch = images()
    tokens = model.embed(batch)
    offset = position == "with_class"
    class_token = model.class_token + (model.position[:, :1] if offset else 0)
    torch.testing.assert_close(tokens[:, :1], class_token.expand(2, -1, -1))
    torch.testing.assert_close(tokens[:, 1:], model.patch_embedding(batch) + model.position[:, int(offset) :])


def test_another_size_leaves_the_parameter_alone_and_comes_back():
    """The official extraction code overwrites its table; here a second size does not remember the first."""
    model, batch = make(), images()
    stored, before = model.position.detach().clone(), model(batch)
    wide = model(images(size=(25, 55)))
    model(images(size=(5, 10)))
    assert torch.equal(model.position, stored)
    assert torch.equal(model(images(size=(25, 55))), wide)
    assert torch.equal(model(batch), before)


@pytest.mark.parametrize("size", [(14, 35), (15, 36), (16, 34)])
def test_image_that_is_not_divisible_by_the_patch(size):
    with pytest.raises(InputError, match=f"image size {size[0]}×{size[1]} is not divisible by the patch size 5"):
        make()(images(size=size))


def test_pre_norm_layer_scale_and_patch_bias():
    model = make(
        attention="mhsa", feedforward="mlp", pre_norm=True, layer_scale=0.1, patch_embedding="plain", patch_bias=False
    )
    block, batch = model.blocks[0], images()
    tokens = model.embed(batch)
    assert model.patch_embedding.bias is None
    prefix = (model.class_token + model.position[:, :1]).expand(2, -1, -1)
    patches = model.patch_embedding(batch) + model.position[:, 1:]
    torch.testing.assert_close(tokens, model.pre_norm(torch.cat([prefix, patches], 1)))
    middle = tokens + block.attention(block.norm(tokens)) * block.scale_attention.gamma
    torch.testing.assert_close(block(tokens), middle + block.feedforward(middle) * block.scale_feedforward.gamma)


def test_two_layer_head_and_no_head():
    model, batch = make(head_dim=13), images()
    final = model.norm(model.tokens(batch)[:, 0])
    assert isinstance(model.head, nn.Sequential)
    torch.testing.assert_close(model(batch), model.head[1](model.head[0](final)))
    assert torch.equal(make(num_classes=0)(batch), make(num_classes=0).classify(make(num_classes=0).tokens(batch)))
    assert make(num_classes=0)(batch).shape == (2, 22)


def test_crate_tokens_are_never_negative():
    assert (make().tokens(images()) >= 0).all()
    assert (make(feedforward="ista_soft").tokens(images()) < 0).any()


def test_normalise_by_hand():
    model = make(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
    pixels = torch.tensor([255, 51, 102], dtype=torch.uint8).view(1, 3, 1, 1)
    assert model.normalise(pixels).flatten().tolist() == pytest.approx([1.0, -0.05, 0.2])


def test_drop_path_acts_in_training_alone():
    model, batch = make(drop_path=0.9), images()
    assert torch.equal(model(batch), make()(batch))
    torch.manual_seed(0)
    assert not torch.equal(model.train()(batch), model.eval()(batch))


def test_autocast_on_a_cpu(model):
    with torch.autocast("cpu", torch.bfloat16):
        half = model(images())
    assert half.dtype == torch.bfloat16
    exact = model(images())
    assert (half.float() - exact).norm() / exact.norm() < 0.1


def test_every_parameter_gets_a_gradient(model):
    model(images()).square().sum().backward()
    dead = [name for name, p in model.named_parameters() if p.numel() and (p.grad is None or not p.grad.any())]
    assert dead == []


def test_building_without_memory():
    with torch.device("meta"):
        model = Backbone(BackboneConfig(**SMALL, layer_scale=0.1))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_config_is_frozen_and_goes_through_json():
    config = BackboneConfig(**SMALL, mean=(0.5, 0.5, 0.5), layer_scale=1e-5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dim = 3  # pyright: ignore[reportAttributeAccessIssue]
    again = BackboneConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config
    assert hash(again) == hash(config)


def test_config_sizes():
    config = BackboneConfig(**SMALL, num_registers=3)
    assert (config.grid, config.size, config.inner_dim, config.num_prefix) == ((3, 7), (15, 35), 22, 4)
    assert BackboneConfig(dim=30, heads=5, image_size=32).inner_dim == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "linear"}, "attention='linear': choose one of mssa, mhsa"),
        ({"feedforward": "glu"}, "feedforward='glu': choose one of ista, ista_soft, mlp"),
        ({"skip": "none"}, "skip='none': choose one of raw, normalised"),
        ({"output_projection": "no"}, "output_projection='no': choose one of free, tied"),
        ({"patch_embedding": "hybrid"}, "patch_embedding='hybrid'"),
        ({"position_embedding": "sine"}, "position_embedding='sine'"),
        ({"activation": "relu"}, "activation='relu': choose one of gelu, quick_gelu"),
        ({"dim_head": None, "heads": 3}, "dim=22 is not divisible by heads=3"),
        ({"num_registers": 17}, "num_registers=17: give a number from 0 to 16"),
        ({"num_registers": -1}, "num_registers=-1"),
        ({"output_projection": "tied", "attention": "mhsa"}, "needs attention='mssa'"),
        ({"image_size": 224, "patch_size": 15}, "224×224 is not divisible by the patch size 15"),
        ({"heads": 0}, "heads=0: give a whole number from 1"),
        ({"depth": 0}, "depth=0"),
        ({"patch_size": 0}, "patch_size=0"),
    ],
)
def test_bad_configurations(options, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # else it objects first, as it does in tests only
    with pytest.raises(InputError, match=message):
        BackboneConfig(**{**SMALL, **options})


def test_unknown_field():
    with pytest.raises(InputError, match="unknown configuration field 'width': known are activation, attention"):
        BackboneConfig.from_dict({"width": 3})
