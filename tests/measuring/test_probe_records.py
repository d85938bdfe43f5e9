"""Probes recorded, on a model whose outliers are planted and so known."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.planted import CONFIG, PLACES, planted
from wbcore.data.example import Example
from wbcore.errors import InputError
from wbcore.measuring.norm_records import read_norms
from wbcore.measuring.probe_records import (
    global_records,
    local_records,
    outlier_threshold,
    patch_kinds,
    read_patches,
    read_tokens,
    register_cosine,
    sides,
)
from wbcore.metrics.local_probes import position_errors, reconstruction_errors
from wbcore.metrics.norms import valley_threshold
from wbcore.metrics.probes import fit_linear
from wbcore.recording import probe_recording
from wbcore.recording.cells import Place
from wbcore.recording.networks import CURED, PRETRAINED, cured, fix
from wbcore.recording.probe_recording import EMPTY, global_cells, global_data, local_cells, local_data
from wbcore.recording.register_subjects import Loaded, Network
from wbcore.records import Origin, select
from wbcore.showing import shown_batches

THRESHOLD, SIDE, GRID = 50.0, 18, (6, 6)
FIT, SCORE = 23, 19
NORMAL = [place for place in range(36) if place not in PLACES]
CORNERS, SIDES = (0, 5, 30, 35), (3, 18, 23, 33)


class Photographs:
    """Noise, brighter from class to class."""

    def __init__(self, count: int, seed: int):
        rng = np.random.default_rng(seed)
        shades = rng.integers(3, size=count)
        images = [rng.integers(80 * shade, 80 * shade + 90, size=(SIDE, SIDE, 3), dtype=np.uint8) for shade in shades]
        self.examples = [
            Example(f"{number}", image, label=2 * int(shade))
            for number, (image, shade) in enumerate(zip(images, shades, strict=True))
        ]
        self.name, self.fingerprint = f"noise/{seed}", 64 * str(seed)
        self.classes: Sequence[str] = ("dark", "grey", "bright")

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


@pytest.fixture(scope="module")
def fit():
    return Photographs(FIT, 1)


@pytest.fixture(scope="module")
def score():
    return Photographs(SCORE, 2)


@pytest.fixture(scope="module")
def model():
    return planted(replace(CONFIG, image_size=SIDE))


@pytest.fixture(scope="module")
def moved(model, fit):
    """The same without outliers."""
    return cured(model, fit, fix(model, fit))[0]


def measured(known, asked, threshold: float | None = THRESHOLD, *, before=None, **said):
    return local_records(known, asked, Origin("double", "noise", "test", **said), threshold=threshold, before=before)


@pytest.fixture(scope="module")
def known(model, fit):
    return read_patches(model, fit)


@pytest.fixture(scope="module")
def asked(model, score):
    return read_patches(model, score)


@pytest.fixture(scope="module")
def records(known, asked):
    return measured(known, asked, seed=3, weights_sha256=64 * "9", settings={"moved": []})


def one(records, metric, subject):
    (found,) = select(records, metric=metric, model=subject)
    return found


def test_patches_are_read_after_the_final_norm_and_judged_before_it(model, score):
    found = read_patches(model, score)
    assert found.grid == GRID
    assert found.data == {"dataset": "noise/2", "size": SIDE, "fingerprint": 64 * "2"}
    for index in (0, 16, SCORE - 1):
        image = model.normalise(torch.from_numpy(score[index].image).permute(2, 0, 1)[None])
        with torch.no_grad():
            last = model.tokens(image)[0, 1:]
            torch.testing.assert_close(found.tokens[index], model.norm(last))
            torch.testing.assert_close(found.norms[index], last.square().sum(-1).sqrt())
        assert torch.equal(found.pixels[index, 7].view(3, 3, 3), image[0, :, 3:6, 3:6])  # the second of the second row


def test_tokens_of_an_inner_layer_and_norms_of_the_last(model, score):
    inner, last = read_patches(model, score, layer=0), read_patches(model, score)
    assert torch.equal(inner.norms, last.norms)
    shown = next(iter(shown_batches(model, score)))
    with torch.no_grad():
        expected = model.norm(model.tap(shown, "tokens", 0))[:, 1:]
    torch.testing.assert_close(inner.tokens[: len(shown)], expected)
    assert not torch.equal(inner.tokens, last.tokens)


def test_kinds_of_patches(model, score):
    norms = read_patches(model, score).norms
    kinds = patch_kinds(norms, GRID, threshold=THRESHOLD)
    rows, cols = np.divmod(np.arange(36), 6)
    on_border = {int(place) for place in np.flatnonzero((rows % 5 == 0) | (cols % 5 == 0))}
    expected = {
        "outliers": set(PLACES),
        "normal": set(NORMAL),
        "border": on_border - set(PLACES),
        "corners": set(CORNERS),
    }
    for kind, places in expected.items():
        assert kinds[kind].shape == norms.shape
        assert all(set(image.nonzero().flatten().tolist()) == places for image in kinds[kind])
    former = patch_kinds(norms, GRID, threshold=THRESHOLD, former=True)
    assert list(former) == ["former", "normal", "border", "corners"]
    assert torch.equal(former["former"], kinds["outliers"])
    without = patch_kinds(norms, GRID, threshold=None)
    assert list(without) == ["normal", "border", "corners"]
    assert without["normal"].all()
    assert without["border"].sum() == SCORE * len(on_border)


def test_the_middles_of_the_sides():
    assert sides((3, 5)).nonzero().flatten().tolist() == [2, 5, 9, 12]
    assert sides(GRID).nonzero().flatten().tolist() == list(SIDES)


def test_the_threshold_is_the_valley_between_planted_and_other_tokens(model, fit):
    threshold = outlier_threshold(model, fit)
    assert threshold is not None
    assert 10 < threshold < 350
    few = [fit[index] for index in (0, 4, 9, 13, 18)]  # evenly spaced
    assert outlier_threshold(model, fit, count=5) == valley_threshold(read_norms(model, few).norms[-1])


class TestLocal:
    def test_every_kind_has_the_mean_of_its_own_patches(self, records, known, asked):
        position = position_errors(known.tokens, asked.tokens, GRID)
        by_hand = {
            "position_top1": position.correct,
            "position_distance": position.distance,
            "reconstruction": reconstruction_errors(known.tokens, known.pixels, asked.tokens, asked.pixels),
            "mean_patch": (asked.pixels - known.pixels.mean(dim=(0, 1))).square().sum(-1).sqrt(),
        }
        places = {"": range(36), "_outliers": PLACES, "_normal": NORMAL, "_corners": CORNERS}
        for metric, values in by_hand.items():
            for kind, chosen in places.items():
                found = one(records, f"local/{metric}", f"double{kind}")
                assert found.value == pytest.approx(values[:, list(chosen)].mean().item(), abs=1e-5), (metric, kind)
                assert found.n == len(found.values or ()) == SCORE
        assert len(records) == 4 * 5
        for metric in ("position_top1", "reconstruction"):
            found = np.array(one(records, f"local/{metric}", "double").settings["map"])
            assert found.shape == GRID
            assert np.allclose(found.ravel(), by_hand[metric].mean(dim=0), atol=1e-3)
        assert "map" not in one(records, "local/reconstruction", "double_normal").settings

    def test_what_records_say_of_data_and_outliers(self, records):
        assert one(records, "local/position_top1", "double_outliers").settings == {
            "dataset": "noise/2",
            "size": SIDE,
            "fitted_on": "noise/1",
            "fitted_on_sha256": 64 * "1",
            "threshold": THRESHOLD,
            "images_left_out": 0,
            "moved": [],
        }
        decisive = {(each.data_sha256, each.weights_sha256, each.seeds, each.command) for each in records}
        assert decisive == {(64 * "2", 64 * "9", (3,), "test")}

    def test_an_outlier_says_that_it_is_one_and_not_where(self, records):
        """The same long vector stands at all three places: one of them is named, and right in a third of the cases."""
        assert one(records, "local/position_top1", "double_outliers").value == pytest.approx(1 / 3, abs=0.1)
        distance = one(records, "local/position_distance", "double_outliers").value
        apart = [np.hypot(a // 6 - b // 6, a % 6 - b % 6) for a in PLACES for b in PLACES]
        assert min(away for away in apart if away) / 2 < distance < max(apart)

    def test_pixels_are_lost_where_outliers_are_and_back_where_they_were(self, records, moved, fit, score, asked):
        """A long vector swallows what else is in the token; the same patches are compared in both networks."""
        healed = measured(read_patches(moved, fit), read_patches(moved, score), before=asked)
        outliers, former = (
            one(found, "local/reconstruction", name)
            for found, name in ((records, "double_outliers"), (healed, "double_former"))
        )
        assert outliers.value > 1.05 * former.value
        blind = [
            one(found, "local/mean_patch", name).values
            for found, name in ((records, "double_outliers"), (healed, "double_former"))
        ]
        assert blind[0] == blind[1]
        assert not select(healed, model="double_outliers")

    def test_images_that_lack_a_kind_are_left_out_of_every_kind(self, known, asked):
        threshold = asked.norms.amax(-1).sort().values[4].item() + 1e-4
        records = measured(known, asked, threshold=threshold)
        for kind in ("", "_outliers", "_normal", "_border", "_corners"):
            found = one(records, "local/reconstruction", f"double{kind}")
            assert found.n == SCORE - 5
            assert found.settings["images_left_out"] == 5

    def test_a_threshold_that_nothing_exceeds(self, known, asked):
        with pytest.raises(InputError, match="no image of noise/2 has patches of every kind: outliers, normal"):
            measured(known, asked, threshold=1e6)

    def test_without_outliers_every_patch_is_normal(self, known, asked):
        records = measured(known, asked, threshold=None)
        every, normal = (one(records, "local/position_top1", name) for name in ("double", "double_normal"))
        assert every.values == normal.values
        assert not select(records, model="double_outliers")


class TestGlobal:
    def test_tokens_are_those_of_their_kind(self, model, score):
        found = read_tokens(model, score, threshold=THRESHOLD, draws=7)
        patches = read_patches(model, score).tokens
        assert {kind: tuple(tokens.shape) for kind, tokens in found.features.items()} == {
            "cls": (1, SCORE, CONFIG.dim),
            **dict.fromkeys(("outliers", "normal", "border", "corners", "sides"), (7, SCORE, CONFIG.dim)),
        }
        assert found.labels.tolist() == [example.label for example in score]
        seen = {"outliers": set(), "normal": set(), "corners": set(), "sides": set()}
        for kind, places in seen.items():
            for draw in found.features[kind]:
                for index in range(SCORE):
                    (place,) = (patches[index] - draw[index]).abs().amax(-1).lt(1e-5).nonzero().flatten().tolist()
                    places.add(place)
        assert seen == {"outliers": set(PLACES), "normal": set(NORMAL), "corners": set(CORNERS), "sides": set(SIDES)}
        with torch.no_grad():
            first = torch.cat([model.norm(model.tokens(shown))[:, 0] for shown in shown_batches(model, score)])
        torch.testing.assert_close(found.features["cls"][0], first)

    def test_the_same_patches_are_drawn_in_both_networks_and_the_register_is_read(self, model, moved, score):
        found = read_tokens(moved, score, threshold=THRESHOLD, before=model, draws=3, seed=5)
        there = read_tokens(model, score, threshold=THRESHOLD, draws=3, seed=5)
        tokens = {"former": read_patches(moved, score).tokens, "outliers": read_patches(model, score).tokens}
        places = {}
        for kind, reading in (("former", found), ("outliers", there)):
            away = (reading.features[kind][:, :, None] - tokens[kind]).abs().amax(-1)
            assert away.amin(-1).max() < 1e-5
            places[kind] = away.argmin(-1)
        assert torch.equal(places["former"], places["outliers"])
        assert list(found.features) == ["cls", "register", "former", "normal", "border", "corners", "sides"]
        with torch.no_grad():
            registers = torch.cat([moved.norm(moved.tokens(shown))[:, 1:2] for shown in shown_batches(moved, score)])
        torch.testing.assert_close(found.features["register"], registers.transpose(0, 1))

    def test_images_without_a_kind_are_left_out(self, model, score):
        largest = read_patches(model, score).norms.amax(-1)
        threshold = largest.sort().values[4].item() + 1e-4
        found = read_tokens(model, score, threshold=threshold, draws=1)
        assert found.labels.tolist() == [score[index].label for index in (largest > threshold).nonzero().flatten()]
        assert found.data["images_left_out"] == 5
        with pytest.raises(InputError, match="no image of noise/2 has patches of every kind"):
            read_tokens(model, score, threshold=1e6)

    def test_an_image_without_a_label(self, model):
        unlabelled = Photographs(3, 4)
        unlabelled.examples[1] = replace(unlabelled[1], label=None)
        with pytest.raises(InputError, match="1 of noise/4 has no label"):
            read_tokens(model, unlabelled, threshold=None)

    def test_top1_is_the_mean_over_draws_and_the_spread_their_deviation(self, model, fit, score):
        known, asked = (read_tokens(model, images, threshold=THRESHOLD, draws=3) for images in (fit, score))
        records = global_records(known, asked, Origin("double", "noise", "test", 3), strengths=(0.1,))
        for kind in ("cls", "outliers", "normal", "border", "corners", "sides"):
            tops = []
            for known_tokens, asked_tokens in zip(known.features[kind], asked.features[kind], strict=True):
                probe = fit_linear(known_tokens, known.labels, strengths=(0.1,))
                tops.append((probe.predict(asked_tokens) == asked.labels).double().mean().item())
            found = one(records, "global/top1", f"double_{kind}")
            assert found.value == pytest.approx(np.mean(tops))
            assert found.settings["choices"] == pytest.approx(tops, abs=1e-4)
            assert found.settings["strengths"] == [0.1] * len(tops)
            assert (found.settings["classes"], found.n, len(found.values or ())) == (3, SCORE, SCORE)
            if kind == "cls":
                assert len(tops) == 1
                assert not select(records, metric="global/spread", model="double_cls")
            else:
                spread = one(records, "global/spread", f"double_{kind}")
                assert spread.value == pytest.approx(np.std(tops, ddof=1))
                assert (spread.n, spread.low) == (3, None)
        assert one(records, "global/top1", "double_normal").value > 0.8  # brightness is in every normal patch

    def test_every_register_is_a_choice_of_its_own(self, fit, score):
        with_two = planted(replace(CONFIG, image_size=SIDE, num_registers=2))
        known, asked = (read_tokens(with_two, images, threshold=None, draws=1) for images in (fit, score))
        assert known.features["register"].shape == (2, FIT, CONFIG.dim)
        records = global_records(known, asked, Origin("double", "noise", "test"), strengths=(0.1,))
        assert len(one(records, "global/top1", "double_register").settings["choices"]) == 2
        assert one(records, "global/spread", "double_register").n == 2
        assert not select(records, metric="global/spread", model="double_normal")

    def test_how_alike_registers_are(self, model, score):
        three = planted(replace(CONFIG, image_size=SIDE, num_registers=3))
        reading = read_tokens(three, score, threshold=None, draws=1)
        a, b, c = reading.features["register"]
        by_hand = sum(torch.cosine_similarity(x, y).mean() for x, y in ((a, b), (a, c), (b, c))) / 3
        assert register_cosine(reading) == pytest.approx(float(by_hand), abs=1e-5)
        same = replace(reading, features={"register": a.expand(5, -1, -1)})
        assert register_cosine(same) == pytest.approx(1)
        assert register_cosine(replace(reading, features={"register": a[None]})) is None
        assert register_cosine(read_tokens(model, score, threshold=None, draws=1)) is None

    def test_a_class_that_was_never_seen(self, model, fit, score):
        known, asked = (read_tokens(model, images, threshold=None, draws=1) for images in (fit, score))
        strange = replace(asked, labels=asked.labels + 1)
        with pytest.raises(InputError, match="never occurs in the training data"):
            global_records(known, strange, Origin("double", "noise", "test"), strengths=(0.1,))


class TestCells:
    @pytest.fixture(autouse=True)
    def _networks(self, model, moved, monkeypatch):
        every = {"vit": moved, "untrained_vit": moved, PRETRAINED: model, CURED: moved}

        def register_networks(place):
            for name, network in every.items():
                seed = None if name in (PRETRAINED, CURED) else 0
                if seed == 0 or place.data_root is not None:
                    yield Network(name, seed, lambda network=network, seed=seed: Loaded(network, seed, 64 * "1"))

        monkeypatch.setattr(probe_recording, "register_networks", register_networks)
        monkeypatch.setattr(probe_recording, "LAYERS", (1, 3))

    @pytest.fixture
    def images(self, monkeypatch):
        opened, fit, score = [], Photographs(13, 1), Photographs(5, 2)

        def open_(measurement, _data_root):
            opened.append((measurement.data, measurement.split))
            return fit if "train" in measurement.split else score

        monkeypatch.setattr(probe_recording.Measurement, "open", open_)
        return opened

    def test_photographs_only_where_they_are(self, tmp_path):
        def subjects(cells, data_root):
            return [(cell.subject, cell.data) for cell in cells(Place(tmp_path, data_root, "cpu"))]

        assert subjects(local_cells, None) == [("vit", "cutouts")]
        assert subjects(global_cells, None) == [("vit", "cutouts_transfer")]
        along = [(f"{PRETRAINED}{ending}", "coco200") for ending in ("", "_layer1", "_layer3")]
        cured_along = [(name.replace(PRETRAINED, CURED), data) for name, data in along]
        lab = [("vit", "cutouts"), ("vit", "coco200")]
        assert subjects(local_cells, tmp_path) == lab + along + cured_along
        both = [(name, data) for name in (PRETRAINED, CURED, EMPTY) for data in ("cutouts_transfer", "imagenette")]
        assert subjects(global_cells, tmp_path) == [("vit", "cutouts_transfer"), *both]

    def test_a_cell_measures_what_it_is_named_after(self, images, tmp_path, monkeypatch):
        monkeypatch.setattr(probe_recording, "read_tokens", partial(read_tokens, draws=1))
        place = Place(tmp_path, tmp_path, "cpu")
        for cells, metric, data in (
            (local_cells, "local/reconstruction", "coco200"),
            (global_cells, "global/top1", "imagenette"),
        ):
            found = {cell.subject: list(cell.measure("test")) for cell in cells(place) if cell.data == data}
            assert images[-2:] == [(data, "train"), (data, "val")]
            outliers = one(found[PRETRAINED], metric, f"{PRETRAINED}_outliers")
            former = one(found[CURED], metric, f"{CURED}_former")
            assert outliers.settings["threshold"] == former.settings["threshold"] != THRESHOLD
            assert {record.data for records in found.values() for record in records} == {data}
            assert outliers.weights_sha256 == 64 * "1"
            assert (outliers.seeds, outliers.command) == ((), "test")
            layers = {f"{name}_layer{layer}" for name in (PRETRAINED, CURED) for layer in (1, 3)}
            assert set(found) == {PRETRAINED, CURED} | ({"vit"} | layers if data == "coco200" else {EMPTY})
            if data == "coco200":
                inner, last = found[f"{PRETRAINED}_layer1"], found[f"{PRETRAINED}_layer3"]
                assert one(last, metric, f"{PRETRAINED}_layer3_outliers").values == outliers.values
                assert one(inner, metric, f"{PRETRAINED}_layer1_outliers").value < outliers.value
                assert len(inner) == 4  # of the inner layers only what is shown
            else:
                still, former = (select(found[EMPTY], model=f"{EMPTY}_{kind}") for kind in ("outliers", "former"))
                assert still
                assert not former
                assert one(found[EMPTY], metric, f"{EMPTY}_register").settings["choices"] != []

    def test_nothing_that_is_scored_was_fitted_on(self):
        """Scenes of one seed have the same objects at the same places in every split."""
        for pairs in (local_data(72), global_data(72)):
            for fit, score in pairs.values():
                assert fit.split != score.split
                assert fit.data == score.data
                if fit.data == "cutouts":
                    assert fit.seed != score.seed
