"""LOST against its steps written as loops, and on images small enough to see the answer."""

from functools import partial

import numpy as np
import pytest
import torch

from benchmarks.reference.features import blobs, random_network
from wbcore.errors import InputError
from wbcore.metrics.attention import NoObjectError
from wbcore.metrics.lost import Box, box_in_pixels, discover, localises, lost, mask_boxes, pad_to_patches

GRIDS = [(7, 11), (13, 5), (17, 3)]


def by_loops(features: torch.Tensor, grid: tuple[int, int], k: int, bias: float) -> tuple[list[int], int, set[int]]:
    """Degrees, seed and component, patch by patch; the component by walking from the seed."""
    points, (rows, cols) = features.double().numpy(), grid
    n = len(points)
    alike = [[float(a @ b) + bias for b in points] for a in points]
    degree = [sum(alike[i][j] > 0 for j in range(n) if j != i) for i in range(n)]
    order = sorted(range(n), key=lambda i: (degree[i], i))
    seed = order[0]
    chosen = [i for i in order[:k] if alike[seed][i] > 0]
    total = [sum(alike[i][j] for i in chosen) for j in range(n)]
    found, ahead = {seed}, [seed]
    while ahead:
        row, col = divmod(ahead.pop(), cols)
        for r, c in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
            place = r * cols + c
            if 0 <= r < rows and 0 <= c < cols and place not in found and total[place] > 0:
                found.add(place)
                ahead.append(place)
    return degree, seed, found


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("make", [partial(blobs, noise=0.9), random_network], ids=["blobs", "network"])
def test_equals_the_loops(make, grid):
    sizes = set()
    for seed, k, bias in [(2, 7, 0.0), (3, 31, 0.0), (5, 31, -2.0), (7, 13, 1.0)]:
        features = make(seed, grid, dim=23)
        features -= features.mean(dim=0)
        degree, start, component = by_loops(features, grid, k, bias)
        (found,) = discover(features, grid, k=k, biases=(bias,))
        assert found.degree.flatten().tolist() == degree
        assert found.seed == divmod(start, grid[1])
        assert set(found.mask.flatten().nonzero().flatten().tolist()) == component
        sizes.add(len(component))
    assert len(sizes) > 1


def drawn(*rows: str) -> tuple[torch.Tensor, tuple[int, int]]:
    """Features of a picture: what has the same letter is alike, other letters and the background are opposed."""
    letters = sorted(set("".join(rows)) - {"."})
    features = -0.1 * torch.ones(len(rows) * len(rows[0]), len(letters) + 1)
    for place, letter in enumerate("".join(rows)):
        if letter != ".":
            features[place] = torch.nn.functional.one_hot(torch.tensor(letters.index(letter)), len(letters) + 1)
    return features, (len(rows), len(rows[0]))


PICTURE = (
    "...........",
    "..aaa......",
    "..aa....b..",
    "...........",
    "...........",
)  # fmt: skip


class TestByHand:
    def test_the_object_with_fewest_patches_is_found(self):
        features, grid = drawn(*PICTURE)
        (found,) = discover(features, grid, k=31)
        assert found.seed == (2, 8)
        assert found.box == Box(left=8, top=2, right=9, bottom=3)
        only_a, _ = drawn(*(row.replace("b", ".") for row in PICTURE))
        assert lost(only_a, grid, k=31) == Box(left=2, top=1, right=5, bottom=3)

    def test_the_component_is_the_seeds_and_4_connected(self):
        features, grid = drawn("aa...", "..a..", "....a", ".....", ".....", ".....", ".....")
        (found,) = discover(features, grid, k=5)
        assert found.seed == (0, 0)
        assert (found.expansion.flatten() > 0).sum() == 4
        assert found.box == Box(0, 0, 2, 1)

    def test_of_tied_degrees_the_first_in_reading_order_is_the_seed(self):
        """Constant features: every patch is like every other, and the object is the image."""
        (found,) = discover(torch.ones(35, 3), (5, 7), k=11)
        assert found.degree.unique().tolist() == [34]
        assert found.seed == (0, 0)
        assert found.box == Box(0, 0, 7, 5)

    @pytest.mark.parametrize(("features", "bias"), [(torch.zeros(35, 3), 0.0), (torch.ones(35, 3), -5.0)])
    def test_a_seed_that_resembles_nothing_is_alone(self, features, bias):
        assert lost(features, (5, 7), k=11, bias=bias) == Box(0, 0, 1, 1)

    def test_a_bias_decides_what_is_alike(self):
        features, grid = drawn(*PICTURE)
        none, all_ = discover(features, grid, k=31, biases=(-1.5, 1.5))
        assert none.mask.sum() == 1
        assert none.degree.max() == 0
        assert all_.mask.all()

    def test_a_sweep_is_one_run_after_the_other(self):
        features = blobs(3, (7, 11), dim=23, noise=0.9)
        features -= features.mean(dim=0)
        biases = (-1.0, 0.0, 0.5)
        found = [each.box for each in discover(features, (7, 11), k=31, biases=biases)]
        assert found == [lost(features, (7, 11), k=31, bias=bias) for bias in biases]


