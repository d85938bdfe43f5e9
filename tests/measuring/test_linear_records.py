"""Linear maps of frozen features recorded: against the same by hand, and on features that hold the answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import tiny
from tests.planted import CONFIG, planted
from wbcore.data.example import VOID, Example
from wbcore.errors import InputError
from wbcore.measuring.linear_records import (
    Annotation,
    Reading,
    classification_records,
    corner_accuracy,
    read,
    segmentation_records,
)
from wbcore.metrics.probes import fit_linear, k_nearest
from wbcore.metrics.segmentation import confusion, scores, tallies_from_lines, tally
from wbcore.models import model_config
from wbcore.recording import linear_recording
from wbcore.recording.cells import Place
from wbcore.recording.linear_recording import STREET_GRID, linear_cells, segmented
from wbcore.recording.networks import CURED, PRETRAINED
from wbcore.recording.register_subjects import Loaded, Network
from wbcore.records import Origin, select
from wbcore.segmentation_study import VIT_TINY

ORIGIN = Origin("double", "noise", "test", seed=3, settings={"moved": []})
GRID, SIZE = (3, 5), (17, 29)


class Pictures(list):
    def __init__(self, examples, classes=("ground", "one", "two"), name="noise"):
        super().__init__(examples)
        self.classes, self.name, self.fingerprint = classes, name, 64 * "0"


def reading(*, seed: int, count: int = 23, noise: float = 0.0) -> Reading:
    """Tokens that hold their class in one channel each, beside noise; pixels of a map have their patch's class."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    rows, cols = (np.arange(side) * count // side for side, count in zip(SIZE, GRID, strict=True))
    known, patches, tokens = [], [], []
    for number in range(count):
        grid = rng.integers(3, size=GRID)
        semantic = grid[np.ix_(rows, cols)].astype(np.uint8)
        semantic[0] = VOID
        known.append(Annotation(f"{number}", number % 3, semantic))
        patches.append(torch.nn.functional.one_hot(torch.from_numpy(grid.flatten()), 7).float())
        tokens.append(torch.nn.functional.one_hot(torch.tensor(number % 3), 7).float())
    drawn = [torch.stack(one) for one in (tokens, patches)]
    noisy = [one + noise * torch.randn(one.shape, generator=generator) for one in drawn]
    return Reading(noisy[0], noisy[1].mean(dim=1), noisy[1], GRID, known, Pictures(()), SIZE)


def one(records, metric):
    (found,) = select(records, metric=metric)
    return found


class TestClassification:
    def test_against_the_probes(self):
        fit, score = reading(seed=0, noise=0.8), reading(seed=1, count=19, noise=0.8)
        records = classification_records(fit, score, ORIGIN, strengths=(0.1,))
        labels = score.labels
        probe = fit_linear(fit.class_token, fit.labels, strengths=(0.1,))
        both = [torch.cat([each.class_token, each.patches.mean(dim=1)], dim=1) for each in (fit, score)]
        expected = {
            "linear_top1": probe.predict(score.class_token),
            "linear_top1_patches": fit_linear(both[0], fit.labels, strengths=(0.1,)).predict(both[1]),
            "knn_top1": k_nearest(fit.class_token, fit.labels, score.class_token, k=20),
        }
        assert {record.metric for record in records} == set(expected)
        for metric, predicted in expected.items():
            found = one(records, metric)
            assert found.values == tuple((predicted == labels).float().tolist())
            assert found.value == pytest.approx(float((predicted == labels).float().mean()))
        found = one(records, "linear_top1")
        assert (found.model, found.data, found.seeds, found.n) == ("double", "noise", (3,), 19)
        assert found.settings["strength"] == 0.1
        assert found.settings["fitted_on_images"] == 23
        assert found.settings["moved"] == []
        assert len({record.value for record in records}) > 1

    def test_what_the_token_says_is_found(self):
        records = classification_records(reading(seed=0), reading(seed=1), ORIGIN)
        assert [record.value for record in records] == [1, 1, 1]

    def test_images_without_a_label(self):
        fit = reading(seed=0)
        nameless = replace(fit, annotations=[fit.annotations[0]._replace(label=None)])
        with pytest.raises(InputError, match="0 of noise has no label"):
            classification_records(fit, nameless, ORIGIN)


class TestSegmentation:
    def test_what_the_patches_say_is_found(self):
        records = segmentation_records(reading(seed=0), reading(seed=1), ORIGIN)
        assert one(records, "linear_segmentation/miou").value > 0.65  # edges are smoothed
        assert one(records, "linear_segmentation/pa").value > 0.8
        assert one(records, "linear_segmentation_corners").n == 23
        chance = segmentation_records(reading(seed=0, noise=100), reading(seed=1), ORIGIN, strengths=(0.01,))
        assert one(chance, "linear_segmentation/miou").value < 0.4

    def test_against_scores_of_the_predictions(self, monkeypatch):
        score = reading(seed=1, count=5)
        rng = np.random.default_rng(3)
        guesses = [rng.integers(3, size=SIZE) for _ in score.annotations]
        given = iter(guesses)
        monkeypatch.setattr("wbcore.measuring.linear_records.segment", lambda *_: torch.from_numpy(next(given)))
        records = segmentation_records(reading(seed=0), score, ORIGIN)
        maps = [one.numpy() for one in score.maps()]
        tallies = tally(confusion(guess, truth, classes=3) for guess, truth in zip(guesses, maps, strict=True))
        found = one(records, "linear_segmentation/miou")
        assert found.value == pytest.approx(scores(tallies).miou.value)
        assert one(records, "linear_segmentation/pa").value == pytest.approx(scores(tallies).pa.value)
        np.testing.assert_array_equal(tallies_from_lines(found.tallies).agreed, tallies.agreed)
        corners = [corner_accuracy(guess, truth, GRID) for guess, truth in zip(guesses, maps, strict=True)]
        assert one(records, "linear_segmentation_corners").values == pytest.approx(corners, abs=1e-4)

    def test_foreground_is_all_that_is_no_background(self):
        score = reading(seed=1)
        truth, maps = score.maps(), score.maps(foreground=True)
        assert {int(value) for one in maps for value in one.unique()} == {0, 1, VOID}
        for classes, whether in zip(truth, maps, strict=True):
            assert torch.equal(whether == VOID, classes == VOID)
            assert torch.equal(whether == 0, classes == 0)
        records = segmentation_records(reading(seed=0), score, ORIGIN, foreground=True, strengths=(0.1,))
        assert {record.metric for record in records} == {
            "linear_foreground/miou",
            "linear_foreground/pa",
            "linear_foreground_corners",
        }
        assert one(records, "linear_foreground/miou").value > 0.65

    def test_images_without_a_map(self):
        fit = reading(seed=0)
        bare = replace(fit, annotations=[fit.annotations[0]._replace(semantic=None)])
        with pytest.raises(InputError, match="0 of noise has no map of classes"):
            segmentation_records(fit, bare, ORIGIN)


