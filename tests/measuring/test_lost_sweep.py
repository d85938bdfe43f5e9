"""Every way of running LOST is LOST, and the chosen one is the best."""

import numpy as np
import pytest
import torch

from tests import tiny
from tests.rectangles import by_floats
from wbcore.data.example import VOID, Example
from wbcore.errors import InputError
from wbcore.measuring.lost_sweep import (
    TREATMENTS,
    Seen,
    Sweep,
    Way,
    candidates,
    choose,
    facets,
    object_boxes,
    picture,
    see,
    stock,
    sweep,
    treated,
)
from wbcore.metrics.attention import NoObjectError
from wbcore.metrics.lost import Box, discover, lost

PLACES = (-0.3, 0.0, 0.2)


def features(n: int = 35, dim: int = 11) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0)) + 0.3


class TestTreatments:
    def test_lengths(self):
        raw = features()
        scaled, unit, centred = (treated(raw, name) for name in TREATMENTS)
        assert (scaled @ scaled.T).diagonal().mean() == pytest.approx(1)
        torch.testing.assert_close(scaled / scaled[0, 0], raw.double() / raw[0, 0])
        torch.testing.assert_close(unit.norm(dim=1), torch.ones(35).double())
        torch.testing.assert_close(centred.norm(dim=1), torch.ones(35).double())
        directions = raw.double() - raw.double().mean(dim=0)
        torch.testing.assert_close((centred * directions).sum(dim=1), directions.norm(dim=1))

    def test_scaled_without_a_bias_is_lost_as_published(self):
        raw = features()
        (found,) = discover(treated(raw, "scaled"), (5, 7), k=11)
        assert found.box == lost(raw, (5, 7), k=11)

    def test_features_of_zeros_stay_finite(self):
        assert all(treated(torch.zeros(6, 3), name).isfinite().all() for name in TREATMENTS)

    def test_an_unknown_one(self):
        with pytest.raises(InputError, match="treatment='raw': choose one of scaled, unit, centred"):
            treated(features(), "raw")


def test_k_is_a_tenth_of_the_patches_and_lost_s_own_on_its_grids():
    assert [candidates(patches) for patches in (3, 81, 196, 1000, 1200)] == [1, 8, 20, 100, 100]


class TestObjects:
    def test_groups_are_none(self):
        masks = np.zeros((2, 7, 11), bool)
        masks[0, 2:5, 3:9] = True
        masks[1] = True
        one = Example("", np.zeros((7, 11, 3), np.uint8), instances=masks, crowd=np.array([False, True]))
        assert object_boxes(one).tolist() == [[3, 2, 9, 5]]

    def test_without_instances_all_that_is_no_background(self):
        semantic = np.zeros((7, 11), np.uint8)
        semantic[1:3, 4:6], semantic[6] = 1, VOID
        assert object_boxes(Example("", np.zeros((7, 11, 3), np.uint8), semantic=semantic)).tolist() == [[4, 1, 6, 3]]

    def test_unannotated(self):
        with pytest.raises(InputError, match="owl is not annotated"):
            object_boxes(Example("owl", np.zeros((7, 11, 3), np.uint8)))


def test_a_box_of_patches_against_objects_in_pixels():
    example = Example("", np.zeros((29, 17, 3), np.uint8))
    truth = np.array([[2, 3, 11, 17], [5, 5, 17, 29]])
    said = set()
    for box in (Box(0, 0, 4, 3), Box(1, 0, 5, 4), Box(1, 1, 7, 5), Box(3, 3, 6, 5), Box(0, 0, 7, 5)):
        expected = by_floats(box, truth, (17 / 7, 29 / 5))
        assert Seen(example, {}, (5, 7)).localises(box, truth) == expected
        said.add(expected)
    assert said == {True, False}
    padded = Seen(example, {}, (8, 5), patch_size=4)
    assert padded.localises(Box(1, 1, 5, 8), np.array([[4, 4, 17, 29]]))
    assert not padded.localises(Box(3, 5, 5, 8), np.array([[4, 4, 17, 29]]))


