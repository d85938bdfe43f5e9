"""What is recorded of outliers and segmentation: which cells there are, and what a cell holds."""

from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest

from tests.planted import CONFIG, LAYER, PLACES, UNIT, planted
from wbcore.checkpoints import ModelCard, save_model
from wbcore.data.example import Example
from wbcore.measuring import outlier_segmentation
from wbcore.measuring.outlier_segmentation import SHOWN_RULES
from wbcore.recording import networks as recorded_networks
from wbcore.recording import outlier_recording
from wbcore.recording.cells import Place
from wbcore.recording.networks import CURED, PRETRAINED
from wbcore.recording.outlier_recording import ALONE, outlier_cells
from wbcore.records import measured, select
from wbcore.segmentation_study import VIT_TINY

SIDE = 18


class Photographs(list):
    classes = ("any",)

    def __init__(self, name, count):
        rng = np.random.default_rng(count)
        self.name, self.fingerprint = name, 64 * "0"
        for number in range(count):
            semantic = np.zeros((SIDE, SIDE), np.uint8)
            semantic[3 : 9 + number % 5, 4:15] = 1
            image = rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
            self.append(Example(f"{number}", image, semantic=semantic))


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / VIT_TINY).touch()
    network = planted(replace(CONFIG, image_size=SIDE))
    save_model(network, tmp_path / "vit.safetensors", ModelCard("vit", asdict(network.config), seed=0))

    def trained(study, runs):
        assert runs == tmp_path
        model = {"table2": "vit_lab_patch8_72", "registers": "vit_reg4_lab_patch8_72"}[study]
        others = [(1, model, None), (0, "crate_sth_lab_patch8_72", None), (0, "vit_reg16_lab_patch8_72", None)]
        return iter([(0, model, tmp_path / "vit.safetensors"), *others])

    def pretrained(_name, *, data_root):
        assert data_root == tmp_path
        return network, {"weights_sha256": 64 * "1"}

    for module, name in ((measured, "bootstrap_mean"), (outlier_segmentation, "pooled_tail")):
        quick = partial(getattr(module, name), resamples=5)  # intervals are not what is tested here
        monkeypatch.setattr(module, name, quick)
    monkeypatch.setattr(recorded_networks, "finished_cells", trained)
    monkeypatch.setattr(outlier_recording, "pretrained_backbone", pretrained)
    monkeypatch.setattr(outlier_recording, "_images", lambda data, _size, _place: Photographs(data, 11))
    # As many as a valley needs: with fewer than about 30 outliers none are told from chance.
    monkeypatch.setattr(outlier_recording, "_others", lambda data, _size, _place: Photographs(f"others of {data}", 23))
    return Place(tmp_path, tmp_path, "cpu")


def test_which_cells_there_are(place):
    names = ("centred_blob", "vit", "vit_reg4")
    scenes = [(name, "cutouts") for name in names]
    assert [(cell.subject, cell.data) for cell in outlier_cells(replace(place, data_root=None))] == scenes
    (place.data_root / "weights" / VIT_TINY).unlink()
    photographs = [(name, data) for data in ("weizmann", "coco200") for name in names]
    assert [(cell.subject, cell.data) for cell in outlier_cells(place)] == photographs + scenes
    (place.data_root / "weights" / VIT_TINY).touch()
    found = [(cell.subject, cell.data) for cell in outlier_cells(place)]
    assert [data for subject, data in found if subject == PRETRAINED] == ["weizmann", "coco200"]


def cell(place, subject, data="weizmann"):
    (found,) = [one for one in outlier_cells(place) if (one.subject, one.data) == (subject, data)]
    return list(found.measure("test"))


def test_every_intervention_is_recorded_by_layer(place):
    records = cell(place, PRETRAINED)
    endings = (PRETRAINED, f"{PRETRAINED}_clean", f"{PRETRAINED}_clean_rand", f"{PRETRAINED}_clean_edge")
    for name in (*endings, CURED, f"{CURED}_clean", ALONE):
        for layer in range(1, CONFIG.depth + 1):
            for rule in SHOWN_RULES[:1] if name == ALONE else SHOWN_RULES:
                (found,) = select(records, metric=f"attention_miou/{rule}", model=f"{name}_layer{layer}")
                assert found.n == 11
                assert found.weights_sha256 == 64 * "1"
                assert bool(found.values) is (name in endings[:2] or layer == CONFIG.depth)
    (first, *_) = records
    assert first.settings["fixed_on"] == "others of weizmann"
    assert set(first.settings["best_layer"]) == set(SHOWN_RULES)
    (moved,) = select(records, metric="attention_miou/mass60", model=f"{CURED}_layer1")
    assert moved.settings["moved"][0][:2] == [LAYER + 1, UNIT]
    assert 20 < first.settings["threshold"] < 400
    (tail,) = select(records, metric="tail/triple_share", model=PRETRAINED)
    assert tail.value == pytest.approx(len(PLACES) / 36)
    assert select(records, metric="tail/triple_share", model=CURED)[0].value == 0
    assert not select(cell(place, PRETRAINED, "coco200"), metric="attention_on_object")  # only where it is shown
    # The register takes attention; without it none is there to be taken.
    for name, least in ((PRETRAINED, 0), (CURED, 0.01)):
        (spent,) = select(records, metric="attention_to/registers", model=f"{name}_layer{CONFIG.depth}")
        assert spent.value >= least
        assert bool(spent.value) is bool(least)


def test_a_lab_model_is_recorded_as_what_it_is(place):
    records = cell(place, "vit_reg4")
    assert {record.seeds for record in records} == {(0,)}
    assert len({record.weights_sha256 for record in records}) == 1
    assert select(records, metric="tail/kurtosis", model="vit_reg4")
    assert select(records, metric="attention_miou/mass60", model="vit_reg4_clean_layer3")
    assert not select(cell(place, "vit_reg4", "coco200"), metric="attention_to/outliers")
    for metric in ("mass60", "entries20"):
        (blob,) = select(cell(place, "centred_blob"), metric=f"attention_miou/{metric}", model="centred_blob")
        assert blob.seeds == ()
        assert blob.n == 11
