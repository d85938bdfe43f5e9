"""MaskCut against the dense official rules, and on images small enough to cut by hand."""

import numpy as np
import pytest
import torch

from benchmarks.reference.dense_maskcut import choose, dense_maskcut
from benchmarks.reference.features import blobs, random_network
from wbcore.errors import InputError
from wbcore.metrics.maskcut import maskcut, maskcut_batch, maskcut_rounds

GRID = (11, 13)
# Cases in which no cut has two equally extreme entries: between these rounding decides in the reference.
CASES = [
    (kind, seed, grid)
    for kind in ("blobs", "network")
    for seed in (6, 7, 10)
    for grid in [(7, 11), (13, 5), (11, 13), (17, 3)]
]


def features(kind: str, seed: int, grid: tuple[int, int]) -> torch.Tensor:
    return random_network(seed, grid, dim=23) if kind == "network" else blobs(seed, grid, dim=23, noise=0.9)


def drawn(*rows: str) -> tuple[torch.Tensor, tuple[int, int]]:
    """One-hot features of a picture in letters, a direction for each letter."""
    letters = sorted(set("".join(rows)))
    tokens = torch.tensor([[letters.index(letter) for letter in row] for row in rows])
    return torch.eye(len(letters))[tokens.flatten()], tuple(tokens.shape)


def where(rows: tuple[str, ...], letters: str) -> torch.Tensor:
    return torch.tensor([[letter in letters for letter in row] for row in rows])


@pytest.mark.parametrize(("kind", "seed", "grid"), CASES)
def test_equals_the_dense_official_rules(kind, seed, grid):
    tokens = features(kind, seed, grid)
    expected = np.stack([found.mask for found in dense_maskcut(tokens.numpy(), grid, peak_sign=1)])
    assert np.array_equal(maskcut(tokens, grid).numpy(), expected)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("tau", [0.0, 0.15, 7.0])
def test_inner_products_and_the_other_sign_equal_the_dense_rules_too(sign, tau):
    """Lengths of the features differ by up to four, so that inner products are no cosines."""
    different = 0
    for kind, seed, grid in CASES[::8]:
        tokens = features(kind, seed, grid)
        tokens = tokens * torch.linspace(0.5, 2.0, len(tokens))[:, None]
        peak = "positive" if sign == 1 else "negative"
        for affinity in ("cosine", "dot") if tau < 1 else ("dot",):
            options = {"tau": tau, "peak_sign": sign, "normalised": affinity == "cosine"}
            expected = np.stack([found.mask for found in dense_maskcut(tokens.numpy(), grid, **options)])
            masks = maskcut(tokens, grid, tau=tau, affinity=affinity, peak=peak)
            assert np.array_equal(masks.numpy(), expected)
            different += not torch.equal(masks, maskcut(tokens, grid, tau=min(tau, 0.15)))
    assert different or (sign, tau) == (1, 0.0)  # where inner products and cosines have the same edges


def test_the_sign_of_the_eigenvector_matters_only_where_its_peak_has_three_corners():
    """The official rule for both signs, on the vectors of many cuts: the positive peak is ours, and is defined."""
    different = 0
    for kind, seed, grid in CASES:
        tokens = features(kind, seed, grid)
        first = next(maskcut_rounds(tokens[None], grid))
        vector, mask = first.cut.vector[0].numpy(), first.mask[0].numpy()
        assert np.array_equal(choose(vector, grid), mask)
        peak_side = (vector > vector.mean()).reshape(grid)
        corners = peak_side[[0, 0, -1, -1], [0, -1, 0, -1]].sum()
        other = choose(-vector, grid)
        assert not (other & ~peak_side).any()
        assert np.array_equal(other, mask) == (corners < 3)
        different += corners >= 3
    assert 0 < different < len(CASES)


PAIR = (
    ".............",
    ".aaa.........",
    ".aaa.........",
    ".aaa.....bb..",
    ".........bb..",
    ".............",
    ".............",
)  # fmt: skip


