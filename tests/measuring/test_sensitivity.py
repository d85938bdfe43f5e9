"""Readings of coarse segmentation: the scores by another route, choices by brute force, what stands in the records."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.planted import CONFIG, PLACES, planted
from tests.tiny import model
from wbcore.data.example import VOID, Example
from wbcore.errors import InputError
from wbcore.files import ROOT
from wbcore.measuring.sensitivity import (
    BEST,
    MEAN,
    READINGS,
    RULES,
    SHARES,
    STEPS,
    Choice,
    Freedom,
    Scores,
    attention_subject,
    choose,
    chosen_masks,
    chosen_values,
    read_scores,
    show,
    values,
    whole_image,
)
from wbcore.measuring.sensitivity_records import (
    LEAD_AXES,
    Scored,
    lead_readings,
    lead_record,
    scored_on,
    step_records,
    subject_records,
)
from wbcore.metrics.attention import NoObjectError, dino_jaccard, paper_miou
from wbcore.metrics.intervals import bootstrap_mean, paired_difference
from wbcore.recording.cells import Place
from wbcore.recording.sensitivity_recording import (
    BLOB14,
    CLEAN,
    LAB,
    PAIRS,
    PRETRAINED,
    SIDES,
    images,
    sensitivity_cells,
)
from wbcore.segmentation_study import VIT_TINY
from wbcore.showing import resize
from wbcore.subjects import baseline_subject

IMAGES, PATCH = 19, 8


def photographs(count=IMAGES, *, seed=0, side=37):
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        semantic = np.zeros((side, side + 4), np.uint8)
        row, col = rng.integers(0, 20, 2)
        semantic[row : row + 15, col : col + 15] = 1 + number % 3
        semantic[:6, :9] = (0, 2, VOID)[number % 3]
        if number == 4:
            semantic[:] = 0
        if number == 5:
            semantic[:] = 0
            semantic[3, 3] = 1  # a pixel, but no token
        image = rng.integers(256, size=(side, side + 4, 3), dtype=np.uint8)
        found.append(Example(f"{number}", image, semantic=semantic))
    return found


@pytest.fixture(scope="module")
def subject():
    return attention_subject(model(), name="tiny", seed=0)


@pytest.fixture(scope="module")
def scores(subject):
    return read_scores(subject, show(photographs(), size=24, patch_size=PATCH))


def test_the_whole_image_is_every_classs_share_of_it():
    examples = photographs()
    found = whole_image(show(examples, size=24, patch_size=PATCH))
    assert np.flatnonzero(np.isnan(found)).tolist() == [4]
    everything = torch.ones(1, 3, 3, dtype=torch.bool)
    for number in (0, 1, 2, 5):
        assert found[number] == pytest.approx(dino_jaccard(everything, torch.from_numpy(examples[number].semantic)))


def made(seed, *, n=31, layers=3, heads=2, side=3):
    rng = np.random.default_rng(seed)
    shape = (n, layers, len(RULES), len(SHARES), heads + 2)
    return Scores({compared: rng.random(shape, dtype=np.float32) for compared in ("tokens", "pixels")}, (side, side))


def test_scores_are_those_of_the_papers_metrics(subject, scores):
    examples = photographs()
    reading = subject.read(torch.stack([resize(example.image, 24) for example in examples]))
    for number, layer in itertools.product((0, 1, 2, 5, 18), (0, 1)):
        labels, attention = torch.from_numpy(examples[number].semantic), reading.attention[layer][number]
        for (at, rule), (place, share) in itertools.product(enumerate(RULES), enumerate(SHARES)):
            masks = RULES[rule](attention, share).unflatten(-1, reading.grid)
            mean = RULES[rule](attention.mean(0, keepdim=True), share).unflatten(-1, reading.grid)
            for compared, metric in (("tokens", paper_miou), ("pixels", dino_jaccard)):
                row = scores.found[compared][number, layer, at, place]
                try:
                    expected = [metric(masks, labels), metric(mean, labels)]
                    expected += [metric(masks, labels, head=head) for head in range(3)]
                except NoObjectError:
                    assert np.isnan(row).all()
                else:
                    assert row.tolist() == pytest.approx(expected, abs=1e-6)


def test_an_image_without_an_object_has_no_score(scores):
    without = {
        compared: np.flatnonzero(np.isnan(one[:, 0, 0, 0, 0])).tolist() for compared, one in scores.found.items()
    }
    assert without["pixels"] == [4]
    assert {4, 5} <= set(without["tokens"]) < set(range(IMAGES))
    assert not np.isnan(scores.means["tokens"]).any()


def test_a_choice_is_the_best_of_all_that_are_allowed():
    scores = made(1)
    free = choose(scores, READINGS["own_rule"])
    means = scores.found["pixels"].mean(0)
    assert means.shape[:3] == (3, 2, 10)
    where = np.unravel_index(means[..., 2:].argmax(), means[..., 2:].shape)
    assert free == ("pixels", where[0], list(RULES)[where[1]], SHARES[where[2]], where[3])
    assert values(scores, free).mean() == pytest.approx(means[..., 2:].max())
    assert choose(scores, READINGS["paper"]) == ("tokens", 1, "mass", 0.6, BEST)
    assert choose(scores, READINGS["last_layer"]) == ("pixels", 2, "mass", 0.6, BEST)
    assert choose(scores, Freedom("pixels", 0, "entries", 0.2, MEAN)) == ("pixels", 0, "entries", 0.2, MEAN)
    fixed = choose(scores, READINGS["fixed_head"])
    assert fixed.head == int(means[1, 0, 6, 2:].argmax())


def test_each_step_chooses_from_all_that_the_last_one_had():
    scores = made(2)
    means = [values(scores, choose(scores, READINGS[step])).mean() for step in STEPS[2:]]
    assert means == sorted(means)


def test_of_one_layer_the_last_but_one_is_itself():
    assert choose(made(3, layers=1), READINGS["pixels"]).layer == 0


def test_the_scored_images_have_no_say_in_the_choice():
    held_back, scored = made(4), made(5)
    choice = choose(held_back, READINGS["own_rule"])
    assert choice != choose(scored, READINGS["own_rule"])
    assert np.array_equal(chosen_values(held_back, scored, READINGS["own_rule"]), values(scored, choice))


def test_outliers_get_no_attention_and_the_rest_keeps_its_own():
    network = planted(replace(CONFIG, image_size=18))
    shown = torch.randint(256, (3, 3, 18, 18), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    whole = attention_subject(network, name="whole").read(shown)
    clean = attention_subject(network, name="clean", outliers_above=50.0).read(shown)
    assert list(clean.attention) == [0, 1, 2]
    rest = [place for place in range(36) if place not in PLACES]
    for layer, rows in clean.attention.items():
        assert not rows[..., PLACES].any()
        assert torch.equal(rows[..., rest], whole.attention[layer][..., rest])
    with pytest.raises(InputError, match="attention only"):
        _ = whole.masks


def test_a_mask_and_its_caption(subject):
    examples = photographs(3)
    (overlay, *_) = chosen_masks(subject, examples, Choice("pixels", 1, "entries", 0.2, 2), size=24)
    attention = subject.read(torch.stack([resize(example.image, 24) for example in examples])).attention[1]
    mask = RULES["entries"](attention[0, 2], 0.2).view(1, 3, 3)
    assert np.array_equal(overlay.masks, mask.numpy())
    objects = torch.from_numpy((examples[0].semantic > 0).astype(np.uint8))
    assert overlay.caption == f"IoU {100 * dino_jaccard(mask, objects):.0f} %"
    with pytest.raises(InputError, match="best head has no single mask"):
        chosen_masks(subject, examples, Choice("pixels", 1, "mass", 0.2, BEST), size=24)
    with pytest.raises(InputError, match="no annotated object"):
        chosen_masks(subject, photographs()[4:5], Choice("pixels", 1, "mass", 0.2, MEAN), size=24)


def test_what_cannot_be_scored_is_named(subject):
    with pytest.raises(InputError, match="no semantic annotation"):
        show([Example("bare", np.zeros((24, 24, 3), np.uint8))], size=24, patch_size=8)
    with pytest.raises(InputError, match="same patch"):
        read_scores(subject, show(photographs(2), size=24, patch_size=4))


def scored(*seeds, sides=(9, 18), **shape):
    held_back, here = ({side: made(seed + side, side=side, **shape) for side in sides} for seed in seeds)
    return Scored(held_back, here)


@pytest.fixture(scope="module")
def found():
    return scored(10, 20)


@pytest.fixture(scope="module")
def records(found):
    keep = ("own_rule", "grid18")
    records = subject_records("tiny", found, keep=keep, common={"data": "noise"}, settings={"size": 72})
    return {one.metric: one for one in records}


class TestRecords:
    def test_values_are_those_of_the_reading(self, found, records):
        assert list(records) == ["reading/paper", "reading/own_rule", "reading/grid18"]
        for reading, side in (("paper", 9), ("own_rule", 9), ("pixels", 18)):
            record = records["reading/grid18" if side == 18 else f"reading/{reading}"]
            expected = chosen_values(found.held_back[side], found.scored[side], READINGS[reading])
            assert record.values == pytest.approx(expected, abs=6e-4)
            assert record.interval == bootstrap_mean(expected.astype(float))
            assert record.settings["size"] == 72

    def test_the_settings_say_every_reading_with_its_choice(self, found, records):
        readings = records["reading/paper"].settings["readings"]
        assert set(readings) == set(READINGS)
        for reading, entry in readings.items():
            choice = choose(found.held_back[9], READINGS[reading])
            assert (entry["layer"] - 1, entry["rule"], entry["share"], entry["head"]) == choice[1:]
            expected = bootstrap_mean(values(found.scored[9], choice))
            assert entry["value"] == pytest.approx(expected[:3], abs=6e-4)

    def test_curves_and_surface(self, found, records):
        settings = records["reading/paper"].settings
        pixels = found.scored[9].found["pixels"].mean(0)
        assert settings["by_share"]["entries"][2][0] == pytest.approx(pixels[1, 1, 2, 0], abs=6e-4)
        assert settings["by_layer"]["entries20"][2][0] == pytest.approx(pixels[2, 1, 2, 0], abs=6e-4)
        assert [len(rows) for rows in settings["surface"].values()] == [3, 3]
        head = choose(found.held_back[9], Freedom("pixels", 2, "mass", 0.9, "fixed")).head
        assert settings["surface"]["mass"][2][9] == round(1000 * float(pixels[2, 0, 9, 2 + head]))
        assert settings["grids"] == [9, 18]
        other = chosen_values(found.held_back[18], found.scored[18], READINGS["own_rule"]).mean()
        assert settings["by_grid"]["own_rule"][1][0] == pytest.approx(other, abs=6e-4)

    def test_images_without_an_object_are_counted(self):
        found = scored(30, 40, sides=(9,))
        found.scored[9].found["tokens"][3] = np.nan
        (record,) = subject_records("tiny", found, keep=(), common={"data": "noise"}, settings={})
        assert (record.n, len(record.values), record.settings["images_without_object"]) == (30, 30, 1)


def test_steps_of_a_subject_that_is_measured_now(subject):
    shown = [show(photographs(seed=seed), size=24, patch_size=PATCH) for seed in (1, 2)]
    found = scored_on(subject, *shown)
    records = step_records("tiny", found, data="noise")
    assert [one.metric for one in records] == [f"reading/{step}" for step in STEPS]
    held_back, here = (read_scores(subject, one) for one in shown)
    for step, one in zip(STEPS, records, strict=True):
        expected = chosen_values(held_back, here, READINGS[step])
        assert one.value == pytest.approx(np.nanmean(expected))
        assert one.settings["images_without_object"] == np.isnan(expected).sum()


class TestLead:
    def test_every_reading_is_counted_once_and_decided_as_pairs_are(self):
        left, right = scored(50, 60), scored(70, 80, sides=(18, 9))
        record = lead_record(("a", "b"), left, right, common={"data": "noise"}, settings={})
        assert record.model == "a_over_b"
        per_grid = [list(lead_readings(18, compared)) for compared in LEAD_AXES["compared at"]]
        assert [len(readings) for readings in per_grid] == 2 * [3 * 2 * 10 * 3]
        assert sum(record.settings["decided"]) == 2 * 360
        for axis, counts in record.settings["by_choice"].items():
            assert np.sum(list(counts.values()), axis=0).tolist() == record.settings["decided"], axis
        pixels18, ahead = [0, 0, 0], 0
        for side, compared in itertools.product((9, 18), LEAD_AXES["compared at"]):
            for called, freedom in lead_readings(side, compared):
                pair = [one.values(freedom, side).astype(float) for one in (left, right)]
                ahead += pair[0].mean() > pair[1].mean()
                if side == 18 and compared == "pixels" and called["share"] == "90 %":
                    one = paired_difference(*pair)
                    pixels18[0 if one.low > 0 else 2 if one.high < 0 else 1] += 1
        assert record.value == pytest.approx(ahead / 720)
        assert sum(pixels18) == 18
        assert record.settings["quantiles"] == sorted(record.settings["quantiles"])

    def test_a_subject_that_is_always_ahead(self):
        left, right = scored(50, 60, sides=(9,)), scored(70, 80, sides=(9,))
        for scores in left.scored.values():
            for found in scores.found.values():
                found += 1
        record = lead_record(("a", "b"), left, right, common={"data": "noise"}, settings={})
        assert (record.value, record.settings["decided"]) == (1, [360, 0, 0])

    def test_subjects_need_a_token_grid_in_common(self):
        with pytest.raises(InputError, match="no token grid in common"):
            lead_record(("a", "b"), scored(1, 2, sides=(9,)), scored(3, 4, sides=(14,)), common={}, settings={})


class TestCells:
    def test_subjects_and_pairs_at_hand(self, tmp_path):
        def found(data_root):
            return {(cell.subject, cell.data) for cell in sensitivity_cells(Place(tmp_path, data_root, "cpu"))}

        scenes = found(None)
        assert {data for _, data in scenes} == {"cutouts"}
        assert {name for name, _ in scenes} >= {
            *LAB,
            "whole_image",
            "centred_blob",
            "random_heads",
            "untrained_vit",
            "crate_over_vit",
        }
        assert not {name for name, _ in scenes} & {PRETRAINED, CLEAN, BLOB14, "crate_tied"}
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / VIT_TINY).touch()
        everything = found(tmp_path)
        assert {name for name, data in everything if data == "weizmann"} >= {PRETRAINED, CLEAN, BLOB14}
        assert {name for name, _ in everything} >= {"_over_".join(pair) for pair in PAIRS}

    def test_other_readings_of_the_text_once_they_are_trained(self, tmp_path):
        folder = tmp_path / "skip_and_projection" / "crate_tied_lab_patch8_72-seed0"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
        names = [cell.subject for cell in sensitivity_cells(Place(tmp_path, None, "cpu"))]
        assert "crate_tied" in names
        assert "crate_normalised" not in names

    def test_a_cell_measures_what_it_is_named_after(self, tmp_path, monkeypatch):
        monkeypatch.setattr("wbcore.recording.sensitivity_recording.SCENES", {"held_back": 1, "scored": 2})
        monkeypatch.setitem(SIDES, "centred_blob", (9,))
        cells = {cell.subject: cell for cell in sensitivity_cells(Place(tmp_path, None, "cpu"))}
        records = list(cells["centred_blob"].measure("test"))
        assert {record.model for record in records} == {"centred_blob"}
        paper = records[0]
        assert (paper.n, paper.settings["size"], paper.settings["chosen_on_images"]) == (2, 72, 1)
        blob = baseline_subject("centred_blob", patch_size=8, layers=(0,))
        scenes = images("cutouts", "scored", None)
        scores = read_scores(blob, show(scenes, size=72, patch_size=8))
        assert paper.value == pytest.approx(values(scores, choose(scores, READINGS["paper"])).mean())
        assert paper.data_sha256 == scenes.fingerprint
        (whole,) = cells["whole_image"].measure("test")
        assert (whole.metric, whole.n, whole.data_sha256) == ("reading/own_rule", 2, scenes.fingerprint)

    def test_scenes_to_choose_on_are_of_other_objects(self):
        parts = [images("cutouts", part, None) for part in ("held_back", "scored")]
        assert ["train" in part.name for part in parts] == [True, False]
        assert parts[0].fingerprint != parts[1].fingerprint
        assert (ROOT / "data" / "cutouts").is_dir()
