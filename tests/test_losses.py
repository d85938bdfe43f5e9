"""The objectives as the papers write them, term by term and number by number."""

import jaxtyping
import pytest
import torch

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.losses import (
    auxiliary_cross_entropy,
    lasso,
    pixel_cross_entropy,
    self_distillation,
    sparse_rate_reduction,
)
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


CLASSES, GRID, PATCH = 5, (2, 3), 4


def pixels(seed=0, size=(7, 11)):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (2, *size), generator=generator, dtype=torch.uint8)
    labels[:, 0] = VOID
    return torch.randn(2, CLASSES, *size, generator=generator), labels


def test_pixel_cross_entropy_is_the_mean_over_known_pixels():
    logits, labels = pixels()
    by_hand = [
        -logits[image, :, row, col].log_softmax(0)[int(labels[image, row, col])]
        for image in range(2)
        for row in range(1, 7)
        for col in range(11)
    ]
    torch.testing.assert_close(pixel_cross_entropy(logits, labels), torch.stack(by_hand).mean())


def test_pixel_cross_entropy_of_nothing_known_is_zero_and_has_a_gradient():
    logits, labels = pixels()
    loss = pixel_cross_entropy(logits.requires_grad_(), torch.full_like(labels, VOID))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_label_that_is_no_class():
    logits, labels = pixels()
    labels[0, 3, 3] = CLASSES
    with pytest.raises(InputError, match="label 5 among 5 classes"):
        pixel_cross_entropy(logits, labels)


def test_auxiliary_probes_are_upsampled_cut_back_and_added():
    generator = torch.Generator().manual_seed(1)
    probes = [torch.randn(2, 6, CLASSES, generator=generator) for _ in range(3)]
    _, labels = pixels()
    expected = 0
    for probe in probes:
        maps = probe.transpose(1, 2).reshape(2, CLASSES, *GRID)
        large = torch.nn.functional.interpolate(maps, scale_factor=PATCH, mode="bilinear")[..., :7, :11]
        expected = expected + pixel_cross_entropy(large, labels)
    found = auxiliary_cross_entropy(probes, labels, grid=GRID, patch_size=PATCH)
    torch.testing.assert_close(found, expected)
    assert auxiliary_cross_entropy([], labels, grid=GRID, patch_size=PATCH) == 0


@pytest.mark.parametrize(("direction", "first"), [("printed", 0), ("code", 1)])
def test_self_distillation_is_the_divergence_it_is_named_after(direction, first):
    student, teacher = (pixels(seed)[0].requires_grad_() for seed in (2, 3))
    loss = self_distillation(student, teacher, direction=direction)
    p, q = [(student, teacher), (teacher, student)][first]
    p, q = p.detach().softmax(1), q.detach().softmax(1)
    torch.testing.assert_close(loss.detach(), (p * (p / q).log()).sum(1).mean())
    loss.backward()
    assert teacher.grad is None
    assert self_distillation(student, student).abs() < 1e-6
