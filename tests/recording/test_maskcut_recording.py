"""MaskCut's settings and its CRF, recorded: each record is of the setting that its name says."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests import tiny
from wbcore.data.cutouts import CutoutScenes
from wbcore.evaluate import segmentation
from wbcore.labels import label
from wbcore.metrics.detection import ap_intervals
from wbcore.recording import artefacts, maskcut_recording
from wbcore.recording.cells import Place
from wbcore.recording.maskcut_recording import (
    BASELINES,
    COUNTING,
    CUTTING,
    LAYERWISE,
    TRAINED,
    UNTRAINED,
    Setting,
    crf_cells,
    setting_cells,
    settings_of,
)
from wbcore.records import load_records, select
from wbcore.segmentation_study import VIT_TINY
from wbcore.subjects import model_subject, refined

SIZE, SCENES = 24, 5


@pytest.fixture
def small(monkeypatch):
    """Models of two layers on five scenes of 3 × 3 tokens."""
    monkeypatch.setattr(maskcut_recording, "SIZE", SIZE)
    for module in ("evaluate", "recording.maskcut_recording"):
        monkeypatch.setattr(f"wbcore.{module}.ap_intervals", partial(ap_intervals, resamples=20))
    monkeypatch.setattr(
        maskcut_recording, "SPLITS", {"coco200": ("train+val", None), "cutouts": ("segmentation", SCENES)}
    )
    monkeypatch.setattr(
        maskcut_recording, "pretrained_backbone", lambda *_, **__: (tiny.model(), {"weights_sha256": "f" * 64})
    )
    monkeypatch.setattr(maskcut_recording, "untrained_model", lambda *_: tiny.model(seed=1))
    monkeypatch.setattr(maskcut_recording, "TRAINED", ("crate_mlp",))
    monkeypatch.setattr(maskcut_recording, "UNTRAINED", ("untrained_vit",))
    monkeypatch.setattr(maskcut_recording, "CUTTING", CUTTING[:1] + CUTTING[-2:])
    monkeypatch.setattr(maskcut_recording, "COUNTING", COUNTING[:1])
    monkeypatch.setattr(maskcut_recording, "LAYERWISE", LAYERWISE[:1])
    monkeypatch.setattr(maskcut_recording, "RESIZING", (Setting("_size48", size=48),))


def names(cells):
    return [(cell.subject, cell.data) for cell in cells]


class TestCells:
    def test_photographs_and_the_pretrained_model_only_where_they_are(self, tmp_path):
        everything = (*TRAINED, *UNTRAINED, *BASELINES)
        scenes = [(f"{name}_crf", "cutouts") for name in everything]
        assert names(crf_cells(Place(tmp_path, None, "cpu"))) == scenes
        photographs = [(f"{name}_crf", "coco200") for name in everything]
        large = [(f"{name}_crf480", "coco200") for name in ("crate", "vit", "centred_blob")]
        assert names(crf_cells(Place(tmp_path, tmp_path, "cpu"))) == photographs + large + scenes
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / VIT_TINY).touch()
        assert ("vit_tiny_pretrained_crf", "coco200") in names(crf_cells(Place(tmp_path, tmp_path, "cpu")))
        both = names(setting_cells(Place(tmp_path, tmp_path, "cpu")))
        assert both == [(f"{name}_settings", data) for data in ("coco200", "cutouts") for name in everything]

    def test_files_name_the_seed(self, tmp_path):
        files = {cell.file(tmp_path).name for cell in crf_cells(Place(tmp_path, None, "cpu"))}
        assert "records-crate_crf-seed0-cutouts.json" in files
        assert "records-centred_blob_crf-cutouts.json" in files


def test_layers_that_fig6_has_are_left_to_it():
    without, layers = settings_of("vit"), list(LAYERWISE)
    assert settings_of("crate") == without
    assert [one for one in settings_of("crate_mlp") if one not in without] == layers
    assert [one for one in settings_of("untrained_vit") if one not in without] == layers


def test_every_setting_has_a_name_that_tables_know():
    for name in (*TRAINED, *UNTRAINED, *BASELINES):
        labels = [label(name + setting.ending) for setting in settings_of(name)]
        assert len({*labels, label(name)}) == len(labels) + 1
        assert all(one.startswith(f"{label(name)}, ") for one in labels)
    assert label("crate_mlp_tau5") == "CRATE-MLP, τ = 0.05"
    assert label("vit_dot1500") == "ViT, inner products, τ = 15"
    assert [label(f"crate_masks{n}") for n in (1, 2)] == ["CRATE, 1 mask", "CRATE, 2 masks"]
    assert label("crate_size144") == "CRATE, 144 px"
    assert label("centred_blob_crf") == "centred blob, CRF"
    assert label("vit_crf480") == "ViT, CRF at 480 px"


@pytest.mark.usefixtures("small")
def test_settings_are_recorded_as_they_are_named(tmp_path):
    artefacts.record_artefact("maskcut_settings", runs=tmp_path, results=tmp_path)
    records = {one.model: one for one in load_records(tmp_path)}
    assert {one.metric for one in records.values()} == {"maskcut_bbox/ap"}
    assert {one.n for one in records.values()} == {SCENES}
    endings = ("tau0", "dot1500", "negative", "masks1", "size48", "layer1")
    assert {name for name, one in records.items() if one.matches} == {f"crate_mlp_{ending}" for ending in endings}
    assert {name for name, one in records.items() if not one.matches} == {
        *(f"untrained_vit_{ending}" for ending in endings),
        *("random_heads_masks1", "random_heads_size48", "centred_blob_size48"),
    }
    named = {
        "crate_mlp_tau0": {"tau": 0, "affinity": "cosine", "size": SIZE},
        "crate_mlp_dot1500": {"tau": 15, "affinity": "dot"},
        "untrained_vit_negative": {"tau": 0.15, "peak": "negative"},
        "crate_mlp_masks1": {"num_masks": 1, "peak": "positive"},
        "crate_mlp_size48": {"size": 48, "num_masks": 3, "dataset": "cutouts-segmentation-48px"},
    }
    for name, settings in named.items():
        assert settings.items() <= records[name].settings.items()
    for ending, size, options in (
        ("layer1", SIZE, {"feature_layer": 0}),
        ("dot1500", SIZE, {"tau": 15.0, "affinity": "dot"}),
        ("size48", 48, {}),
    ):
        scenes = CutoutScenes("segmentation", size=size, count=SCENES)
        subject = model_subject(tiny.model(), name="again", **options)
        again = segmentation(subject, scenes, data="cutouts", size=size, command="", kinds=("maskcut",))
        (expected,) = select(again, metric="maskcut_bbox/ap")
        assert records[f"crate_mlp_{ending}"].matches == expected.matches
        assert records[f"crate_mlp_{ending}"].interval == expected.interval
        assert records[f"crate_mlp_{ending}"].data_sha256 == expected.data_sha256


@pytest.mark.usefixtures("small")
def test_the_crf_is_recorded_at_the_size_that_the_model_sees_and_at_its_own(tmp_path, monkeypatch):
    shapes = []

    def refine(masks, image):
        shapes.append(image.shape)
        return masks

    monkeypatch.setattr("wbcore.subjects.refine", refine)
    monkeypatch.setattr(maskcut_recording, "CRF_SIZE", 48)
    scenes = CutoutScenes("segmentation", size=SIZE, count=SCENES)
    monkeypatch.setattr(maskcut_recording, "_opener", lambda *_: lambda _size: scenes)
    cells = {(cell.subject, cell.data): cell for cell in crf_cells(Place(tmp_path, tmp_path, "cpu"))}
    for name, side in (("crate_mlp_crf", SIZE), ("crate_crf48", 48)):
        shapes.clear()
        found = list(cells[name, "coco200"].measure("test"))
        assert set(shapes) == {(side, side, 3)}
        assert len(found) == 6
        for one in found:
            assert one.settings["crf"]
            assert (one.model, one.seeds, one.settings["size"]) == (name, (0,), side)
            assert one.settings.get("size_seen") == (SIZE if side == 48 else None)
    subject = refined(model_subject(tiny.model(), name="plain"))
    images = torch.from_numpy(np.stack([scenes[index].image for index in range(SCENES)])).permute(0, 3, 1, 2)
    plain = replace(subject, read=model_subject(tiny.model(), name="plain").read)
    assert torch.equal(subject.read(images).masks[:, :, 4::8, 4::8], plain.read(images).masks)
