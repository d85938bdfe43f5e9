"""LOST is recorded of every network, on the data at hand."""

from wbcore.measuring.lost_sweep import (
    BIASES,
    FEW_BIASES,
)
from wbcore.recording import lost_recording
from wbcore.recording.cells import Place
from wbcore.recording.lost_recording import FULL, MEASURED, lost_cells
from wbcore.recording.register_subjects import Loaded, Network
from wbcore.records import select
from wbcore.segmentation_study import VIT_TINY

SIDE = 18  # of the planted model


def test_which_networks_on_which_data(tmp_path):
    assert list(lost_cells(Place(tmp_path, None, "cpu"))) == []
    weights = tmp_path / "weights" / VIT_TINY
    weights.parent.mkdir()
    weights.touch()
    found = [(cell.subject, cell.data) for cell in lost_cells(Place(tmp_path, tmp_path, "cpu"))]
    assert len(found) == len(set(found))
    assert {data for name, data in found if name == "crate"} == {"coco200", "weizmann", "cutouts"}
    assert {name for name, data in found if data == "coco200_full"} == set(FULL)
    assert {data for _, data in found} == set(MEASURED)


def test_a_cell_measures_what_it_is_named_after(tmp_path, monkeypatch, rectangle_photographs, planted_model):
    asked = []

    def images(data, split, limit, _place, *, size):
        asked.append((data, split, limit, size))
        return rectangle_photographs

    network = Network(FULL[0], None, lambda: Loaded(planted_model, None, 64 * "1", {"moved": []}))
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


def test_the_few_biases_are_among_the_many():
    assert set(FEW_BIASES) <= set(BIASES)
