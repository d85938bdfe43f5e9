"""MSSA and ISTA as the steps of optimisation that they were derived as: what of it can be proved, in float64."""

import pytest
import torch

from wbcore.losses import lasso
from wbcore.measuring.objective import rate_gradient, tied_to_subspaces
from wbcore.metrics.coding_rate import subspace_coding_rate
from wbcore.models.attention import MSSA
from wbcore.models.feedforward import ista_step

HEADS, DIM_HEAD, TOKENS = 3, 5, 7
DIM = HEADS * DIM_HEAD  # the subspaces together are the whole space, as the derivation of Eq. (6) has it


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthonormal_mssa(seed=0):
    """An MSSA whose U is one orthonormal basis of the space and its own way back."""
    attention = MSSA(DIM, HEADS, DIM_HEAD, tied=True).double()
    with torch.no_grad():
        attention.subspaces.weight.copy_(torch.linalg.qr(random(DIM, DIM, seed=seed)).Q)
    return attention


def with_projections(attention, projections):
    """The tokens that have these projections onto orthonormal subspaces."""
    return projections.transpose(1, 2).flatten(2) @ attention.subspaces.weight.detach()


def equal_lengths(seed):
    """Projections in which all tokens are equally long in every subspace."""
    projections = random(2, HEADS, TOKENS, DIM_HEAD, seed=seed)
    return 3 * projections / projections.norm(dim=-1, keepdim=True)


def gram(projections):
    return projections @ projections.mT


def paper_gradient(attention, tokens, *, eps):
    return rate_gradient(attention, tokens, eps=eps, normalise=False)


def test_gradient_is_the_derivations():
    """∇R^c = α Σ Uₖ (UₖZ)(I + α (UₖZ)*(UₖZ))⁻¹ with α = p/(n·eps), for any U, not orthonormal ones alone."""
    attention, eps = MSSA(11, HEADS, DIM_HEAD, tied=True).double(), 0.02
    tokens = random(2, TOKENS, 11)
    alpha = DIM_HEAD / (TOKENS * eps)
    expected = torch.zeros_like(tokens)
    for head in range(HEADS):
        basis = attention.subspaces.weight.detach()[head * DIM_HEAD : (head + 1) * DIM_HEAD]
        projected = tokens @ basis.T
        inverse = torch.linalg.inv(torch.eye(TOKENS, dtype=torch.float64) + alpha * gram(projected))
        expected += alpha * inverse @ projected @ basis
    torch.testing.assert_close(paper_gradient(attention, tokens, eps=eps), expected, rtol=1e-9, atol=1e-11)


def test_first_terms_of_the_series_are_exact_in_the_limit():
    """The derivation keeps α (I − α G) of α (I + α G)⁻¹: its error, relative, falls as the square of α."""
    attention = orthonormal_mssa()
    projections = random(2, HEADS, TOKENS, DIM_HEAD)
    tokens = with_projections(attention, projections)
    errors = []
    for eps in (1e3, 1e4, 1e5):
        alpha = DIM_HEAD / (TOKENS * eps)
        kept = alpha * with_projections(attention, projections - alpha * gram(projections) @ projections)
        exact = paper_gradient(attention, tokens, eps=eps)
        errors.append(float((kept - exact).norm() / exact.norm()))
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.1)


