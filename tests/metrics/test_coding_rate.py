"""Coding rates: against the determinant as it is written, in closed form, and under the symmetries they must have."""

import math

import pytest
import torch

from wbcore.errors import InputError
from wbcore.metrics.coding_rate import coding_rate, nonzero_share, subspace_coding_rate

EPS = 0.03
SIDES = [(5, 13), (13, 5), (7, 7)]
"""Fewer tokens than dimensions, more, and as many."""


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthogonal(dim, seed=0):
    return torch.linalg.qr(random(dim, dim, seed=seed)).Q


def direct(tokens, *, eps=EPS, normalise=True):
    """½ logdet of the n×n matrix of the formula, by slogdet, one set at a time."""
    n, dim = tokens.shape
    if normalise:
        tokens = torch.stack([token / math.sqrt(float(token @ token)) for token in tokens])
    sign, logdet = torch.linalg.slogdet(torch.eye(n, dtype=torch.float64) + dim / (n * eps) * tokens @ tokens.T)
    assert sign == 1
    return logdet / 2


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("n", "dim"), SIDES)
def test_rate_is_the_determinant_on_either_side(n, dim, normalise):
    tokens = 3 * random(2, 3, n, dim)
    found = coding_rate(tokens, eps=EPS, normalise=normalise)
    expected = [[direct(one, normalise=normalise) for one in image] for image in tokens]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=0)


@pytest.mark.parametrize(("n", "dim"), SIDES)
def test_both_sides_have_one_determinant(n, dim):
    """Z and Zᵀ, with the precision that keeps d/(n·eps)."""
    tokens = random(2, n, dim)
    transposed = coding_rate(tokens.mT, eps=EPS * n**2 / dim**2, normalise=False)
    torch.testing.assert_close(coding_rate(tokens, eps=EPS, normalise=False), transposed, rtol=1e-10, atol=0)


@pytest.mark.parametrize(("n", "dim"), SIDES)
def test_subspace_rate_is_the_sum_over_heads(n, dim):
    projections = random(2, 3, n, dim)
    expected = torch.stack([sum(direct(head) for head in image) for image in projections])
    torch.testing.assert_close(subspace_coding_rate(projections, eps=EPS), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("n", [3, 7])
def test_orthonormal_tokens(n):
    """n equal eigenvalues: R = n/2 log(1 + d/(n·eps))."""
    tokens = orthogonal(7)[None, :n]
    for normalise in (True, False):
        found = float(coding_rate(tokens, eps=EPS, normalise=normalise))
        assert found == pytest.approx(n / 2 * math.log(1 + 7 / (n * EPS)), rel=1e-12)


@pytest.mark.parametrize(("n", "dim"), SIDES)
def test_tokens_on_one_line(n, dim):
    """Rank one: R = ½ log(1 + d/eps) for any lengths and signs of unit-normalised tokens."""
    tokens = random(1, n, 1, seed=1) * random(dim, seed=2)
    assert float(coding_rate(tokens, eps=EPS)) == pytest.approx(math.log(1 + dim / EPS) / 2, rel=1e-12)


def test_default_is_the_official_precision():
    projections = random(1, 2, 5, 3)
    expected = sum(direct(head, eps=0.01) for head in projections[0])
    torch.testing.assert_close(subspace_coding_rate(projections)[0], expected)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("n", "dim"), SIDES)
def test_gradient(n, dim, normalise):
    tokens = random(2, n, dim).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: coding_rate(z, eps=EPS, normalise=normalise), tokens)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("n", "dim"), SIDES)
def test_rate_is_blind_to_rotation_and_order(n, dim, normalise):
    tokens = random(2, n, dim)
    rate = coding_rate(tokens, eps=EPS, normalise=normalise)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(3))
    for other in (tokens @ orthogonal(dim), tokens[:, order]):
        torch.testing.assert_close(coding_rate(other, eps=EPS, normalise=normalise), rate, rtol=1e-10, atol=0)
    stretched = tokens * torch.linspace(1, 2, dim, dtype=torch.float64)
    assert not torch.allclose(coding_rate(stretched, eps=EPS, normalise=normalise), rate, rtol=1e-3)


@pytest.mark.parametrize("normalise", [True, False])
def test_subspace_rate_is_blind_to_rotation_and_order(normalise):
    """Of tokens and subspaces together, inside a subspace, and of the tokens' order; not of the tokens alone."""
    tokens, subspaces = random(2, 7, 11), random(3, 5, 11, seed=1)

    def rate(z, u):
        return subspace_coding_rate(torch.einsum("bni,hdi->bhnd", z, u), eps=EPS, normalise=normalise)

    expected = rate(tokens, subspaces)
    rotation, order = orthogonal(11), torch.randperm(7, generator=torch.Generator().manual_seed(3))
    inside = torch.stack([orthogonal(5, seed) for seed in range(3)])
    for z, u in [
        (tokens @ rotation, subspaces @ rotation),
        (tokens, inside @ subspaces),
        (tokens[:, order], subspaces),
    ]:
        torch.testing.assert_close(rate(z, u), expected, rtol=1e-10, atol=0)
    assert not torch.allclose(rate(tokens @ rotation, subspaces), expected, rtol=1e-3)


def test_lengths_count_only_in_the_papers_formula():
    tokens = random(2, 7, 5)
    scaled = tokens * torch.linspace(0.1, 9, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(coding_rate(scaled), coding_rate(tokens))
    assert not torch.allclose(coding_rate(scaled, normalise=False), coding_rate(tokens, normalise=False), rtol=1e-3)


def test_more_subspaces_and_finer_precision_cost_more():
    projections = random(2, 3, 7, 5)
    assert (subspace_coding_rate(projections) > subspace_coding_rate(projections[:, :2])).all()
    assert (coding_rate(projections, eps=0.01) > coding_rate(projections, eps=0.1)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_other_types_are_computed_in_float64(dtype):
    """An ill-conditioned matrix, whose determinant float32 could not give."""
    tokens = (1e4 * random(1, 1, 11) + random(1, 7, 11, seed=1)).to(dtype)
    found = coding_rate(tokens, normalise=False)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = direct(tokens[0].double(), eps=0.01, normalise=False)
    torch.testing.assert_close(found[0].double(), expected, rtol=1e-6, atol=0)


def test_zeros_are_finite():
    tokens = random(1, 5, 3)
    tokens[0, 2:] = 0
    tokens.requires_grad_()
    rate = coding_rate(tokens)
    rate.sum().backward()
    assert rate.isfinite().all()
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all()
    assert coding_rate(torch.zeros(1, 5, 3)).tolist() == [0.0]


@pytest.mark.parametrize("eps", [0.0, -0.01, math.nan])
def test_bad_precision(eps):
    with pytest.raises(InputError, match="give a squared precision above 0"):
        coding_rate(random(1, 5, 3), eps=eps)


@pytest.mark.parametrize("shape", [(1, 0, 3), (1, 5, 0)])
def test_no_tokens(shape):
    with pytest.raises(InputError, match="have no coding rate"):
        coding_rate(torch.zeros(shape))


def test_nonzero_share_by_hand():
    tokens = torch.tensor([[[1.0, 0.0, 0.0], [0.0, -2.0, 0.0]], [[0.0, 0.0, 0.0], [1.0, 1.0, 1e-30]]])
    assert nonzero_share(tokens).tolist() == pytest.approx([2 / 6, 3 / 6])