def test_turning_the_image_turns_the_box():
    features, (rows, cols) = drawn(*PICTURE)
    turned = features.unflatten(0, (rows, cols)).transpose(0, 1).flatten(0, 1)
    left, top, right, bottom = lost(features, (rows, cols), k=31)
    assert lost(turned, (cols, rows), k=31) == Box(top, left, bottom, right)


def test_the_scale_of_the_features_does_not_matter():
    features = blobs(5, (7, 11), dim=23, noise=0.9) - 0.3
    assert lost(37 * features, (7, 11), k=31) == lost(features, (7, 11), k=31)


def test_a_padded_image_keeps_its_pixels_and_its_box_stays_inside():
    image = torch.randn(2, 3, 17, 29, generator=torch.Generator().manual_seed(0))
    padded = pad_to_patches(image, 5)
    assert padded.shape == (2, 3, 20, 30)
    assert torch.equal(padded[..., :17, :29], image)
    assert not padded[..., 17:, :].any()
    assert not padded[..., 29:].any()
    assert torch.equal(pad_to_patches(padded, 5), padded)
    assert box_in_pixels(Box(1, 2, 6, 4), patch_size=5, size=(17, 29)) == Box(5, 10, 29, 17)
    assert box_in_pixels(Box(1, 2, 3, 3), patch_size=5, size=(17, 29)) == Box(5, 10, 15, 15)


class TestCorLoc:
    def test_boxes_of_masks(self):
        masks = np.zeros((3, 7, 11), bool)
        masks[0, 2:5, 3] = True
        masks[0, 4, 3:9] = True
        masks[2] = True
        assert mask_boxes(masks).tolist() == [[3, 2, 9, 5], [0, 0, 11, 7]]
        assert mask_boxes(masks[:0]).shape == (0, 4)

    @pytest.mark.parametrize(
        ("box", "expected"),
        [
            (Box(0, 0, 10, 10), True),
            (Box(0, 0, 10, 5), True),  # IoU exactly one half
            (Box(0, 0, 10, 4), False),
            (Box(20, 30, 22, 33), True),
            (Box(10, 10, 20, 20), False),
        ],
    )
    def test_any_object_counts(self, box, expected):
        assert localises(box, np.array([[0, 0, 10, 10], [20, 30, 22, 33]])) is expected

    def test_an_image_without_objects_is_left_out(self):
        with pytest.raises(NoObjectError, match="no object"):
            localises(Box(0, 0, 1, 1), np.zeros((0, 4), int))


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (torch.ones(36, 3), {}, "36 features given for a grid of 5x7"),
        (torch.ones(35, 3), {"k": 36}, "k=36: the grid has 35 patches"),
        (torch.ones(35, 3), {"k": 0}, "k=0"),
        (torch.ones(35, 3), {}, "k=100: the grid has 35 patches"),
        (torch.full((35, 3), torch.inf), {"k": 7}, "NaN or infinite"),
    ],
)
def test_bad_input_is_named(features, options, message):
    with pytest.raises(InputError, match=message):
        lost(features, (5, 7), **options)
