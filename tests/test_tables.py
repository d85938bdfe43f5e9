"""Tables show percent, dashes and verdicts."""

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


def test_order_of_the_models():
    records = [record(0.5), record(0.3, model="vit")]
    table = tables.order_table(records, MODELS, [("cutouts", MIOU), ("weizmann", MIOU)])
    (row,) = table.to_dict("records")
    assert row["claim"] == "CRATE > ViT"  # a model without a record is passed over
    assert row["difference (points)"] == "+20.0"
    assert row["verdict"] == "holds"
    assert row["seeds"] == "1 / 1"
    assert row["metric"] == "mIoU, last layer"
    full = tables.order_table(records[::-1], ("vit", "crate"), [("cutouts", MIOU)], full_metric=True)
    assert full["metric"].item() == MIOU
    assert full["verdict"].item() == "fails"


def test_names_of_metrics():
    assert tables.metric_label("maskcut_bbox/ap50") == "det AP50"
    assert tables.metric_label(MIOU) == "mIoU, last layer"
    assert tables.metric_label("something") == "something"