class TestByHand:
    def test_one_object_is_found_once(self):
        """Painted, the object is cut off again: dropped in round 2 as the same, subtracted in round 3 as old."""
        rows = tuple(row.replace("b", ".") for row in PAIR)
        tokens, grid = drawn(*rows)
        first, second, third = maskcut_rounds(tokens[None], grid)
        assert torch.equal(first.mask[0], where(rows, "a"))
        assert not second.mask.any()
        assert not third.mask.any()
        assert third.cut is second.cut

    def test_two_objects_are_found_one_after_the_other(self):
        """The cut of smallest value parts the larger group of the two first, then the other."""
        tokens, grid = drawn(*PAIR)
        masks = maskcut(tokens, grid)
        found = {tuple(mask.flatten().tolist()) for mask in masks if mask.any()}
        assert found >= {tuple(where(PAIR, letter).flatten().tolist()) for letter in "ab"}

    def test_num_masks(self):
        tokens, grid = drawn(*PAIR)
        assert torch.equal(maskcut(tokens, grid, num_masks=1), maskcut(tokens, grid)[:1])
        assert torch.equal(maskcut(tokens, grid, num_masks=5)[:3], maskcut(tokens, grid))

    def test_three_corners_are_background(self):
        """The smaller group has the peak, but three corners: the mask is the rest of the picture."""
        rows = ("a...a", ".....", ".....", ".....", "....a")
        tokens, grid = drawn(*rows)
        assert torch.equal(maskcut(tokens, grid)[0], where(rows, "."))

    def test_two_corners_are_not(self):
        rows = ("aa..a", ".....", ".....", ".....", ".....")
        tokens, grid = drawn(*rows)
        assert torch.equal(maskcut(tokens, grid)[0], where(("aa...", *rows[1:]), "a"))

    def test_component_is_4_connected_and_the_largest_of_equal_ones(self):
        rows = (".......", ".a.....", "..aa...", "..aa...", ".......", "....aa.", ".......")
        tokens, grid = drawn(*rows)
        expected = torch.zeros(grid, dtype=torch.bool)
        expected[2:4, 2:4] = True
        assert torch.equal(maskcut(tokens, grid)[0], expected)

    def test_an_area_of_one_percent_is_dropped_from_the_second_round_on(self):
        rows = [["."] * 13 for _ in range(11)]
        for row in range(2, 6):
            rows[row][2:7] = "aaaaa"
        rows[8][9] = "b"
        picture = tuple("".join(row) for row in rows)
        tokens, grid = drawn(*picture)
        small = where(picture, "b")
        masks = maskcut(tokens, grid)
        assert masks.any(-1).any(-1).sum() == 1
        alone, _ = drawn(*(row.replace("a", ".") for row in picture))
        assert torch.equal(maskcut(alone, grid)[0], small)

    @pytest.mark.parametrize("tokens", [torch.ones(143, 5), torch.zeros(143, 5)], ids=["one colour", "zero"])
    def test_a_degenerate_image_has_no_object(self, tokens):
        found = list(maskcut_rounds(tokens[None], GRID))
        assert all(each.cut.degenerate.item() for each in found)
        assert not any(each.mask.any() for each in found)


def test_masks_do_not_overlap_and_lie_in_their_foreground():
    for kind, seed, grid in CASES[::7]:
        rounds = list(maskcut_rounds(features(kind, seed, grid)[None], grid))
        assert torch.stack([each.mask for each in rounds]).sum(0).max() == 1
        assert all((each.mask <= each.foreground).all() for each in rounds)


@pytest.mark.parametrize("axis", [0, 1])
def test_mirrored_image_has_mirrored_masks(axis):
    for kind, seed, grid in CASES[::7]:
        tokens = features(kind, seed, grid)
        mirrored = tokens.unflatten(0, grid).flip(axis).flatten(0, 1)
        assert torch.equal(maskcut(mirrored, grid), maskcut(tokens, grid).flip(axis + 1))


def test_scale_of_a_feature_does_not_matter():
    tokens = features("blobs", 7, GRID)
    factors = torch.linspace(0.5, 2.0, len(tokens))[:, None]
    assert torch.equal(maskcut(tokens * factors, GRID), maskcut(tokens, GRID))


def test_batch_equals_loop(monkeypatch):
    monkeypatch.setattr("wbcore.metrics.maskcut._MAX_EDGES", {"cpu": 3 * 143**2})
    tokens = torch.stack(
        [features(*case, GRID) for case in [("blobs", 2), ("network", 3), ("blobs", 5), ("network", 7)]]
    )
    tokens[2] = 1.0
    expected = torch.stack([maskcut(one, GRID) for one in tokens])
    assert torch.equal(maskcut_batch(tokens, GRID), expected)
    assert expected.flatten(1).any(1).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("tokens", "grid", "options", "message"),
    [
        (torch.ones(144, 5), GRID, {}, r"144 tokens, but the grid 11x13 has 143"),
        (torch.full((143, 5), torch.nan), GRID, {}, r"715 values that are NaN"),
        (torch.ones(13, 5), (1, 13), {}, r"grid 1x13 is too small"),
        (torch.ones(143, 5), GRID, {"tau": 1.0}, r"tau is 1.0"),
        (torch.ones(143, 5), GRID, {"tau": -0.1}, r"tau is -0.1"),
        (torch.ones(143, 5), GRID, {"tau": -0.1, "affinity": "dot"}, r"tau is -0.1"),
        (torch.ones(143, 5), GRID, {"tau": float("inf"), "affinity": "dot"}, r"tau is inf"),
        (torch.ones(143, 5), GRID, {"num_masks": 0}, r"num_masks is 0"),
    ],
)
def test_bad_input_is_named(tokens, grid, options, message):
    with pytest.raises(InputError, match=message):
        maskcut(tokens, grid, **options)
