"""MSSA and MHSA: fused attention, a loop over heads and one einsum are the same; the CLS row without the matrix."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from wbcore.models.attention import MHSA, MSSA

DIM, HEADS, DIM_HEAD, TOKENS = 11, 3, 5, 17


def randomised(layer):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    return layer


def mssa(*, tied=False):
    return randomised(MSSA(DIM, HEADS, DIM_HEAD, tied=tied))


def mhsa(*, qkv_bias=True):
    return randomised(MHSA(DIM, HEADS, DIM_HEAD, qkv_bias=qkv_bias))


KINDS = {"mssa": mssa, "tied": lambda: mssa(tied=True), "mhsa": mhsa, "no bias": lambda: mhsa(qkv_bias=False)}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def layer(request):
    return request.param()


@pytest.fixture
def tokens():
    return torch.randn(2, TOKENS, DIM, generator=torch.Generator().manual_seed(1))


def attention_maps(query, key):
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) / math.sqrt(DIM_HEAD)
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


def rows_of(weight, head):
    return weight[head * DIM_HEAD : (head + 1) * DIM_HEAD]


def loop_mssa(layer, tokens):
    """CRATE, Eq. (5), one subspace and one image at a time; the output map is a sum of its blocks of columns."""
    images = []
    for z in tokens:
        total = torch.zeros(TOKENS, DIM)
        for head in range(HEADS):
            basis = rows_of(layer.subspaces.weight, head)
            projected = z @ basis.T
            mixed = torch.softmax(projected @ projected.T / math.sqrt(DIM_HEAD), dim=-1) @ projected
            back = basis if layer.output is None else rows_of(layer.output.weight.T, head)
            total = total + mixed @ back
        images.append(total if layer.output is None else total + layer.output.bias)
    return torch.stack(images)


def loop_mhsa(layer, tokens):
    weights, biases = layer.qkv.weight.chunk(3), [torch.zeros(HEADS * DIM_HEAD)] * 3
    if layer.qkv.bias is not None:
        biases = layer.qkv.bias.chunk(3)
    images = []
    for z in tokens:
        total = layer.output.bias.expand(TOKENS, DIM)
        for head in range(HEADS):
            q, k, v = (
                z @ rows_of(weight, head).T + rows_of(bias, head) for weight, bias in zip(weights, biases, strict=True)
            )
            total = total + torch.softmax(q @ k.T / math.sqrt(DIM_HEAD), -1) @ v @ rows_of(layer.output.weight.T, head)
        images.append(total)
    return torch.stack(images)


def einsum_attention(layer, tokens):
    mixed = torch.einsum(
        "bhqk,bhkd->bqhd", attention_maps(layer.queries(tokens), layer.keys(tokens)), layer.values(tokens)
    )
    if layer.output is None:
        return torch.einsum("bqhd,hdi->bqi", mixed, layer.subspaces.weight.reshape(HEADS, DIM_HEAD, DIM))
    blocks = layer.output.weight.reshape(DIM, HEADS, DIM_HEAD)
    return torch.einsum("bqhd,ihd->bqi", mixed, blocks) + layer.output.bias


def test_fused_is_the_loop_and_the_einsum(layer, tokens):
    loop = loop_mssa if isinstance(layer, MSSA) else loop_mhsa
    torch.testing.assert_close(layer(tokens), loop(layer, tokens), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer(tokens), einsum_attention(layer, tokens), atol=1e-5, rtol=1e-5)


def test_tied_mssa_has_the_subspaces_alone():
    assert [name for name, _ in mssa(tied=True).named_parameters()] == ["subspaces.weight"]


def test_tied_is_free_with_the_subspaces_for_an_output(tokens):
    tied, free = mssa(tied=True), mssa()
    assert free.output is not None
    with torch.no_grad():
        free.output.weight.copy_(tied.subspaces.weight.T)
        free.output.bias.zero_()
    torch.testing.assert_close(tied(tokens), free(tokens), atol=1e-5, rtol=1e-5)


def test_cls_attention_is_the_first_row_of_the_full_map(layer, tokens):
    row = layer.cls_attention(tokens)
    full = attention_maps(layer.queries(tokens), layer.keys(tokens))
    assert row.shape == (2, HEADS, TOKENS)
    torch.testing.assert_close(row, full[:, :, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(row.sum(-1), torch.ones(2, HEADS), atol=1e-5, rtol=0)


def test_prefix_attention_is_the_first_rows_of_the_full_map(layer, tokens):
    full = attention_maps(layer.queries(tokens), layer.keys(tokens))
    torch.testing.assert_close(layer.prefix_attention(tokens, 3), full[:, :, :3], atol=1e-5, rtol=1e-4)
    assert torch.equal(layer.prefix_attention(tokens, 1)[:, :, 0], layer.cls_attention(tokens))


class Shapes(TorchDispatchMode):
    """The shapes of all tensors that any operator gives."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, tuple | list) else (outputs,):
            if isinstance(output, torch.Tensor):
                self.seen.append(tuple(output.shape))
        return outputs


def matrices(function, tokens):
    """How many of the tensors made on the way hold a value for each pair of tokens."""
    with Shapes() as shapes, torch.no_grad():
        function(tokens)
    assert shapes.seen
    return sum(shape.count(TOKENS) > 1 for shape in shapes.seen)


def test_the_matrix_is_never_built(layer, tokens):
    assert matrices(layer.cls_attention, tokens) == 0
    assert matrices(layer, tokens) == 0
    assert matrices(lambda z: einsum_attention(layer, z), tokens) > 0


def test_queries_keys_and_values_are_the_thirds_of_the_fused_map(tokens):
    layer = mhsa()
    thirds = layer.qkv(tokens).reshape(2, TOKENS, 3, HEADS, DIM_HEAD)
    for index, part in enumerate((layer.queries, layer.keys, layer.values)):
        torch.testing.assert_close(part(tokens), thirds[:, :, index].transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_projections_are_queries_keys_and_values(tokens):
    layer = mssa()
    assert all(
        torch.equal(part(tokens), layer.projections(tokens)) for part in (layer.queries, layer.keys, layer.values)
    )


@pytest.mark.parametrize("make", [mssa, mhsa])
def test_half_precision_on_a_cpu_keeps_its_type_and_value(make, tokens):
    layer = make()
    half = layer.bfloat16()(tokens.bfloat16())
    assert half.dtype == torch.bfloat16
    exact = layer.float()(tokens.bfloat16().float())
    assert (half.float() - exact).norm() / exact.norm() < 0.02
