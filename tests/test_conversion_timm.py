"""timm's vision transformers and ours are the same function, at the native size and at others."""

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from wbcore._compat import import_timm
from wbcore.checkpoints import from_timm_vit, from_timm_vit_file, from_timm_vit_pretrained
from wbcore.errors import InputError

timm = import_timm()
SMALL = {"embed_dim": 30, "num_heads": 5, "depth": 3}
FAMILIES = {
    "plain": ("vit_tiny_patch16_224", {"num_classes": 11}),
    "dino": ("vit_small_patch16_224.dino", {}),
    "dinov2": ("vit_small_patch14_dinov2", {}),
    "dinov2 with registers": ("vit_small_patch14_reg4_dinov2", {}),
    "dinov2 giant": ("vit_giant_patch14_reg4_dinov2", {"mlp_ratio": 3.6}),
    "deit3": ("deit3_small_patch16_224", {"num_classes": 7}),
    "clip": ("vit_base_patch16_clip_224", {"num_classes": 13}),
    "quick clip": ("vit_base_patch16_clip_quickgelu_224", {"num_classes": 13}),
    "no bias": ("vit_tiny_patch16_224", {"qkv_bias": False, "mlp_ratio": 2.9}),
    "registers with positions": ("vit_tiny_patch16_224", {"reg_tokens": 3}),
}


def released(name, *, rows=3, cols=5, **options):
    """A small timm model of a named family, every parameter random: a forgotten one shows."""
    patch = int(name.partition("patch")[2][:2])
    model = timm.create_model(name, pretrained=False, img_size=(rows * patch, cols * patch), **{**SMALL, **options})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
            if parameter.dim() == 1:
                parameter += 1
    return model.eval()


def images(model, *, rows=3, cols=5):
    patch = model.patch_embed.patch_size[0]
    return torch.randn(2, 3, rows * patch, cols * patch, generator=torch.Generator().manual_seed(1))


def assert_same_function(theirs, ours, batch):
    depth = len(theirs.blocks)
    with torch.no_grad():
        torch.testing.assert_close(ours(batch), theirs(batch), atol=1e-5, rtol=1e-5)
        tokens = ours.taps(batch, {"tokens": range(depth)})["tokens"]
        layers = theirs.get_intermediate_layers(batch, depth, return_prefix_tokens=True)
    layout = ours.layout(batch)
    for layer, (patches, prefix) in enumerate(layers):
        torch.testing.assert_close(layout.patches(tokens[layer]), patches, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layout.prefix(tokens[layer]), prefix, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "options"), FAMILIES.values(), ids=FAMILIES)
def test_same_function(name, options):
    theirs = released(name, **options)
    ours = from_timm_vit(theirs)
    assert not ours.training
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) - (
        0 if theirs.no_embed_class else theirs.num_reg_tokens * theirs.embed_dim
    )
    assert_same_function(theirs, ours, images(theirs))


@pytest.mark.parametrize("grid", [(3, 5), (5, 3), (7, 2), (2, 11)])
@pytest.mark.parametrize("family", ["plain", "dinov2 with registers", "registers with positions"])
def test_same_function_at_other_sizes(family, grid):
    name, options = FAMILIES[family]
    theirs = released(name, dynamic_img_size=True, **options)
    rows, cols = grid
    assert_same_function(theirs, from_timm_vit(theirs), images(theirs, rows=rows, cols=cols))


