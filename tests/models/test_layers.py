"""How an image becomes tokens: against loops, and against what resizing must keep."""

import pytest
import torch

from wbcore.models.layers import (
    ConvPatchEmbedding,
    LayerScale,
    NormalisedPatchEmbedding,
    resize_position_embedding,
)

EMBEDDINGS = [ConvPatchEmbedding, NormalisedPatchEmbedding]


@pytest.mark.parametrize("bias", [True, False])
def test_conv_embedding_is_a_linear_map_of_each_patch(bias):
    layer = ConvPatchEmbedding(3, 11, 5, bias=bias)
    image = torch.randn(2, 3, 10, 35)
    tokens = layer(image)
    assert tokens.shape == (2, 14, 11)
    for row in range(2):
        for col in range(7):
            patch = image[:, :, 5 * row : 5 * row + 5, 5 * col : 5 * col + 5]
            expected = torch.einsum("bcpq,ocpq->bo", patch, layer.weight)
            expected = expected if layer.bias is None else expected + layer.bias
            torch.testing.assert_close(tokens[:, 7 * row + col], expected, atol=1e-5, rtol=1e-5)
    assert (layer.bias is not None) == bias


def test_normalised_embedding_flattens_row_column_channel():
    layer = NormalisedPatchEmbedding(3, 11, 5, bias=True)
    image = torch.randn(2, 3, 10, 35)
    patch = image[:, :, 5:10, 15:20]
    flat = torch.stack([patch[:, c, p, q] for p in range(5) for q in range(5) for c in range(3)], dim=1)
    expected = layer[2](layer[1](layer[0](flat)))
    torch.testing.assert_close(layer(image)[:, 7 + 3], expected, atol=1e-5, rtol=1e-5)


def test_normalised_embedding_ignores_brightness_and_contrast():
    layer = NormalisedPatchEmbedding(3, 11, 5, bias=True)
    image = torch.randn(2, 3, 10, 35)
    torch.testing.assert_close(layer(3 * image + 2), layer(image), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_patches_do_not_see_each_other(embedding):
    layer = embedding(3, 11, 5, bias=True)
    image = torch.randn(1, 3, 10, 35)
    changed = image.clone()
    changed[..., 5:, 10:15] += 1
    moved = (layer(image) != layer(changed)).any(-1).squeeze(0)
    assert moved.nonzero().flatten().tolist() == [7 + 2]


def test_position_at_the_native_grid_is_the_same_tensor():
    embedding = torch.nn.Parameter(torch.randn(1, 15, 7))
    assert resize_position_embedding(embedding, (3, 5), (3, 5)) is embedding


@pytest.mark.parametrize("grid", [(11, 5), (3, 13), (13, 11), (2, 3), (5, 3)])
@pytest.mark.parametrize("axis", [0, 1])
def test_resizing_keeps_the_axes_apart(grid, axis):
    """A ramp along one axis stays a ramp along that axis, whatever happens to the other."""
    native = (3, 5)
    steps = [torch.linspace(0.5 / n, 1 - 0.5 / n, n) for n in native]
    ramp = torch.meshgrid(*steps, indexing="ij")[axis].reshape(1, -1, 1)
    resized = resize_position_embedding(ramp, native, grid).reshape(grid)
    along, across = resized.movedim(axis, 0), resized.movedim(axis, 1)
    assert (along.diff(dim=0) > 0).all()
    torch.testing.assert_close(across.diff(dim=0), torch.zeros_like(across.diff(dim=0)), atol=1e-6, rtol=0)


def test_a_grid_of_the_same_number_of_tokens_is_resized_all_the_same():
    embedding = torch.randn(1, 15, 7)
    assert not torch.equal(resize_position_embedding(embedding, (3, 5), (5, 3)), embedding)


def test_resizing_a_constant_changes_nothing_and_keeps_the_type():
    embedding = torch.full((1, 15, 7), 0.5, dtype=torch.bfloat16)
    resized = resize_position_embedding(embedding, (3, 5), (11, 2))
    assert resized.dtype == torch.bfloat16
    assert torch.equal(resized, torch.full((1, 22, 7), 0.5, dtype=torch.bfloat16))


def test_resizing_lets_gradients_through():
    embedding = torch.nn.Parameter(torch.randn(1, 15, 7))
    resize_position_embedding(embedding, (3, 5), (7, 11)).sum().backward()
    assert embedding.grad is not None
    torch.testing.assert_close(embedding.grad.sum(), torch.tensor(7.0 * 77), atol=1e-2, rtol=0)


def test_layer_scale_scales_each_channel():
    layer = LayerScale(3, 1e-5)
    assert layer.gamma.tolist() == pytest.approx([1e-5] * 3)
    with torch.no_grad():
        layer.gamma.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(layer(torch.ones(2, 5, 3)), torch.tensor([1.0, 2.0, 3.0]).expand(2, 5, 3))
