"""Segmentation with and without outliers, on a model whose outliers are planted and so known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.planted import CONFIG, LAYER, PLACES, planted
from tests.tiny import Photographs
from wbcore.data.example import VOID, Example
from wbcore.errors import InputError
from wbcore.evaluate import RULES, segmentation
from wbcore.measuring.norm_records import read_norms
from wbcore.measuring.outlier_segmentation import (
    SHOWN_RULES,
    Recorder,
    attention_miou,
    best_layers,
    interventions,
    patch_labels,
    read_attention,
)
from wbcore.metrics.attention import paper_miou
from wbcore.metrics.baselines import centred_blob
from wbcore.metrics.outlier_attention import object_auc
from wbcore.models.test_time_registers import with_test_time_register
from wbcore.records import select
from wbcore.subjects import model_subject

THRESHOLD, IMAGES, SIDE, GRID = 50.0, 19, 18, (6, 6)
ORIGIN = {"seeds": (0,), "weights_sha256": 64 * "1"}


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    found = Photographs()
    for number in range(IMAGES):
        semantic = np.zeros((SIDE, SIDE), np.uint8)
        if number != 3:  # one image shows nothing
            top, left = rng.integers(0, 9, 2)
            semantic[top : top + 8, left : left + 7] = 1 + number % 2
            semantic[top : top + 3, :3] = VOID
        image = rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
        found.append(Example(f"{number}", image, semantic=semantic))
    return found


@pytest.fixture(scope="module")
def model():
    return planted(replace(CONFIG, image_size=SIDE))


@pytest.fixture(scope="module")
def reading(model, dataset):
    return read_attention(model, dataset)


@pytest.fixture
def recorder(dataset):
    return Recorder(dataset, data="noise", command="test")


def one(records, metric, subject):
    (found,) = select(records, metric=metric, model=subject)
    return found


def test_a_reading_is_that_of_the_norms(model, dataset, reading):
    other = read_norms(model, dataset)
    torch.testing.assert_close(reading.norms, other.norms)
    torch.testing.assert_close(reading.patches.mean(2), other.attention)
    assert reading.layout.grid == GRID
    assert reading.registers.shape == (IMAGES, 0)
    torch.testing.assert_close(reading.attention.sum(-1), torch.ones(CONFIG.depth, IMAGES, CONFIG.heads))
    with pytest.raises(InputError, match="no image to read"):
        read_attention(model, [])


def test_outliers_are_those_that_are_planted_and_otherwise_the_longest(reading):
    assert reading.outliers(THRESHOLD).nonzero()[:, 1].view(-1, len(PLACES)).tolist() == IMAGES * [list(PLACES)]
    stand_in = reading.outliers(None)
    assert stand_in.sum(-1).tolist() == IMAGES * [1]
    assert torch.equal(stand_in.int().argmax(-1), reading.norms[-1].argmax(-1))


def test_a_register_is_read_apart(model, dataset, reading):
    alone = read_attention(with_test_time_register(model, []), dataset)
    assert alone.registers.shape == (IMAGES, 1)
    assert alone.attention.shape[-1] == reading.attention.shape[-1] + 1
    assert alone.patches.shape == reading.patches.shape


def test_miou_is_the_one_of_every_other_chapter(model, dataset, reading, recorder):
    records = recorder.segmentation(reading, "double", origin=ORIGIN)
    subject = model_subject(model, name="double", layers=range(CONFIG.depth))
    others = segmentation(subject, dataset, data="noise", size=SIDE, command="test", kinds=("attention",))
    for layer in range(CONFIG.depth):
        for rule in SHOWN_RULES:
            found = one(records, f"attention_miou/{rule}", f"double_layer{layer + 1}")
            other = one(others, f"attention_miou/{rule}/layer{layer}", "double")
            assert found.values == other.values
            assert found.interval == other.interval
            assert found.n == IMAGES - 1 == IMAGES - found.settings["images_without_object"]
            assert found.data_sha256 == other.data_sha256
            assert (found.seeds, found.weights_sha256) == ((0,), 64 * "1")


def test_masks_without_outliers_by_hand(reading, dataset, recorder):
    outlier = reading.outliers(THRESHOLD)
    records = recorder.segmentation(reading, "double_clean", origin=ORIGIN, without=outlier)
    fewer = recorder.segmentation(reading, "double_clean", origin=ORIGIN, without=outlier, by_image=False)
    assert [record.values is None for record in fewer] == 4 * [True] + 2 * [False]
    assert [record.interval for record in fewer] == [record.interval for record in records]
    cut = reading.patches.clone()
    cut[..., list(PLACES)] = 0
    for rule in SHOWN_RULES:
        for layer in range(CONFIG.depth):
            masks = RULES[rule](cut[layer]).unflatten(-1, GRID)
            expected = [
                paper_miou(masks[image], torch.from_numpy(dataset[image].semantic))
                for image in range(IMAGES)
                if image != 3
            ]
            found = one(records, f"attention_miou/{rule}", f"double_clean_layer{layer + 1}")
            assert found.values == pytest.approx(expected, abs=1e-4)


def test_as_many_others_are_left_out(reading):
    outlier = reading.outliers(THRESHOLD)
    found = interventions(outlier, GRID)
    assert torch.equal(found["_clean"], outlier)
    rows, cols = np.divmod(np.arange(36), 6)
    within = torch.from_numpy((rows % 5 > 0) & (cols % 5 > 0))
    for ending in ("_clean_rand", "_clean_edge"):
        assert found[ending].sum(-1).tolist() == IMAGES * [len(PLACES)]
        assert not (found[ending] & outlier).any()
    assert not (found["_clean_edge"] & within).any()
    assert (found["_clean_rand"] & within).any()


def test_spending_adds_up(reading, recorder):
    records = recorder.spending(reading, "double", outlier=reading.outliers(THRESHOLD), origin=ORIGIN)
    parts = ("class_token", "registers", "outliers", "object")
    for layer in range(1, CONFIG.depth + 1):
        spent = {part: one(records, f"attention_to/{part}", f"double_layer{layer}").value for part in parts}
        assert 0 < sum(spent.values()) < 1
        assert spent["registers"] == 0
        kept = [image for image in range(IMAGES) if image != 3]
        on_outliers = reading.patches[layer - 1][kept][..., list(PLACES)].sum(-1).mean()
        assert spent["outliers"] == pytest.approx(float(on_outliers), abs=1e-6)
        looked = one(records, "attention_on_object", f"double_layer{layer}")
        assert min(looked.values) < spent["object"] / (1 - sum(spent.values()) + spent["object"]) < max(looked.values)
        assert len(looked.values) == looked.n == len(kept)
    assert 0.05 < one(records, "object_share", "double").value < 0.5


def test_the_tail_of_planted_outliers(reading, recorder):
    records = recorder.tail(reading, "double", origin=ORIGIN)
    relative = reading.norms / reading.norms.quantile(0.5, dim=-1, keepdim=True)
    for layer in range(CONFIG.depth):
        found = one(records, "tail/largest", f"double_layer{layer + 1}")
        assert found.value == pytest.approx(float(relative[layer].amax(-1).mean()), rel=1e-5)
        share = one(records, "tail/triple_share", f"double_layer{layer + 1}").value
        assert share == pytest.approx(len(PLACES) / 36 if layer >= LAYER else 0)
    last = one(records, "tail/largest", "double")
    assert last.value == found.value
    assert last.n == len(last.values) == IMAGES  # also of the image without an object
    quantile = one(records, "tail/quantile999", "double").value
    assert quantile == pytest.approx(float(relative[-1].flatten().quantile(0.999)), rel=1e-5)
    assert not select(records, metric="tail/register")


def test_the_register_is_compared_with_the_patches(model, dataset, recorder):
    alone = read_attention(with_test_time_register(model, []), dataset)
    found = one(recorder.tail(alone, "double", origin=ORIGIN), "tail/register", "double")
    expected = alone.registers[:, 0] / alone.norms[-1].quantile(0.5, dim=-1)
    assert found.value == pytest.approx(float(expected.mean()), rel=1e-5)


def test_the_blob(recorder, dataset):
    records = recorder.blob("centred_blob", GRID)
    labels = patch_labels(dataset, GRID)
    for rule in SHOWN_RULES:
        expected = attention_miou(centred_blob(GRID).expand(IMAGES, -1, -1), labels, rule=rule)
        assert one(records, f"attention_miou/{rule}", "centred_blob").value == pytest.approx(np.nanmean(expected))


def test_width_and_place(reading, recorder, dataset):
    labels, outlier = patch_labels(dataset, GRID), reading.outliers(THRESHOLD)
    for name, without in (("double", None), ("double_clean", outlier)):
        records = recorder.width(reading, name, origin=ORIGIN, without=without)
        for layer in range(CONFIG.depth):
            shown = reading.patches[layer].clone()
            if without is not None:
                shown[..., list(PLACES)] = 0
            area = one(records, "attention_auc", f"{name}_layer{layer + 1}")
            expected = object_auc(shown.mean(1), labels, without=without)
            assert area.value == pytest.approx(np.nanmean(expected))
            assert area.n == IMAGES - 1
            size = one(records, "mask_size/mass60", f"{name}_layer{layer + 1}")
            assert size.value == pytest.approx(float(RULES["mass60"](shown).float().mean()))
            assert size.n == IMAGES


def test_the_best_layer_is_counted_from_one(reading, dataset):
    labels = patch_labels(dataset, GRID)
    worse = torch.rand(reading.attention[0].shape, generator=torch.Generator().manual_seed(0))
    seen = worse.clone()
    seen[..., 1:] = (labels > 0)[:, None].float() + 1e-3  # looks at the object itself
    made = replace(reading, attention=torch.stack([worse, seen, worse]))
    assert best_layers(made, labels) == dict.fromkeys(SHOWN_RULES, 2)


def test_what_cannot_be_measured_is_named(dataset, recorder):
    with pytest.raises(InputError, match="x is not annotated"):
        patch_labels([replace(dataset[0], name="x", semantic=None)], GRID)
    with pytest.raises(InputError, match="noise has no object in any of its 2 images"):
        recorder.mean("attention_miou/mass60", "double", np.full(2, np.nan), origin=ORIGIN)
