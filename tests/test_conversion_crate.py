"""Checkpoints of the official CRATE repository, against a second, plain implementation of its architecture."""

import math
import re

import pytest
import torch

from wbcore.checkpoints import from_official_crate, from_official_crate_file
from wbcore.errors import InputError

STEP, SPARSITY = 0.1, 0.1
# dim, depth, heads, dim_head, patch, side of the grid, classes, width of the first layer of a two-layer head
SHAPES = [
    (30, 3, 5, 6, 4, 7, 11, None),
    (13, 2, 3, 5, 3, 5, 7, None),
    (22, 2, 11, 2, 5, 3, 17, None),
    (26, 1, 2, 13, 2, 11, 5, None),
    (30, 2, 6, 5, 4, 5, 37, 23),
]


def random_checkpoint(dim, depth, heads, dim_head, patch, side, classes, first, *, seed=0):
    """A state dict in the official names, every tensor random: a forgotten one shows."""
    inner, patch_dim = heads * dim_head, 3 * patch**2
    shapes = {
        "pos_embedding": (1, side**2 + 1, dim),
        "cls_token": (1, 1, dim),
        "to_patch_embedding.1": patch_dim,
        "to_patch_embedding.2": (dim, patch_dim),
        "to_patch_embedding.3": dim,
        "mlp_head.0": dim,
        "mlp_head.1": (first or classes, dim),
    }
    if first:
        shapes["head"] = (classes, first)
    for layer in range(depth):
        name = f"transformer.layers.{layer}"
        shapes |= {f"{name}.0.norm": dim, f"{name}.1.norm": dim, f"{name}.1.fn.weight": (dim, dim)}
        shapes |= {f"{name}.0.fn.qkv.weight": (inner, dim), f"{name}.0.fn.to_out.0": (dim, inner)}
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith(("weight", "embedding", "token")):
            state[name] = torch.randn(shape, generator=generator) * (1 if "_" in name else 1 / math.sqrt(dim))
        elif isinstance(shape, int):  # a LayerNorm
            state[f"{name}.weight"] = 1 + torch.randn(shape, generator=generator) / 3
            state[f"{name}.bias"] = torch.randn(shape, generator=generator) / 3
        else:
            state[f"{name}.weight"] = torch.randn(shape, generator=generator) / math.sqrt(shape[1])
            state[f"{name}.bias"] = torch.randn(shape[0], generator=generator) / 3
    return state


def layer_norm(x, state, name):
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x, state, name):
    return torch.einsum("...i,oi->...o", x, state[f"{name}.weight"]) + state[f"{name}.bias"]


def official_forward(state, image, *, heads, patch):
    """Logits, and each layer's CLS attention row and projections, for one image ``[3, side, side]``, by loops."""
    _, height, width = image.shape
    patches = [
        torch.stack([image[c, row + r, col + q] for r in range(patch) for q in range(patch) for c in range(3)])
        for row in range(0, height, patch)
        for col in range(0, width, patch)
    ]
    x = layer_norm(torch.stack(patches), state, "to_patch_embedding.1")
    x = layer_norm(linear(x, state, "to_patch_embedding.2"), state, "to_patch_embedding.3")
    x = torch.cat([state["cls_token"][0], x]) + state["pos_embedding"][0]
    rows, projections = [], []
    for layer in range(sum(name.endswith("fn.qkv.weight") for name in state)):
        name = f"transformer.layers.{layer}"
        u = torch.einsum("ni,oi->no", layer_norm(x, state, f"{name}.0.norm"), state[f"{name}.0.fn.qkv.weight"])
        projections.append(u)
        mixed, row = [], []
        for w in u.chunk(heads, dim=-1):
            scores = torch.einsum("qd,kd->qk", w, w) / math.sqrt(w.shape[-1])
            attn = scores.exp() / scores.exp().sum(-1, keepdim=True)
            row.append(attn[0])
            mixed.append(attn @ w)
        rows.append(torch.stack(row))
        out = torch.cat(mixed, -1)
        x = x + (linear(out, state, f"{name}.0.fn.to_out.0") if f"{name}.0.fn.to_out.0.weight" in state else out)
        y = layer_norm(x, state, f"{name}.1.norm")
        d = state[f"{name}.1.fn.weight"]
        gradient = torch.einsum("oi,no->ni", d, y) - torch.einsum("oi,no->ni", d, torch.einsum("oi,ni->no", d, y))
        x = torch.clamp(y + STEP * gradient - STEP * SPARSITY, min=0)
    logits = linear(layer_norm(x[0], state, "mlp_head.0"), state, "mlp_head.1")
    if "head.weight" in state:
        logits = linear(logits, state, "head")
    return logits, rows, projections


def picture(patch, side, *, seed=1):
    return torch.randn(3, patch * side, patch * side, generator=torch.Generator().manual_seed(seed))


