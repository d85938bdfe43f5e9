"""The objectives as the papers write them, term by term and number by number."""

import jaxtyping
import pytest
import torch

from wbcore.errors import InputError
from wbcore.losses import lasso, sparse_rate_reduction
from wbcore.metrics.coding_rate import coding_rate, subspace_coding_rate


@pytest.fixture
def tokens():
    return torch.randn(2, 7, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).relu()


@pytest.fixture
def projections():
    return torch.randn(2, 3, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("normalise", [True, False])
def test_sparse_rate_reduction_is_its_three_terms(tokens, projections, normalise):
    options = {"eps": 0.07, "normalise": normalise}
    rates = coding_rate(tokens, **options) - subspace_coding_rate(projections, **options)
    found = sparse_rate_reduction(tokens, projections, sparsity=0.3, **options)
    counts = torch.stack([torch.tensor(len(one.nonzero()), dtype=torch.float64) for one in tokens])
    torch.testing.assert_close(found, rates - 0.3 * counts)
    sums = torch.stack([one[one > 0].sum() for one in tokens])
    torch.testing.assert_close(
        sparse_rate_reduction(tokens, projections, sparsity=0.3, norm="l1", **options), rates - 0.3 * sums
    )


def test_one_subspace_that_is_everything_leaves_the_norm_alone(tokens):
    """With U = I there is nothing to reduce: R = R^c."""
    found = sparse_rate_reduction(tokens, tokens[:, None], sparsity=2.0)
    torch.testing.assert_close(found, -2.0 * (tokens != 0).sum((1, 2)).double())


@pytest.mark.parametrize("norm", ["l0", "l1"])
def test_sparse_rate_reduction_has_a_gradient(tokens, norm):
    subspaces = torch.randn(3, 5, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    leaf = (tokens + 0.1).requires_grad_()  # away from zero, where the count jumps and the magnitude has a corner

    def objective(z):
        return sparse_rate_reduction(z, torch.einsum("bni,hdi->bhnd", z, subspaces), norm=norm)

    assert torch.autograd.gradcheck(objective, leaf)


def test_unknown_norm(tokens, projections, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # else it objects first, as it does in tests only
    with pytest.raises(InputError, match="norm='l2': choose l0"):
        sparse_rate_reduction(tokens, projections, norm="l2")


def test_lasso_by_hand():
    """D z = (1, −2), so the residuals are (2, 2) and (0, 1); ‖z‖₁ = 3 and 2, λ = 0.5."""
    dictionary = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    code = torch.tensor([[[1.0, -2.0], [2.0, 0.0]]])
    target = torch.tensor([[[3.0, 0.0], [2.0, 1.0]]])
    assert lasso(code, target, dictionary, sparsity=0.5).tolist() == [(8 + 1) / 2 + 0.5 * 5]


def test_lasso_acts_on_column_vectors():
    dictionary = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    code, target = torch.randn(2, 3, 5), torch.randn(2, 3, 7)
    expected = [
        sum(0.5 * (y - dictionary @ z).square().sum() + 0.2 * z.abs().sum() for z, y in zip(zs, ys, strict=True))
        for zs, ys in zip(code, target, strict=True)
    ]
    torch.testing.assert_close(lasso(code, target, dictionary, sparsity=0.2), torch.stack(expected))
