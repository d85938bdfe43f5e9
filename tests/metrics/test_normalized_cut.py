"""The normalised cut against the dense solver, and on graphs whose eigenvector can be written down."""

import numpy as np
import pytest
import torch

from benchmarks.reference.dense_maskcut import affinity, second_eigenvector
from benchmarks.reference.features import blobs, random_network
from wbcore.metrics import normalized_cut as module
from wbcore.metrics.normalized_cut import EPS, Cut, normalized_cut, similarity_graph

GRIDS = [(7, 11), (13, 5), (11, 13), (17, 19)]
TAU = 0.15


def union_of_cliques(*sizes: int) -> torch.Tensor:
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return (block[:, None] == block)[None].to(torch.int8)


def features(kind: str, seed: int, grid: tuple[int, int]) -> torch.Tensor:
    if kind == "noise":
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(grid[0] * grid[1], 23, generator=generator)
    if kind == "network":
        return random_network(seed, grid, dim=23)
    return blobs(seed, grid, dim=23, noise=0.7)


def assert_equal_to_dense(cut: Cut, features: np.ndarray) -> None:
    values, vector = second_eigenvector(affinity(features, TAU))
    assert not cut.degenerate.item()
    assert cut.eigenvalue.item() == pytest.approx(values[0], abs=1e-12)
    assert cut.gap.item() == pytest.approx(values[1] - values[0], rel=0.05)
    found = cut.vector[0].numpy()
    sign = np.sign(found @ vector)
    np.testing.assert_allclose(found, sign * vector, atol=1e-8 * np.abs(vector).max())


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", ["blobs", "network", "noise"])
@pytest.mark.parametrize("seed", [2, 3])
def test_equals_the_dense_solver(kind, seed, grid):
    tokens = features(kind, seed, grid)
    assert_equal_to_dense(normalized_cut(similarity_graph(tokens[None], TAU)), tokens.numpy())


@pytest.mark.parametrize("kind", ["blobs", "network", "noise"])
def test_inactive_tokens_are_tokens_with_zero_features(kind):
    tokens = features(kind, 5, (11, 13))
    active = torch.ones(143, dtype=torch.bool)
    active[17:47] = False
    cut = normalized_cut(similarity_graph(tokens[None], TAU), active[None])
    assert_equal_to_dense(cut, (tokens * active[:, None]).numpy())


@pytest.mark.parametrize(("p", "q"), [(2, 3), (7, 11), (1, 53), (31, 31)])
def test_two_cliques_by_hand(p, q):
    """The vector is constant on each clique, and λ = cut (1 / volume + 1 / volume)."""
    cut = normalized_cut(union_of_cliques(p, q))
    volumes = p * (p + EPS * q), q * (q + EPS * p)
    assert cut.eigenvalue.item() == pytest.approx(EPS * p * q * (1 / volumes[0] + 1 / volumes[1]), rel=1e-9)
    first, second = cut.vector[0, :p], cut.vector[0, p:]
    torch.testing.assert_close(first, first[:1].expand(p))
    torch.testing.assert_close(second, second[:1].expand(q))
    assert first[0] * volumes[0] + second[0] * volumes[1] == pytest.approx(0, abs=1e-6 * max(volumes))
    assert not cut.degenerate


def test_inactive_group_by_hand():
    """Beside one clique, inactive tokens are the cut, with λ = (n - m) / n + ε m / (n - m + ε m)."""
    n, m = 59, 13
    active = torch.arange(n)[None] >= m
    cut = normalized_cut(union_of_cliques(n), active)
    assert cut.eigenvalue.item() == pytest.approx((n - m) / n + EPS * m / (n - m + EPS * m), rel=1e-9)
    assert torch.equal(cut.vector > cut.vector.mean(), ~active)


@pytest.mark.parametrize("kind", ["blobs", "network", "noise"])
def test_scale_and_sign(kind):
    graph = similarity_graph(features(kind, 7, (13, 5))[None], TAU)
    cut = normalized_cut(graph)
    degrees = (EPS + (1 - EPS) * graph.double()).sum(-1)
    assert (degrees * cut.vector.square()).sum().item() == pytest.approx(1)
    assert cut.vector.max() == cut.vector.abs().max()


def test_of_equal_peaks_the_first_is_positive():
    assert normalized_cut(union_of_cliques(19, 19)).vector[0, 0] > 0


