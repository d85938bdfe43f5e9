"""ISTA and MLP against the formulas as they are written."""

import pytest
import torch

from wbcore.models.feedforward import ISTA, MLP, QuickGELU, ista_step

ETA, LAMBDA = 0.1, 0.3


def three_products(tokens, dictionary, *, step_size, sparsity):
    """The step as the official code takes it, before the threshold: D* is applied to z and to Dz."""
    reconstruction = torch.einsum("ij,bnj->bni", dictionary, tokens)
    gradient = torch.einsum("ij,bni->bnj", dictionary, reconstruction)
    correlation = torch.einsum("ij,bni->bnj", dictionary, tokens)
    return tokens + step_size * (correlation - gradient), step_size * sparsity


def test_ista_step_is_the_official_formula():
    tokens, dictionary = torch.randn(2, 7, 11), torch.randn(11, 11)
    moved, threshold = three_products(tokens, dictionary, step_size=ETA, sparsity=LAMBDA)
    found = ista_step(tokens, dictionary, step_size=ETA, sparsity=LAMBDA)
    torch.testing.assert_close(found, (moved - threshold).clamp(min=0), atol=1e-5, rtol=1e-5)
    assert (found >= 0).all()


def test_soft_ista_step_is_two_sided():
    tokens, dictionary = torch.randn(2, 7, 11), torch.randn(11, 11)
    moved, threshold = three_products(tokens, dictionary, step_size=ETA, sparsity=LAMBDA)
    found = ista_step(tokens, dictionary, step_size=ETA, sparsity=LAMBDA, nonnegative=False)
    torch.testing.assert_close(found, moved.sign() * (moved.abs() - threshold).clamp(min=0), atol=1e-5, rtol=1e-5)
    assert (found < 0).any()


def test_ista_step_by_hand():
    """With D = I there is nothing left to reconstruct: only the threshold ηλ = 0.5 acts."""
    tokens = torch.tensor([[2.0, 0.25, -3.0]])
    hard = ista_step(tokens, torch.eye(3), step_size=0.5, sparsity=1.0)
    soft = ista_step(tokens, torch.eye(3), step_size=0.5, sparsity=1.0, nonnegative=False)
    assert hard.tolist() == [[1.5, 0.0, 0.0]]
    assert soft.tolist() == [[1.5, 0.0, -2.5]]


def test_ista_step_is_a_proximal_gradient_step():
    """The move before the threshold is the negative gradient of ‖z − Dx‖² / 2 at x = z, by autograd."""
    tokens, dictionary = torch.randn(5, 11), torch.randn(11, 11)
    code = tokens.clone().requires_grad_()
    ((tokens - code @ dictionary.T).square().sum() / 2).backward()
    assert code.grad is not None
    expected = (tokens - ETA * code.grad - ETA * LAMBDA).relu()
    torch.testing.assert_close(
        ista_step(tokens, dictionary, step_size=ETA, sparsity=LAMBDA), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("nonnegative", [True, False])
def test_ista_layer_normalises_first_and_has_no_residual(nonnegative):
    layer = ISTA(11, step_size=ETA, sparsity=LAMBDA, nonnegative=nonnegative, norm_eps=1e-5)
    tokens = torch.randn(2, 7, 11)
    expected = ista_step(layer.norm(tokens), layer.dictionary, step_size=ETA, sparsity=LAMBDA, nonnegative=nonnegative)
    assert torch.equal(layer(tokens), expected)
    torch.testing.assert_close(layer(5 * tokens + 3), expected, atol=1e-3, rtol=1e-3)


def test_mlp_is_the_formula():
    layer = MLP(11, 29, activation="gelu", norm_eps=1e-6)
    tokens = torch.randn(2, 7, 11)
    hidden = layer.norm(tokens) @ layer.expand.weight.T + layer.expand.bias
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    expected = hidden @ layer.contract.weight.T + layer.contract.bias
    torch.testing.assert_close(layer(tokens), expected, atol=1e-6, rtol=1e-5)
    assert layer.norm.eps == 1e-6


def test_quick_gelu_by_hand():
    values = torch.tensor([-1.0, 0.0, 2.0])
    assert QuickGELU()(values).tolist() == pytest.approx([-0.154196, 0.0, 1.935658], abs=1e-5)
    assert isinstance(MLP(3, 5, activation="quick_gelu", norm_eps=1e-5).activation, QuickGELU)