@pytest.mark.parametrize("family", ["dino", "dinov2 with registers"])
def test_keys_are_theirs(family):
    """What MaskCut reads of a ViT: keys of a layer, heads concatenated, as a hook on timm's fused map sees them."""
    name, options = FAMILIES[family]
    theirs = released(name, **options)
    seen = []
    theirs.blocks[-1].attn.qkv.register_forward_hook(lambda _module, _input, output: seen.append(output))
    batch = images(theirs)
    with torch.no_grad():
        theirs(batch)
        taps = from_timm_vit(theirs).taps(batch, {name: [-1] for name in ("queries", "keys", "values")})
        feature = from_timm_vit(theirs).tap(batch, "segmentation_feature")
    for name, expected in zip(("queries", "keys", "values"), seen[0].chunk(3, dim=-1), strict=True):
        torch.testing.assert_close(taps[name][-1], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(feature, taps["keys"][-1])


@pytest.mark.parametrize(
    ("name", "mean"),
    [("vit_tiny_patch16_224", 0.5), ("vit_small_patch16_224.dino", 0.485), ("vit_base_patch16_clip_224", 0.48145466)],
)
def test_colours_are_those_the_weights_were_trained_with(name, mean):
    theirs = released(name)
    config = from_timm_vit(theirs).config
    assert config.mean[0] == mean
    assert (config.mean, config.std) == (theirs.pretrained_cfg["mean"], theirs.pretrained_cfg["std"])


def test_a_model_that_timm_made_without_a_name():
    theirs = timm.models.vision_transformer.VisionTransformer(img_size=26, patch_size=13, num_classes=3, **SMALL)
    ours = from_timm_vit(theirs.eval())
    assert ours.config.mean == (0.485, 0.456, 0.406)
    assert_same_function(theirs, ours, torch.randn(2, 3, 26, 26))


def test_half_precision_is_widened():
    theirs = released("vit_tiny_patch16_224").half()
    ours = from_timm_vit(theirs)
    assert torch.equal(ours.get_parameter("head.weight"), theirs.head.weight.float())


def test_the_two_models_share_no_memory():
    theirs = released("vit_tiny_patch16_224")
    ours = from_timm_vit(theirs)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


layers = timm.layers
UNSUPPORTED = [
    ({"mlp_layer": layers.SwiGLU}, "SwiGLU"),
    ({"mlp_layer": layers.GluMlp}, "GluMlp"),
    ({"qk_norm": True}, "normalised queries and keys"),
    ({"scale_attn_norm": True}, "norms inside attention"),
    ({"scale_mlp_norm": True}, "norms inside attention or feed-forward"),
    ({"global_pool": "avg"}, "pooling 'avg'"),
    ({"global_pool": "avg", "class_token": False}, "no class token"),
    ({"global_pool": ""}, "pooling ''"),
    ({"global_pool": "map"}, "attention pooling"),
    ({"fc_norm": True}, "fc_norm"),
    ({"final_norm": False}, "norms other than LayerNorm"),
    ({"norm_layer": layers.RmsNorm}, "norms other than LayerNorm"),
    ({"pos_embed": "none"}, "no learned position embedding"),
    ({"act_layer": nn.ReLU}, "the activation ReLU"),
    ({"act_layer": "gelu_tanh"}, "the activation GELUTanh"),
    ({"proj_bias": False}, "linear maps without bias"),
    ({"attn_layer": "diff"}, "attention of type DiffAttention"),
    ({"block_fn": timm.models.vision_transformer.ResPostBlock}, "layers of type ResPostBlock"),
    ({"embed_norm_layer": nn.LayerNorm}, "a patch embedding that is more than a linear map"),
    ({"patch_size": (13, 17)}, "patches that are not square"),
]


@pytest.mark.parametrize(("options", "feature"), UNSUPPORTED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_not_supported_is_named(options, feature):
    options = {"img_size": (26, 34), "patch_size": 2, "num_classes": 3, **SMALL, **options}
    theirs = timm.models.vision_transformer.VisionTransformer(**options)
    with pytest.raises(InputError, match=feature):
        from_timm_vit(theirs)


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("deit_tiny_distilled_patch16_224", "VisionTransformerDistilled with a distillation token"),
        ("eva02_tiny_patch14_224", "Eva is not supported"),
    ],
)
def test_other_networks_are_named(name, feature):
    with pytest.raises(InputError, match=feature):
        from_timm_vit(timm.create_model(name, pretrained=False, depth=1, num_classes=3))


def test_no_released_weights_of_that_name():
    with pytest.raises(InputError, match="no released weights 'vit_tiny_patch14_dinov2'"):
        from_timm_vit_pretrained("vit_tiny_patch14_dinov2")


def test_no_network_is_one_line(monkeypatch):
    def fetch(name, *, pretrained):
        assert pretrained
        raise LocalEntryNotFoundError(f"{name}: check your\nconnection")

    monkeypatch.setattr(timm, "create_model", fetch)
    name = "vit_base_patch14_reg4_dinov2.lvd142m"
    with pytest.raises(InputError, match=rf"{name} could not be fetched \({name}: check your connection\)"):
        from_timm_vit_pretrained(name)


def test_norms_of_different_eps():
    theirs = released("vit_tiny_patch16_224")
    theirs.blocks[1].norm2.eps = 1e-3
    with pytest.raises(InputError, match="LayerNorms of different eps"):
        from_timm_vit(theirs)


def test_a_subclass_with_a_forward_pass_of_its_own():
    class Reversed(timm.models.vision_transformer.VisionTransformer):
        def forward_features(self, x):
            return super().forward_features(x).flip(1)

    with pytest.raises(InputError, match="Reversed with a forward pass of its own"):
        from_timm_vit(Reversed(img_size=26, patch_size=13, **SMALL))


def test_a_file_of_a_timm_state_dict(tmp_path):
    original = timm.create_model("vit_tiny_patch16_224").eval()
    path = tmp_path / "weights.pth"
    torch.save(original.state_dict(), path)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(from_timm_vit_file("vit_tiny_patch16_224", path)(images), original(images))
    with pytest.raises(InputError, match="does not hold the weights of timm's vit_tiny_patch16_384"):
        from_timm_vit_file("vit_tiny_patch16_384", path)
    with pytest.raises(InputError, match="timm has no model 'vit_tiny'"):
        from_timm_vit_file("vit_tiny", path)