class TestSeeing:
    def test_squares_are_what_the_model_sees(self, planted_model, rectangle_photographs):
        found = list(see(planted_model, rectangle_photographs))
        assert len(found) == 7
        assert {one.grid for one in found} == {(6, 6)}
        assert {one.patch_size for one in found} == {None}
        assert list(found[0].features) == ["keys", "queries", "values"]
        assert found[3].example is rectangle_photographs[3]

    def test_own_size_continues_the_normalised_image_with_zeros(self, planted_model, rectangle_photographs):
        found = list(see(planted_model, rectangle_photographs, own_size=True))
        assert [one.grid for one in found[:2]] == [(10, 6), (7, 8)]
        image = planted_model.normalise(torch.from_numpy(rectangle_photographs[1].image).permute(2, 0, 1)[None])
        padded = torch.zeros(1, 3, 21, 24)
        padded[..., :19, :23] = image
        with torch.no_grad():
            expected = planted_model.layout(padded).patches(planted_model.tap(padded, "values"))[0]
        torch.testing.assert_close(found[1].features["values"], expected)

    def test_crate_gives_its_projections(self, rectangle_photographs):
        crate = tiny.model().eval()
        assert facets(crate) == ("projections",)
        assert stock(crate) == ("projections", "scaled", 0.0)
        assert list(next(see(crate, rectangle_photographs)).features) == ["projections"]


def test_a_sweep_is_lost_one_by_one(planted_model, rectangle_photographs):
    found = sweep(see(planted_model, rectangle_photographs), biases=PLACES)
    assert found.left_out == 1
    assert set(found.numbers) == {(facet, treatment) for facet in facets(planted_model) for treatment in TREATMENTS}
    images = [one for one in see(planted_model, rectangle_photographs) if len(one.example.instances)]
    for way in (Way("keys", "scaled", 0.0), Way("values", "centred", 0.2), Way("queries", "unit", -0.3)):
        for index, one in enumerate(images):
            given = treated(one.features[way.facet], way.treatment)
            (alone,) = discover(given, (6, 6), k=4, biases=(way.bias,))
            height, width = one.example.image.shape[:2]
            hit = by_floats(alone.box, object_boxes(one.example), (width / 6, height / 6))
            assert found.of(way)[index] == hit
            assert found.of(way, "seed_in_corner")[index] == (alone.seed in {(0, 0), (0, 5), (5, 0), (5, 5)})
            similarity = given @ given.T + way.bias
            pairs = sum(bool(similarity[i, j] > 0) for i in range(36) for j in range(36) if i != j)
            assert found.of(way, "lost_alike")[index] == pytest.approx(pairs / (36 * 35))
            left, top, right, bottom = alone.box
            assert found.of(way, "lost_covered")[index] == pytest.approx((right - left) * (bottom - top) / 36)


def test_no_object_at_all(planted_model, rectangle_photographs):
    with pytest.raises(NoObjectError, match="none of 1 images has an object"):
        sweep(see(planted_model, rectangle_photographs[2:3]), biases=PLACES)


def made(table: dict[tuple[str, str], list[list[int]]], *, places=PLACES) -> Sweep:
    return Sweep(places, {name: np.array(rows, float)[..., None] for name, rows in table.items()}, 1)


def test_of_equal_ways_the_bias_nearest_to_zero():
    found = made(
        {
            ("keys", "scaled"): [[1, 0, 1], [0, 0, 1]],
            ("keys", "unit"): [[0, 1, 0], [0, 1, 0]],
            ("values", "scaled"): [[1, 0, 1], [1, 0, 0]],
        }
    )
    assert choose(found) == ("keys", "unit", 0.0)
    assert choose(found, facet="values") == ("values", "scaled", -0.3)


def test_a_picture_shows_what_was_measured(planted_model, rectangle_photographs):
    found = picture(planted_model, rectangle_photographs, stock(planted_model))
    hits = sweep(see(planted_model, rectangle_photographs), biases=(0.0,)).of(stock(planted_model))
    kept = [one for one in found if one.right is not None]
    assert [one.right for one in kept] == hits.tolist()
    assert (found[2].right, found[2].objects) == (None, [])
    assert found[0].objects == [(2 / 17, 3 / 29, 10 / 17, 17 / 29)]
    for one in found:
        rows, cols = one.degree.shape
        column, row = int(one.seed[0] * cols), int(one.seed[1] * rows)
        assert one.degree[row, column] == one.degree.min()
        assert one.box[0] <= one.seed[0] <= one.box[2]
        assert one.box[1] <= one.seed[1] <= one.box[3]
    nameless = [Example("", rectangle_photographs[0].image)]
    assert picture(planted_model, nameless, stock(planted_model))[0].right is None