@pytest.mark.parametrize(
    "graph",
    [
        union_of_cliques(37),
        torch.zeros(1, 37, 37, dtype=torch.int8),
        union_of_cliques(13, 13, 13),
        union_of_cliques(*[1] * 29),
    ],
    ids=["complete", "without edges", "three equal cliques", "loops only"],
)
def test_degenerate(graph):
    cut = normalized_cut(graph)
    assert cut.degenerate.item()
    assert cut.gap.item() < 1e-12


def test_a_small_gap_is_not_degenerate():
    cut = normalized_cut(union_of_cliques(300, 301, 299))
    assert not cut.degenerate.item()
    assert cut.gap.item() < 1e-6


def test_a_graph_that_does_not_converge_is_degenerate(monkeypatch):
    tokens = features("noise", 11, (11, 13))
    monkeypatch.setattr(module, "_MAX_STEPS", 3)
    cut = normalized_cut(similarity_graph(tokens[None], TAU))
    assert cut.degenerate.item()
    assert cut.eigenvalue.isnan().all()
    assert cut.gap.isnan().all()
    assert not cut.vector.any()


def test_batch_equals_loop():
    tokens = torch.stack([features(kind, 3, (11, 13)) for kind in ("blobs", "network", "noise", "blobs")])
    graphs = similarity_graph(tokens, TAU)
    graphs[3] = 1
    together = normalized_cut(graphs)
    assert together.degenerate.tolist() == [False, False, False, True]
    for index in range(3):
        alone = normalized_cut(similarity_graph(tokens[index : index + 1], TAU))
        assert together.passes[index] == alone.passes
        torch.testing.assert_close(together.vector[index], alone.vector[0], rtol=1e-9, atol=1e-12)


def test_updated_leaves_the_original():
    graphs = similarity_graph(torch.stack([features("noise", seed, (7, 11)) for seed in (2, 3)]), TAU)
    both, second = normalized_cut(graphs), normalized_cut(graphs[:1])
    before = both.vector.clone()
    changed = both.updated(torch.tensor([False, True]), second)
    torch.testing.assert_close(changed.vector, before[:1].expand(2, -1))
    assert torch.equal(both.vector, before)


def test_float32_graph_as_on_an_accelerator_gives_the_same_bits():
    graph = similarity_graph(features("noise", 13, (11, 13))[None], TAU)
    exact, other = normalized_cut(graph), normalized_cut(graph.float())
    assert torch.equal(exact.vector, other.vector)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_neighbour_sums_have_the_accuracy_of_float64(scale):
    generator = torch.Generator().manual_seed(3)
    graph = (torch.rand(2, 53, 53, generator=generator) < 0.3).to(torch.int8)
    graph = graph | graph.mT
    values = scale * torch.randn(2, 3, 53, generator=generator, dtype=torch.float64)
    expected = values @ graph.double()
    torch.testing.assert_close(module._neighbour_sums(graph, values), expected, rtol=0, atol=1e-13 * scale)


def test_neighbour_sums_of_the_ends_of_the_range_are_exact():
    """The largest magnitudes of both signs, a power of two, the smallest digit, and nothing at all."""
    values = torch.tensor([1.0, -1.0, 0.5, 2.0**-50, -(2.0**-50), 0.0, 1 - 2.0**-50], dtype=torch.float64)
    graph = torch.eye(7, dtype=torch.int8)[None]
    assert torch.equal(module._neighbour_sums(graph, values[None, None])[0, 0], values)
    assert not module._neighbour_sums(graph, torch.zeros_like(values)[None, None]).any()


class TestSimilarityGraph:
    def test_equals_the_definition_across_its_row_blocks(self, monkeypatch):
        monkeypatch.setattr(module, "_ROWS", 17)
        tokens = torch.stack([features("noise", seed, (7, 11)) for seed in (2, 3)])
        graph = similarity_graph(tokens, TAU)
        cosine = torch.nn.functional.cosine_similarity(tokens[:, :, None], tokens[:, None], dim=-1)
        assert torch.equal(graph.bool(), cosine > TAU)
        assert torch.equal(graph, graph.mT)

    def test_zero_feature_has_no_edge_not_even_to_itself(self):
        tokens = torch.ones(1, 5, 3)
        tokens[0, 2] = 0
        assert similarity_graph(tokens, 0.0)[0, 2].sum() == 0
        assert similarity_graph(tokens, 0.0).sum() == 16

    def test_ignores_reduced_precision_and_leaves_it_as_it_was(self):
        tokens = features("noise", 2, (17, 19))[None]
        exact = similarity_graph(tokens, TAU)
        torch.set_float32_matmul_precision("medium")
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert torch.equal(similarity_graph(tokens, TAU), exact)
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision("highest")