def assert_same_function(model, state, *, heads, patch, side):
    image = picture(patch, side)
    with torch.no_grad():
        logits, rows, projections = official_forward(state, image, heads=heads, patch=patch)
        depth = range(len(rows))
        taps = model.taps(image[None], {"cls_attention": depth, "projections": depth})
        torch.testing.assert_close(model(image[None])[0], logits, atol=1e-5, rtol=1e-5)
    for layer in depth:
        torch.testing.assert_close(taps["cls_attention"][layer][0], rows[layer], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(taps["projections"][layer][0], projections[layer], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def test_equals_the_plain_implementation(shape):
    dim, depth, heads, dim_head, patch, side, classes, first = shape
    state = random_checkpoint(*shape)
    model = from_official_crate(state, heads=heads)
    assert_same_function(model, state, heads=heads, patch=patch, side=side)
    config = model.config
    assert (config.dim, config.depth, config.heads, config.dim_head) == (dim, depth, heads, dim_head)
    assert (config.patch_size, config.size, config.num_classes) == (patch, (patch * side,) * 2, classes)
    assert config.head_dim == first
    assert not model.training


def test_a_single_head_as_wide_as_the_tokens_has_no_output_projection():
    state = {k: v for k, v in random_checkpoint(19, 2, 1, 19, 3, 5, 7, None).items() if ".to_out." not in k}
    assert_same_function(from_official_crate(state, heads=1), state, heads=1, patch=3, side=5)


def parallel(state):
    return {f"module.{name}": tensor for name, tensor in state.items()}


WRAPPERS = {
    "state_dict": lambda state: {"epoch": 89, "best_acc1": 0.5, "state_dict": state, "optimizer": {"state": {}}},
    "model": lambda state: {"model": state, "args": None},
    "module": parallel,
    "state_dict and module": lambda state: {"arch": "CRATE_small", "state_dict": parallel(state), "scheduler": {}},
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrapped_checkpoints(wrap, tmp_path):
    state = random_checkpoint(*SHAPES[0])
    expected = from_official_crate(state, heads=5).state_dict()
    torch.save(wrap(state), tmp_path / "checkpoint.pth")
    for model in (
        from_official_crate(wrap(state), heads=5),
        from_official_crate_file(tmp_path / "checkpoint.pth", heads=5),
    ):
        found = model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_half_precision_is_widened():
    state = {name: tensor.half() for name, tensor in random_checkpoint(*SHAPES[1]).items()}
    model = from_official_crate(state, heads=3)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert torch.equal(model.get_parameter("head.weight"), state["mlp_head.1.weight"].float())


@pytest.mark.parametrize("name", random_checkpoint(*SHAPES[-1]))
def test_each_missing_tensor_is_named(name):
    state = random_checkpoint(*SHAPES[-1])
    del state[name]
    with pytest.raises(InputError, match=r"lacks|shape|unknown") as caught:
        from_official_crate(state, heads=6)
    related = name.rpartition(".")[0] or name  # without head.weight, head.bias is the stranger
    assert related in str(caught.value)


@pytest.mark.parametrize("name", random_checkpoint(*SHAPES[-1]))
def test_each_misshapen_tensor_is_an_error(name):
    state = random_checkpoint(*SHAPES[-1])
    state[name] = torch.cat([state[name], state[name][..., :1]], dim=-1)
    with pytest.raises(InputError, match=r"shape|takes|patches|divide"):
        from_official_crate(state, heads=6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transformer.layers.0.0.fn.to_qk.weight": torch.zeros(3, 3)}, r"to_qk\.weight"),
        ({"dist_token": torch.zeros(1, 1, 30)}, "dist_token"),
        ({"transformer.layers.7.1.norm.bias": torch.zeros(30)}, r"lacks transformer\.layers\.3"),
        (
            {"transformer.layers.1.1.norm.bias": torch.zeros(29)},
            r"transformer\.layers\.1\.1\.norm\.bias has shape \(29,\)",
        ),
        ({"pos_embedding": torch.zeros(50, 30)}, r"pos_embedding has shape \(50, 30\)"),
        ({"pos_embedding": torch.zeros(1, 49, 30)}, "48 patches"),
        ({"to_patch_embedding.2.weight": torch.zeros(30, 47)}, "47 values"),
        ({"optimizer": {"lr": 0.1}}, "optimizer is no tensor"),
    ],
)
def test_what_does_not_belong_is_named(change, message):
    with pytest.raises(InputError, match=message):
        from_official_crate({**random_checkpoint(*SHAPES[0]), **change}, heads=5)


@pytest.mark.parametrize("heads", [0, -1, 4, 7])
def test_heads_must_divide(heads):
    with pytest.raises(InputError, match=f"heads={heads} does not divide the 30 rows"):
        from_official_crate(random_checkpoint(*SHAPES[0]), heads=heads)


def test_no_state_dict_at_all():
    with pytest.raises(InputError, match=re.escape("lacks transformer.layers.0.0.fn.qkv.weight")):
        from_official_crate({}, heads=3)


class Unsafe:
    def __reduce__(self):
        return print, ("code in a checkpoint was run",)


def bad_file(kind, folder):
    path = folder / "checkpoint.pth"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("404: Not Found")
    elif kind == "unsafe":
        torch.save({"state_dict": random_checkpoint(*SHAPES[0]), "args": Unsafe()}, path)
    elif kind == "list":
        torch.save([torch.zeros(3)], path)
    elif kind.startswith("cut at "):
        torch.save(random_checkpoint(*SHAPES[0]), path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * float(kind.removeprefix("cut at ")))])
    return path


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "empty", "text", "unsafe", "list", "cut at 0.01", "cut at 0.5", "cut at 0.97"]
)
def test_bad_files_are_named_and_not_run(kind, tmp_path, capsys):
    path = bad_file(kind, tmp_path)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        from_official_crate_file(path, heads=5)
    assert len(str(caught.value).splitlines()) == 1
    assert not capsys.readouterr().out


def test_a_file_that_does_not_fit_is_named(tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save(random_checkpoint(*SHAPES[0]), path)
    with pytest.raises(InputError, match=rf"heads=7.*{re.escape(str(path))}"):
        from_official_crate_file(path, heads=7)
