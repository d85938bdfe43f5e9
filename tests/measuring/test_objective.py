"""The objective inside a model: every number by hand from its layers, and what the verdicts say."""

import numpy as np
import pytest
import torch

from tests.tiny import CONFIG, model
from wbcore.errors import InputError
from wbcore.losses import lasso, sparse_rate_reduction
from wbcore.measuring import objective
from wbcore.metrics.coding_rate import subspace_coding_rate
from wbcore.metrics.intervals import Interval
from wbcore.models import Backbone, BackboneConfig
from wbcore.models.feedforward import ista_step


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, (3, 24, 24), generator=generator, dtype=torch.uint8) for _ in range(19)]


def halves(network, images):
    """Each block with the tokens before, between and after, walked by hand."""
    with torch.no_grad():
        before = network.embed(network.normalise(torch.stack(images)).to(network.position.dtype))
        for block in network.blocks:
            between = before + block.attention(block.norm(before))
            after = block.feedforward(between)
            yield block, before, between, after
            before = after


@pytest.mark.parametrize("options", [{}, {"eps": 0.5, "normalise": False}])
def test_every_number_by_hand(images, options):
    network = model()
    found = objective.objective_by_layer(network, images, **options)
    for layer, (block, before, between, after) in enumerate(halves(network, images)):

        def projections(tokens, block=block):
            return (block.norm(tokens) @ block.attention.subspaces.weight.T).unflatten(-1, (3, 4)).transpose(1, 2)

        def eq2(tokens, read=projections):
            return -sparse_rate_reduction(tokens, read(tokens), sparsity=0.1, **options)

        target = block.feedforward.norm(between)
        matrix = block.feedforward.dictionary
        torch.testing.assert_close(after, ista_step(target, matrix, step_size=0.1, sparsity=0.1))
        expected = {
            "compression_before": subspace_coding_rate(projections(before), **options),
            "compression_after": subspace_coding_rate(projections(between), **options),
            "nonzeros": torch.stack([(one > 0).sum() / one.numel() for one in after]),
            "objective_before": eq2(before),
            "objective_after": eq2(after),
            "lasso_input": lasso(target, target, matrix, sparsity=0.1),
            "lasso_feasible": lasso(target.clamp(min=0), target, matrix, sparsity=0.1),
            "lasso_after": lasso(after, target, matrix, sparsity=0.1),
        }
        assert vars(found).keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(getattr(found, name)[layer], values.detach().numpy(), rtol=1e-4)


def test_alignment_is_the_slope_of_the_rate(images):
    """The cosine with −∇R^c from differences of R^c along the step, in float64."""
    network = model().double()
    found = objective.alignment_by_layer(network, images[:3])
    assert found.series.min() > 1
    for layer, (block, before, _, _) in enumerate(halves(network, images[:3])):
        attention, tokens = block.attention, block.norm(before)
        gradient = objective.rate_gradient(attention, tokens).flatten(1).norm(dim=1)
        for name, step in (
            ("trained", attention(tokens)),
            ("tied", objective.tied_to_subspaces(attention)(tokens)),
        ):
            unit = step.detach() / step.detach().flatten(1).norm(dim=1)[:, None, None]
            up, down = (
                subspace_coding_rate(attention.projections(tokens + sign * 1e-5 * unit)).detach() for sign in (1, -1)
            )
            slope = (up - down) / 2e-5
            np.testing.assert_allclose(getattr(found, name)[layer], -slope / gradient, rtol=1e-4, atol=1e-7)


def test_nothing_is_left_on_the_parameters(images):
    network = model()
    objective.alignment_by_layer(network, images[:2])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_batches_do_not_matter(images):
    network = model()
    whole = objective.objective_by_layer(network, images)
    last = objective.objective_by_layer(network, images[17:])
    assert whole.nonzeros.shape == (CONFIG.depth, len(images))
    np.testing.assert_allclose(whole.objective_after[:, 17:], last.objective_after, rtol=1e-5)


@pytest.mark.parametrize("options", [{"attention": "mhsa"}, {"feedforward": "mlp"}])
def test_models_without_the_objective(images, options):
    network = Backbone(BackboneConfig(image_size=24, patch_size=8, dim=12, depth=2, heads=3, **options))
    for measure in (
        lambda: objective.objective_by_layer(network, images),
        lambda: objective.alignment_by_layer(network, images),
        lambda: objective.step_bounds(network),
    ):
        with pytest.raises(InputError, match="take a CRATE"):
            measure()


def test_step_bounds_are_the_largest_singular_values():
    network = model()
    matrices = [block.feedforward.dictionary.detach().double().numpy() for block in network.blocks]
    expected = [0.1 * np.linalg.svd(matrix, compute_uv=False)[0] ** 2 for matrix in matrices]
    np.testing.assert_allclose(objective.step_bounds(network), expected, rtol=1e-10)


def test_as_initialised_draws_what_training_began_with():
    trained = model(seed=5)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    state = torch.random.get_rng_state()
    before = objective.as_initialised(trained, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    expected = model(seed=5).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in before.state_dict().items())
    assert not torch.equal(before.position, objective.as_initialised(trained, seed=6).position)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-2.0, -1.0, "downhill"),
        (1.0, 2.0, "uphill"),
        (-1.0, 1.0, "undecided"),
        (0.0, 1.0, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_verdict(low, high, expected):
    assert objective.verdict(Interval(0.5, low, high, 7)) == expected


def test_descent_table_by_hand():
    before = np.array([[3.0, 5.0, 7.0], [1.0, 1.0, 1.0]])
    after = before + np.array([[-2.0, -2.0, -2.0], [-3.0, 3.0, 0.0]])
    table = objective.descent_table({"crate": (before, after), "another reading": (after, before)})
    assert table.index.tolist() == [1, 2]
    assert table["CRATE", "before"].tolist() == ["5.0", "1.0"]
    assert table["CRATE", "after"].tolist() == ["3.0", "1.0"]
    assert table["CRATE", "change"].tolist()[0] == "-2.0 [-2.0,\N{NO-BREAK SPACE}-2.0]"
    assert table["CRATE", "verdict"].tolist() == ["downhill", "undecided"]
    assert table["another reading", "verdict"].tolist() == ["uphill", "undecided"]
