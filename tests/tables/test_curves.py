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


def test_a_forest_shows_runs_together_or_each():
    runs = [record(value, model="crate", seeds=(seed,)) for seed, value in enumerate((0.3, 0.5))]
    others = [record(0.2, model="vit", seeds=(0,), data="weizmann"), record(0.9, model="crate_mlp")]
    options = {"models": ("crate", "vit"), "data": ("cutouts", "weizmann"), "metrics": [runs[0].metric]}
    together = tables.forest_panels([*runs, *others], **options)
    assert {title: [(one.model, one.value) for one in found] for title, found in together.items()} == {
        "Cutouts": [("crate", pytest.approx(0.4))],
        "Weizmann horses": [("vit", 0.2)],
    }
    each = tables.forest_panels([*runs, *others], **options, each_run=True)
    assert [(one.value, one.low) for one in each["Cutouts"]] == [(0.3, None), (0.5, None)]
