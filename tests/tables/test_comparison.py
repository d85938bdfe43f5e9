"""Cells show percent, dashes, intervals and the number of seeds."""

from tests.tiny import record
from wbcore import tables

PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
MIOU = "attention_miou/mass60/layer-1"
MODELS = ("crate", "crate_mlp", "vit")


def test_papers_table_as_printed():
    table = tables.paper_table("crate_table2", ("crate", "vit", "crate_sth"))
    assert list(table.index) == ["CRATE", "ViT", "CRATE-sth"]
    assert list(table["paper", "VOC 2012 val", "mIoU"]) == ["23.9", "14.1", "–"]
    assert len(table.columns) == 4


def test_cells_of_measured_numbers():
    records = [
        record(0.4, low=0.38, high=0.43),
        record(0.25, model="vit", low=None, high=None),
        record(0.3, data="weizmann"),
    ]
    table = tables.record_table("this run", records, MODELS, [("cutouts", MIOU), ("weizmann", MIOU)])
    assert list(table["this run", "Cutouts", "mIoU, last layer"]) == [
        f"40.0{PLUS_MINUS}2.5",
        "–",
        "25.0",
    ]
    assert list(table["this run", "Weizmann horses", "mIoU, last layer"]) == [
        f"30.0{PLUS_MINUS}2.5",
        "–",
        "–",
    ]


def test_a_cell_says_how_many_seeds_stand_behind_it():
    records = [record(value, seeds=(seed,)) for seed, value in enumerate((0.2, 0.3, 0.4))]
    table = tables.record_table("recorded", records, ["crate"], [("cutouts", MIOU)])
    (cell,) = table["recorded", "Cutouts", "mIoU, last layer"]
    assert cell.startswith(f"30.0{PLUS_MINUS}")
    assert cell.endswith("(3 seeds)")


def test_metrics_that_are_no_fractions():
    one = record(1.5, metric="cost/gmacs", low=1.2495, high=1.75)
    rate = record(30.0, metric="subspace_coding_rate", low=28.0, high=33.0)
    columns = [("cutouts", "cost/gmacs"), ("cutouts", "subspace_coding_rate")]
    table = tables.record_table("recorded", [one, rate], ["crate"], columns)
    assert table.iloc[0].to_list() == [f"1.500{PLUS_MINUS}0.250", f"30.0{PLUS_MINUS}2.5"]