def test_the_corners():
    labels = np.zeros((7, 11), np.uint8)
    predicted = np.zeros((7, 11), int)
    predicted[0, 0] = 1  # a corner's, of 4 × 3 × 3 pixels
    predicted[3, 5] = 1
    assert corner_accuracy(predicted, labels, (3, 4)) == pytest.approx(35 / 36)
    labels[0, 0] = VOID
    assert corner_accuracy(predicted, labels, (3, 4)) == 1
    labels[:] = VOID
    assert corner_accuracy(predicted, labels, (3, 4)) is None


class TestReading:
    def test_against_the_model_image_by_image(self):
        model = planted(replace(CONFIG, image_size=18))
        rng = np.random.default_rng(0)
        pictures = Pictures(Example(f"{n}", rng.integers(256, size=(12, 21, 3), dtype=np.uint8), n) for n in range(17))
        found = read(model, pictures, size=(12, 21))
        assert (found.grid, found.size) == ((4, 7), (12, 21))
        for index in (0, 13, 16):
            image = model.normalise(torch.from_numpy(pictures[index].image).permute(2, 0, 1)[None])
            with torch.no_grad():
                tokens = model.norm(model.tap(image, "tokens"))[0]
            torch.testing.assert_close(found.class_token[index], tokens[0])
            torch.testing.assert_close(found.patches[index], tokens[1:])
            torch.testing.assert_close(found.mean_patch[index], tokens[1:].mean(dim=0))
        whole = read(model, pictures, size=(12, 21), dense=False)
        assert whole.patches.numel() == 0
        assert torch.equal(whole.mean_patch, found.mean_patch)
        assert found.labels.tolist() == list(range(17))

    def test_registers_are_no_patches_and_images_come_at_the_native_size(self):
        model = tiny.model(replace(tiny.CONFIG, num_registers=3)).eval()
        pictures = Pictures([Example("", np.zeros((31, 17, 3), np.uint8))])
        found = read(model, pictures)
        assert (found.patches.shape, found.grid) == ((1, 9, 12), (3, 3))


class TestCells:
    def test_which_networks_on_which_data(self, tmp_path):
        weights = tmp_path / "weights" / VIT_TINY
        weights.parent.mkdir()
        weights.touch()
        found = {(cell.subject, cell.data) for cell in linear_cells(Place(tmp_path, tmp_path, "cpu"))}
        assert {data for name, data in found if name in (PRETRAINED, CURED)} == {"imagenette", "camvid"}
        names = {"cutouts_transfer", "imagenette", "camvid", "cutouts"}
        assert {data for name, data in found if name == "untrained_crate"} == names
        assert {cell.data for cell in linear_cells(Place(tmp_path, None, "cpu"))} == {"cutouts_transfer", "cutouts"}

    def test_fitting_and_scoring_share_no_scene(self):
        fit, score = segmented("cutouts", 24)
        assert fit.seed != score.seed

    def test_a_cell_measures_what_it_is_named_after(self, tmp_path, monkeypatch):
        model = tiny.model().eval()
        shown = []

        def reads(_network, dataset, *, size=None, dense=True):
            assert dense == (size is not None)
            shown.append((dataset.name, len(dataset), size))
            return reading(seed=len(shown))

        network = Network("vit", 0, lambda: Loaded(model, 0, 64 * "1"))
        monkeypatch.setattr(linear_recording, "register_networks", lambda _: iter([network]))
        monkeypatch.setattr(linear_recording, "read", reads)
        cells = {cell.data: cell for cell in linear_cells(Place(tmp_path, None, "cpu"))}
        scenes = list(cells["cutouts"].measure("test"))
        assert shown == [("cutouts-train-24px", 300, (24, 24)), ("cutouts-segmentation-24px", 400, (24, 24))]
        assert {record.metric.split("/")[0] for record in scenes} == {
            "linear_segmentation",
            "linear_segmentation_corners",
            "linear_foreground",
            "linear_foreground_corners",
        }
        names = list(cells["cutouts_transfer"].measure("test"))
        assert [name for name, _, _ in shown[2:]] == ["cutouts-transfer_train-24px", "cutouts-transfer-24px"]
        assert {record.model for record in names} == {"vit"}
        assert {record.weights_sha256 for record in scenes + names} == {64 * "1"}


def test_the_street_grid_fits_both_patches():
    rows, cols = STREET_GRID
    assert rows * 4 == cols * 3
    assert abs(rows * cols - model_config("vit_tiny_patch16_224").grid[0] ** 2) < 5
