"""Norms, the threshold between two modes, neighbours: against loops, and on distributions whose modes are known."""

import numpy as np
import pytest
import torch

from wbcore.errors import InputError
from wbcore.metrics.norms import (
    attention_on,
    image_means,
    image_norms,
    log_histogram,
    neighbour_cosine,
    outliers,
    share_map,
    token_norms,
    valley_threshold,
)

GRID = (5, 7)


def log_normal(count: int, median: float, spread: float = 0.15, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return median * (spread * torch.randn(count, generator=generator)).exp()


def test_norms_equal_the_sum_of_squares_and_survive_half_precision():
    tokens = torch.randn(2, 3, 11, 13, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(token_norms(tokens), tokens.square().sum(-1).sqrt())
    long = torch.full((1, 2, 19), 200.0, dtype=torch.float16)  # the sum of squares is beyond float16
    assert token_norms(long).flatten().tolist() == pytest.approx([200 * 19**0.5] * 2)


def test_three_numbers_of_an_image_by_hand():
    norms = torch.tensor([[1.0, 2.0, 3.0, 4.0, 150.0], [1.0, 1.0, 1.0, 151.0, 900.0]])
    found = image_norms(norms, threshold=150.0)
    assert found.median.tolist() == [3, 1]
    assert found.largest.tolist() == [150, 900]
    assert found.outlier_share.tolist() == pytest.approx([0, 0.4])
    assert outliers(norms, threshold=150.0).nonzero().tolist() == [[1, 3], [1, 4]]


class TestHistogram:
    def test_counts_equal_numpy(self):
        norms = log_normal(997, 20.0)
        edges, counts = log_histogram(norms)
        assert counts.sum() == 997
        assert np.array_equal(counts, np.histogram(norms.double().numpy(), edges)[0])
        assert np.log10(edges[1:] / edges[:-1]) == pytest.approx(1 / 20)

    def test_zero_counts_with_the_smallest(self):
        edges, counts = log_histogram(torch.tensor([[0.0, 3.0, 5.0]]))
        assert counts[0] == 2
        assert edges[0] <= 3 < edges[1]

    def test_all_zero(self):
        with pytest.raises(InputError, match="no token has a positive norm"):
            log_histogram(torch.zeros(2, 3))


class TestValley:
    @pytest.mark.parametrize(("share", "length"), [(0.02, 600.0), (0.3, 100.0), (0.0237, 300.0)])
    def test_between_two_modes(self, share, length):
        outlier = round(share * 20000)
        norms = torch.cat([log_normal(20000 - outlier, 20.0), log_normal(outlier, length, seed=1)])
        threshold = valley_threshold(norms.view(100, 200))
        assert threshold is not None
        assert 20 < threshold < length
        assert outliers(norms, threshold=threshold).float().mean().item() == pytest.approx(share, rel=0.02)

    def test_an_empty_valley_is_cut_in_its_middle_on_the_logarithmic_scale(self):
        """Single bins at 10 and 1000: the smoothed counts are below one except near the two."""
        norms = torch.tensor([10.3] * 900 + [1030.0] * 100)
        assert valley_threshold(norms) == pytest.approx(10.3 * 10, rel=0.1)

    @pytest.mark.parametrize(
        "norms",
        [
            log_normal(20000, 20.0),
            log_normal(20000, 20.0, spread=0.6),
            log_normal(196, 20.0),
            torch.full((7, 11), 3.0),
            torch.cat([log_normal(196, 20.0), torch.tensor([500.0, 510.0, 520.0])]),
            torch.cat([log_normal(5000, 20.0), log_normal(5000, 24.0, seed=1)]),
        ],
        ids=["one mode", "a wide one", "one image", "constant", "too few to tell", "two that overlap"],
    )
    def test_there_is_none(self, norms):
        assert valley_threshold(norms) is None

    def test_shorter_tokens_are_no_outliers(self):
        assert valley_threshold(torch.cat([log_normal(5000, 200.0), log_normal(300, 5.0, seed=1)])) is None

    def test_scale_moves_the_threshold_along(self):
        norms = torch.cat([log_normal(20000, 20.0), log_normal(500, 500.0, seed=1)])
        one, other = valley_threshold(norms), valley_threshold(10 * norms)
        assert one is not None
        assert other == pytest.approx(10 * one, rel=0.02)


class TestNeighbours:
    def test_equals_a_loop(self):
        tokens = torch.randn(3, 35, 11, generator=torch.Generator().manual_seed(0))
        found = neighbour_cosine(tokens, GRID).view(3, *GRID)
        rows, cols = GRID
        for row in range(rows):
            for col in range(cols):
                near = [(row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)]
                near = [(r, c) for r, c in near if 0 <= r < rows and 0 <= c < cols]
                own = tokens[:, row * cols + col]
                each = [torch.cosine_similarity(own, tokens[:, r * cols + c]) for r, c in near]
                torch.testing.assert_close(found[:, row, col], torch.stack(each).mean(0))

    @pytest.mark.parametrize("grid", [(1, 7), (7, 1)])
    def test_a_line_of_patches(self, grid):
        tokens = torch.eye(7, 11).index_fill(0, torch.tensor([1]), 0.0)
        tokens[1, 0] = 1.0  # like the first
        expected = [1, 0.5, 0, 0, 0, 0, 0]
        assert neighbour_cosine(tokens, grid).tolist() == pytest.approx(expected)

    def test_constant_features_and_zeros(self):
        assert neighbour_cosine(torch.ones(35, 3), GRID).tolist() == pytest.approx([1] * 35)
        assert neighbour_cosine(torch.zeros(35, 3), GRID).tolist() == [0] * 35


def test_share_map_counts_images():
    outlier = torch.zeros(3, 35, dtype=torch.bool)
    outlier[:, 0] = True
    outlier[1, 9] = True
    found = share_map(outlier, GRID)
    assert found.nonzero().tolist() == [[0, 0], [1, 2]]
    assert found[[0, 1], [0, 2]].tolist() == pytest.approx([1, 1 / 3])


def test_attention_on_outliers_by_hand():
    attn = torch.tensor([[[0.1, 0.2, 0.3], [0.5, 0.0, 0.1]], [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]]])
    outlier = torch.tensor([[True, False, True], [False, False, False]])
    assert attention_on(attn, outlier).tolist() == pytest.approx([(0.4 + 0.6) / 2, 0])


def test_image_means_leave_images_without_such_a_token_undefined():
    values = torch.tensor([[1.0, 2.0, 4.0], [5.0, 6.0, 7.0]])
    found = image_means(values, torch.tensor([[True, False, True], [False, False, False]]))
    assert found[0] == 2.5
    assert found[1].isnan()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: token_norms(torch.tensor([[1.0, torch.nan]])), "1 tokens have a NaN"),
        (lambda: outliers(torch.ones(3), threshold=0.0), r"threshold=0\.0"),
        (lambda: neighbour_cosine(torch.ones(36, 3), GRID), "36 tokens given, but the grid 5x7 has 35"),
        (lambda: neighbour_cosine(torch.ones(1, 3), (1, 1)), "no neighbours"),
        (lambda: share_map(torch.ones(2, 36, dtype=torch.bool), GRID), "36 tokens given"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