def test_softmax_is_the_autocorrelation_of_long_clustered_tokens():
    """MSSA puts softmax(G) where the series has G.  For c orthogonal groups of m equal tokens of length r the two tend
    to one another, up to the factor m r², as r grows; then the derivation is exact but for the series."""
    attention, groups, copies = orthonormal_mssa(), 3, 5
    directions = torch.stack(
        [torch.linalg.qr(random(DIM_HEAD, DIM_HEAD, seed=seed)).Q[:groups] for seed in range(HEADS)]
    )
    errors = []
    for length in (1.0, 3.0, 9.0):
        projections = length * directions.repeat(1, copies, 1)[None]
        step = attention(with_projections(attention, projections))
        expected = with_projections(attention, gram(projections) @ projections / (copies * length**2))
        errors.append(float((step - expected).detach().norm() / expected.norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] > 0.1
    assert errors[2] < 1e-12


@pytest.mark.parametrize("seed", range(11))
def test_derived_step_goes_downhill(seed):
    """Eq. (6), MSSA(Z) − Z, lowers the paper's R^c where tokens are equally long in each subspace and eps is large: an
    average of equally long tokens is never further along a token than that token itself."""
    attention = orthonormal_mssa(seed)
    tokens = with_projections(attention, equal_lengths(seed))
    step = (attention(tokens) - tokens).detach()
    assert float((paper_gradient(attention, tokens, eps=1e6) * step).sum()) < 0
    rate = [
        subspace_coding_rate(attention.projections(z), eps=1e6, normalise=False) for z in (tokens, tokens + 0.1 * step)
    ]
    assert (rate[1] < rate[0]).all()


@pytest.mark.parametrize("seed", range(11))
def test_step_as_it_is_built_goes_uphill(seed):
    """Eq. (8) adds MSSA(Z) and subtracts nothing: at a large eps that raises the paper's R^c for any tokens, because a
    softmax gives larger weights to larger products, so that their mean is at least the plain one, ‖Σ zᵢ‖²/n² ≥ 0."""
    attention = orthonormal_mssa(seed)
    tokens = random(2, TOKENS, DIM, seed=seed)
    step = attention(tokens).detach()
    slope = (paper_gradient(attention, tokens, eps=1e6) * step).sum((1, 2))
    assert (slope > 0).all()


def test_equal_lengths_are_needed():
    """Two tokens on one line, one three times the other: the short one is drawn to the long one, and R^c rises."""
    attention = orthonormal_mssa()
    projections = torch.zeros(1, HEADS, 2, DIM_HEAD, dtype=torch.float64)
    projections[:, :, 0, 0], projections[:, :, 1, 0] = 1, 3
    tokens = with_projections(attention, projections)
    step = (attention(tokens) - tokens).detach()
    assert float((paper_gradient(attention, tokens, eps=1e6) * step).sum()) > 0


def test_normalised_rate_does_not_feel_a_change_of_length():
    """With tokens of unit length the gradient is orthogonal to every token's projection, summed over its subspaces."""
    attention, tokens = orthonormal_mssa(), random(2, TOKENS, DIM)
    gradient = rate_gradient(attention, tokens)
    assert float(gradient.norm()) > 1e-2
    torch.testing.assert_close(
        (gradient * tokens).sum(-1), torch.zeros(2, TOKENS, dtype=torch.float64), atol=1e-10, rtol=0
    )
    lengthened = tokens * torch.linspace(1, 2, TOKENS, dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        subspace_coding_rate(attention.projections(lengthened)), subspace_coding_rate(attention.projections(tokens))
    )


def test_tied_copy_leaves_the_attention_alone():
    free = MSSA(11, HEADS, DIM_HEAD, tied=False)
    tied = tied_to_subspaces(free)
    tokens = random(2, TOKENS, 11).float()
    expected = MSSA(11, HEADS, DIM_HEAD, tied=True)
    expected.load_state_dict({"subspaces.weight": free.subspaces.weight})
    assert torch.equal(tied(tokens), expected(tokens))
    assert free.output is not None


def dictionary(bound, *, step_size, seed):
    """A random D with η‖D‖² = bound."""
    matrix = random(11, 11, seed=seed)
    return matrix * (bound / step_size) ** 0.5 / torch.linalg.matrix_norm(matrix, 2)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("bound", [0.1, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(7))
def test_ista_lowers_the_lasso_from_a_feasible_start(seed, bound, nonnegative):
    """η‖D‖² ≤ 1: the fall is at least (1/η − ‖D‖²/2) ‖Δ‖² for the step Δ taken (proximal gradient)."""
    step_size, sparsity = 0.1, 0.3
    matrix = dictionary(bound, step_size=step_size, seed=seed)
    start = random(5, TOKENS, 11, seed=seed + 100)
    if nonnegative:
        start = start.relu()
    step = ista_step(start, matrix, step_size=step_size, sparsity=sparsity, nonnegative=nonnegative)
    before, after = (lasso(code, start, matrix, sparsity=sparsity) for code in (start, step))
    certain = (2 - bound) / (2 * step_size) * (step - start).square().sum((1, 2))
    assert (certain > 0).all()
    assert (before - after >= certain * (1 - 1e-9)).all()


def test_ista_can_raise_the_lasso_beyond_the_bound():
    matrix = dictionary(4.0, step_size=0.1, seed=0)
    start = random(5, TOKENS, 11, seed=1).relu()
    step = ista_step(start, matrix, step_size=0.1, sparsity=0.3)
    assert (lasso(step, start, matrix, sparsity=0.3) > lasso(start, start, matrix, sparsity=0.3)).any()
