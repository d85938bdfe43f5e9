"""Curves as panels and as numbers."""

import pytest

from tests.tiny import record
from wbcore import tables
from wbcore.metrics.intervals import Interval

PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
MIOU = "attention_miou/mass60/layer-1"


def test_curves_as_numbers():
    blob, one = Interval(10.0, None, None, 7), Interval(30.0, 28.0, 33.0, 7)
    panels = {"mIoU": {"crate": {2: one, 11: one}, "centred_blob": {2: blob}}, "AP": {"vit": {1: one}}}
    table = tables.curve_table(panels, step="layer")
    assert list(table.columns) == ["layer 1", "layer 2", "layer 11"]
    assert list(table.index) == [("mIoU", "CRATE"), ("mIoU", "centred blob"), ("AP", "ViT")]
    cell = f"30.0{PLUS_MINUS}2.5"
    assert table.to_numpy().tolist() == [["–", cell, cell], ["–", "10.0", "–"], [cell, "–", "–"]]


def test_panels_by_step_leave_out_data_without_records():
    records = [record(0.2 + 0.1 * n, model=f"crate_layer{n}") for n in (1, 2)]
    panels = tables.step_panels(records, "layer", metrics={"mIoU": MIOU}, data=("cutouts", "weizmann"))
    assert list(panels) == ["mIoU, Cutouts"]
    assert [one.value for one in panels["mIoU, Cutouts"]["crate"].values()] == pytest.approx([30, 40])
