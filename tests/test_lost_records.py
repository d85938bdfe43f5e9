"""CorLoc recorded: what a model's features are made to say, and that nothing is chosen on what is measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import tiny
from tests.planted import CONFIG, planted
from wbcore import lost_recording
from wbcore.cells import Place
from wbcore.data.example import VOID, Example
from wbcore.errors import InputError
from wbcore.lost_recording import FULL, MEASURED, lost_cells
from wbcore.lost_records import (
    BIASES,
    FEW_BIASES,
    METRICS,
    SHARES,
    TREATMENTS,
    Origin,
    Seen,
    Sweep,
    Way,
    box_hits,
    box_records,
    candidates,
    centred_box,
    choose,
    differing,
    facets,
    lost_records,
    measure,
    object_boxes,
    picture,
    see,
    stock,
    sweep,
    treated,
)
from wbcore.metrics.attention import NoObjectError
from wbcore.metrics.lost import Box, discover, lost
from wbcore.records import select
from wbcore.register_subjects import Loaded, Network
from wbcore.segmentation_study import VIT_TINY

SIDE = 18
PLACES = (-0.3, 0.0, 0.2)


class Photographs(list):
    name, fingerprint, classes = "noise", 64 * "0", ("any",)


@pytest.fixture
def dataset():
    """Photographs of several sizes, each with a bright rectangle that is its object; the third has none."""
    rng = np.random.default_rng(0)
    found = Photographs()
    for number in range(7):
        height, width = (19, 23) if number % 2 else (29, 17)
        image = rng.integers(90, size=(height, width, 3), dtype=np.uint8)
        mask = np.zeros((1, height, width), bool)
        mask[0, 3 : 3 + height // 2, 2 : 2 + width // 2 + number] = True
        image[mask[0]] = 200
        instances = mask if number != 2 else mask[:0]
        found.append(Example(f"{number}", image, instances=instances, crowd=np.zeros(len(instances), bool)))
    return found


@pytest.fixture
def model():
    return planted(replace(CONFIG, image_size=SIDE))


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


def by_floats(box: Box, truth: np.ndarray, scale: tuple[float, float]) -> bool:
    """IoU of at least one half, the box in pixels of the photograph."""
    left, right = box.left * scale[0], box.right * scale[0]
    top, bottom = box.top * scale[1], box.bottom * scale[1]
    best = 0.0
    for x0, y0, x1, y1 in truth:
        both = max(0.0, min(right, x1) - max(left, x0)) * max(0.0, min(bottom, y1) - max(top, y0))
        best = max(best, both / ((right - left) * (bottom - top) + (x1 - x0) * (y1 - y0) - both))
    return best >= 0.5


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
    def test_squares_are_what_the_model_sees(self, model, dataset):
        found = list(see(model, dataset))
        assert len(found) == 7
        assert {one.grid for one in found} == {(6, 6)}
        assert {one.patch_size for one in found} == {None}
        assert list(found[0].features) == ["keys", "queries", "values"]
        assert found[3].example is dataset[3]

    def test_own_size_continues_the_normalised_image_with_zeros(self, model, dataset):
        found = list(see(model, dataset, own_size=True))
        assert [one.grid for one in found[:2]] == [(10, 6), (7, 8)]
        image = model.normalise(torch.from_numpy(dataset[1].image).permute(2, 0, 1)[None])
        padded = torch.zeros(1, 3, 21, 24)
        padded[..., :19, :23] = image
        with torch.no_grad():
            expected = model.layout(padded).patches(model.tap(padded, "values"))[0]
        torch.testing.assert_close(found[1].features["values"], expected)

    def test_crate_gives_its_projections(self, dataset):
        crate = tiny.model().eval()
        assert facets(crate) == ("projections",)
        assert stock(crate) == ("projections", "scaled", 0.0)
        assert list(next(see(crate, dataset)).features) == ["projections"]


def test_a_sweep_is_lost_one_by_one(model, dataset):
    found = sweep(see(model, dataset), biases=PLACES)
    assert found.left_out == 1
    assert set(found.numbers) == {(facet, treatment) for facet in facets(model) for treatment in TREATMENTS}
    images = [one for one in see(model, dataset) if len(one.example.instances)]
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


def test_no_object_at_all(model, dataset):
    with pytest.raises(NoObjectError, match="none of 1 images has an object"):
        sweep(see(model, dataset[2:3]), biases=PLACES)


def made(table: dict[tuple[str, str], list[list[int]]], *, places=PLACES) -> Sweep:
    return Sweep(places, {name: np.array(rows, float)[..., None] for name, rows in table.items()}, 1)


class TestChoosing:
    found = made(
        {
            ("keys", "scaled"): [[1, 0, 1], [0, 0, 1]],
            ("keys", "unit"): [[0, 1, 0], [0, 1, 0]],
            ("values", "scaled"): [[1, 0, 1], [1, 0, 0]],
        }
    )

    def test_of_equal_ones_the_bias_nearest_to_zero(self):
        assert choose(self.found) == ("keys", "unit", 0.0)
        assert choose(self.found, facet="values") == ("values", "scaled", -0.3)

    def test_what_is_recorded_was_chosen_elsewhere(self, model, dataset):
        here = sweep(see(model, dataset), biases=PLACES)
        there = made({name: [[0, 0, 1]] if name == ("values", "unit") else [[0, 0, 0]] for name in here.numbers})
        origin = Origin("double", "noise", dataset, "others", "test", seed=3)
        records = lost_records(model, there, here, origin)
        (best,) = select(records, metric="corloc", model="double")
        assert (best.settings["facet"], best.settings["treatment"], best.settings["bias"]) == ("values", "unit", 0.2)
        assert best.values == tuple(here.of(Way("values", "unit", 0.2)))
        assert best.settings["chosen_on"] == "others"
        assert best.settings["images_without_object"] == 1
        assert (best.n, best.seeds) == (6, (3,))
        for metric in METRICS[1:]:
            (one,) = select(records, metric=metric, model="double_stock")
            assert one.values == pytest.approx(here.of(stock(model), metric), abs=1e-4)
        assert {one.model for one in select(records, metric="corloc")} == {
            "double",
            *(f"double_{ending}" for ending in ("stock", "keys", "queries", "values")),
        }
        (curve,) = select(records, metric="corloc/unit", model="double_values")
        assert curve.settings["places"] == list(PLACES)
        assert curve.settings["curve_where_chosen"] == [0, 0, 1]
        shares = here.hits("values", "unit").mean(axis=0)
        assert [value for value, _, _ in curve.settings["curve"]] == pytest.approx(shares.tolist(), abs=1e-4)
        assert all(low <= value <= high for value, low, high in curve.settings["curve"])


def test_measuring_is_choosing_on_the_others_and_scoring_here(model, dataset):
    others = Photographs(dataset[3:5])
    records = measure(model, others, dataset, name="double", data="noise", command="test", biases=PLACES)
    way = choose(sweep(see(model, others), biases=PLACES))
    (best,) = select(records, metric="corloc", model="double")
    assert best.values == tuple(sweep(see(model, dataset), biases=PLACES).of(way))
    assert [best.settings[name] for name in way._fields] == list(way)


def test_how_many_images_differ():
    short, long = (tiny.record(0.5, n=len(values), values=values) for values in ((1.0, 0.0), (1.0, 1.0, 0.0)))
    assert differing(short, long) == 0.5
    with pytest.raises(InputError, match="no values of all images"):
        differing(long, short)


def test_a_picture_shows_what_was_measured(model, dataset):
    found = picture(model, dataset, stock(model))
    hits = sweep(see(model, dataset), biases=(0.0,)).of(stock(model))
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
    nameless = [Example("", dataset[0].image)]
    assert picture(model, nameless, stock(model))[0].right is None


class TestBoxes:
    def test_a_centred_box_covers_its_share(self):
        box = centred_box(Example("", np.zeros((29, 17, 3), np.uint8)), 0.3)
        area = (box.right - box.left) * (box.bottom - box.top)
        assert area / (29_000 * 17_000) == pytest.approx(0.3, abs=2e-3)
        assert box.left + box.right == 17_000
        assert box.top + box.bottom == 29_000

    def test_against_floats(self, dataset):
        hits = box_hits(dataset, (*SHARES, 1.0))
        kept = [one for one in dataset if len(one.instances)]
        for row, example in zip(hits, kept, strict=True):
            for share, hit in zip((*SHARES, 1.0), row, strict=True):
                box = centred_box(example, share)
                assert hit == by_floats(box, object_boxes(example), (0.001, 0.001))
        assert hits.any()
        assert not hits.all()

    def test_the_share_is_chosen_elsewhere(self, dataset):
        whole = np.ones((1, 19, 23), bool)
        others = Photographs([Example("", np.zeros((19, 23, 3), np.uint8), instances=whole)])
        box, image = box_records(others, Origin("boxes", "noise", dataset, "others", "test"))
        assert (box.model, image.model) == ("centred_box", "whole_image")
        assert box.settings["share"] == 0.5  # every larger share is right, too
        assert image.values == tuple(box_hits(dataset, (1.0,))[:, 0])


class TestCells:
    def test_which_networks_on_which_data(self, tmp_path):
        assert list(lost_cells(Place(tmp_path, None, "cpu"))) == []
        weights = tmp_path / "weights" / VIT_TINY
        weights.parent.mkdir()
        weights.touch()
        found = [(cell.subject, cell.data) for cell in lost_cells(Place(tmp_path, tmp_path, "cpu"))]
        assert len(found) == len(set(found))
        assert {data for name, data in found if name == "crate"} == {"coco200", "weizmann", "cutouts"}
        assert {name for name, data in found if data == "coco200_full"} == set(FULL)
        assert {data for _, data in found} == set(MEASURED)

    def test_a_cell_measures_what_it_is_named_after(self, tmp_path, monkeypatch, dataset, model):
        asked = []

        def images(data, split, limit, _place, *, size):
            asked.append((data, split, limit, size))
            return dataset

        network = Network(FULL[0], None, lambda: Loaded(model, None, 64 * "1", {"moved": []}))
        monkeypatch.setattr(lost_recording, "register_networks", lambda _: iter([network]))
        monkeypatch.setattr(lost_recording, "images", images)
        cells = {(one.subject, one.data): one for one in lost_cells(Place(tmp_path, tmp_path, "cpu"))}
        records = list(cells[FULL[0], "cutouts"].measure("test"))
        assert asked == [("coco200", "train", None, SIDE), ("cutouts", "segmentation", 200, SIDE)]
        (one,) = select(records, metric="corloc", model=FULL[0])
        assert (one.data, one.settings["size"], one.settings["moved"], one.weights_sha256) == (
            "cutouts",
            SIDE,
            [],
            64 * "1",
        )
        (full,) = select(cells[FULL[0], "coco200_full"].measure("test"), metric="corloc", model=FULL[0])
        assert full.settings["size"] == "own"
        assert asked[2:] == [("coco200", "train", None, SIDE), ("coco200", "val", None, SIDE)]
        boxes = list(cells["boxes", "coco200"].measure("test"))
        assert {one.model for one in boxes} == {"centred_box", "whole_image"}

    def test_the_few_biases_are_among_the_many(self):
        assert set(FEW_BIASES) <= set(BIASES)
