"""Outlier tokens recorded, on a model whose outliers are planted and so known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.planted import CONFIG, LAYER, PLACES, UNIT, planted
from tests.tiny import Photographs
from wbcore.data.example import Example
from wbcore.files import sha256
from wbcore.measuring.norm_records import border, norm_records, read_norms
from wbcore.metrics.norms import neighbour_cosine
from wbcore.recording import norm_recording
from wbcore.recording.cells import Place
from wbcore.recording.networks import CURED, PRETRAINED, cured, fix
from wbcore.recording.norm_recording import LAB, norm_cells
from wbcore.records import Origin, select
from wbcore.segmentation_study import VIT_TINY
from wbcore.study import WEIGHTS

THRESHOLD, IMAGES, SIDE, GRID = 50.0, 37, 18, (6, 6)
CORNERS = (0, 5, 30, 35)


@pytest.fixture
def dataset():
    rng = np.random.default_rng(0)
    return Photographs(
        Example(f"{number}", rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)) for number in range(IMAGES)
    )


@pytest.fixture
def model():
    return planted(replace(CONFIG, image_size=SIDE))


def measured(model, dataset, threshold=THRESHOLD):
    return norm_records(model, dataset, Origin("double", "noise", "test"), threshold=threshold)


def one(records, metric, subject="double"):
    (found,) = select(records, metric=f"norms/{metric}", model=subject)
    return found


def test_a_reading_is_what_the_model_says_image_by_image(model, dataset):
    found = read_norms(model, dataset)
    assert found.grid == GRID
    for index in (0, 17, IMAGES - 1):
        image = model.normalise(torch.from_numpy(dataset[index].image).permute(2, 0, 1)[None])
        layout = model.layout(image)
        with torch.no_grad():
            for layer in range(CONFIG.depth):
                norms = layout.patches(model.tap(image, "tokens", layer))[0].square().sum(-1).sqrt()
                attention = layout.patches(model.tap(image, "cls_attention", layer), dim=-1)[0].mean(0)
                torch.testing.assert_close(found.norms[layer, index], norms)
                torch.testing.assert_close(found.attention[layer, index], attention)
            torch.testing.assert_close(found.neighbours[index], neighbour_cosine(model.patch_embedding(image)[0], GRID))


def test_the_border():
    assert border((2, 3)).tolist() == [2, 1, 2, 2, 1, 2]
    assert (border(GRID) == 2).nonzero().flatten().tolist() == list(CORNERS)
    assert (border(GRID) > 0).sum() == 36 - 16


def test_planted_outliers_are_recorded(model, dataset):
    records = measured(model, dataset)
    share = len(PLACES) / 36
    for layer in range(CONFIG.depth):
        expected = share if layer >= LAYER else 0
        for metric in ("outlier_share", "triple_share"):
            found = one(records, metric, f"double_layer{layer + 1}")
            assert found.value == pytest.approx(expected, abs=1e-4), metric
            assert found.n == len(found.values) == IMAGES
    assert one(records, "outlier_share").value == pytest.approx(share)
    norms = read_norms(model, dataset).norms[-1]
    assert one(records, "largest", "double_layer3").value == pytest.approx(norms.amax(-1).mean().item(), rel=1e-4)
    histogram = one(records, "outlier_share").settings["histogram"]
    assert sum(histogram["counts"]) == 36 * IMAGES
    assert sum(count for count, edge in zip(histogram["counts"], histogram["edges"], strict=False) if edge > 100) == 111


def test_where_they_are_and_what_looks_at_them(model, dataset):
    records, found = measured(model, dataset), read_norms(model, dataset)
    position = one(records, "position_share")
    places = [place for place, share in enumerate(np.ravel(position.settings["map"])) if share == 1]
    assert places == list(PLACES)
    assert position.settings["blank_map"] == position.settings["map"]
    assert position.value == 1
    assert one(records, "at_corners", "double_outliers").value == pytest.approx(1 / 3)
    assert one(records, "at_corners", "double_normal").value == pytest.approx(3 / 33)
    for layer in range(CONFIG.depth):
        for name, patches in (("outliers", PLACES), ("corners", CORNERS)):
            by_hand = found.attention[layer][:, patches].sum(-1).mean().item()
            recorded = one(records, f"attention_on_{name}", f"double_layer{layer + 1}")
            assert recorded.value == pytest.approx(by_hand, abs=1e-4)


def test_cosines_of_each_kind_of_patch(model, dataset):
    records, cosines = measured(model, dataset), read_norms(model, dataset).neighbours
    rows, cols = np.divmod(np.arange(36), 6)
    on_border = (rows % 5 == 0) | (cols % 5 == 0)
    outlier = np.isin(np.arange(36), PLACES)
    kinds = {"outliers": outlier, "normal": ~outlier, "border": on_border & ~outlier}
    for kind, where in kinds.items():
        found = one(records, "neighbour_cosine", f"double_{kind}")
        assert found.value == pytest.approx(cosines[:, torch.from_numpy(where)].mean().item(), abs=1e-5)
    assert one(records, "neighbour_cosine", "double_corners").value == pytest.approx(
        cosines[:, list(CORNERS)].mean().item(), abs=1e-5
    )


def test_without_a_threshold_there_are_no_outliers_and_the_record_says_so(model, dataset):
    records = measured(model, dataset, threshold=None)
    share = one(records, "outlier_share")
    assert (share.value, share.settings["valley"], share.settings["threshold"]) == (0, False, None)
    assert one(records, "triple_share").value == pytest.approx(len(PLACES) / 36)
    assert not select(records, model="double_outliers")
    assert one(records, "at_corners", "double_normal").value == pytest.approx(4 / 36)
    assert one(records, "position_share").value == 0


def test_images_without_outliers_are_left_out_of_the_comparison_of_patches(model, dataset):
    norms = read_norms(model, dataset).norms[-1].amax(-1)
    records = measured(model, dataset, threshold=norms.sort().values[10].item() + 1e-4)
    for kind in ("outliers", "normal", "border", "corners"):
        found = one(records, "neighbour_cosine", f"double_{kind}")
        assert found.n == IMAGES - 11
        assert found.settings["images_without_outliers"] == 11


def test_threshold_and_origin_are_fixed_and_the_cure_moves_the_planted_unit(model, dataset):
    fixed = fix(model, dataset)
    assert fixed.threshold is not None
    assert 10 < fixed.threshold < 350
    assert fixed.top_layer == LAYER
    edited, neurons = cured(model, dataset, fixed)
    assert [(neuron.layer, neuron.unit) for neuron in neurons] == [(LAYER, UNIT)]
    assert read_norms(edited, dataset).norms.max() < 10


def test_a_model_without_outliers_gets_an_empty_register(model, dataset):
    edited, _ = cured(model, dataset, fix(model, dataset))
    short = planted(replace(CONFIG, image_size=SIDE))
    with torch.no_grad():
        short.position.zero_()  # no patch is marked
    fixed = fix(short, dataset)
    assert fixed == (None, None)
    again, neurons = cured(short, dataset, fixed)
    assert neurons == []
    assert again.config.num_registers == edited.config.num_registers == 1


class TestCells:
    def test_the_pretrained_model_only_where_its_weights_are(self, tmp_path):
        def subjects(data_root):
            return [(cell.subject, cell.data) for cell in norm_cells(Place(tmp_path, data_root, "cpu"))]

        shipped = LAB[:4]
        scenes = [(name, "cutouts") for name in shipped]
        assert subjects(None) == scenes
        assert subjects(tmp_path) == [(name, "coco200") for name in shipped] + scenes
        weights = tmp_path / "weights" / VIT_TINY
        weights.parent.mkdir()
        weights.touch()
        photographs = [(name, "coco200") for name in (*shipped, PRETRAINED, CURED)]
        assert subjects(tmp_path) == photographs + scenes

    def test_a_cell_measures_what_it_is_named_after(self, tmp_path, monkeypatch, dataset):
        def backbone(name, *, data_root):
            assert (name, data_root) == ("vit_tiny", tmp_path)
            return planted(replace(CONFIG, image_size=SIDE)), {"name": "planted", "weights_sha256": 64 * "1"}

        def network(path):
            assert path.name == "vit_lab_patch8_72.safetensors"
            return planted(replace(CONFIG, image_size=SIDE)), None

        opened = []

        def images(data, kind, size, _place):
            opened.append((data, kind, size))
            return dataset

        monkeypatch.setattr(norm_recording, "pretrained_backbone", backbone)
        monkeypatch.setattr(norm_recording, "load_model", network)
        monkeypatch.setattr(norm_recording, "_images", images)
        Path(tmp_path / "weights").mkdir()
        (tmp_path / "weights" / VIT_TINY).touch()
        cells = {cell.subject: cell for cell in norm_cells(Place(tmp_path, tmp_path, "cpu")) if cell.data == "coco200"}
        found = {name: list(cells[name].measure("test")) for name in (PRETRAINED, CURED, "vit")}
        assert opened == 3 * [("coco200", 0, SIDE), ("coco200", 1, SIDE)]
        shares = {name: one(records, "outlier_share", name) for name, records in found.items()}
        assert [round(36 * share.value, 3) for share in shares.values()] == [len(PLACES), 0, len(PLACES)]
        assert shares[CURED].settings["threshold"] == shares[PRETRAINED].settings["threshold"]
        assert shares[CURED].settings["moved"][0][:2] == [LAYER + 1, UNIT]
        assert [share.seeds for share in shares.values()] == [(), (), (0,)]
        assert shares[PRETRAINED].weights_sha256 == 64 * "1"
        assert shares["vit"].weights_sha256 == sha256(WEIGHTS / "vit_lab_patch8_72.safetensors")
