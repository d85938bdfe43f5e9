"""An order is shown with how sure it is."""

from dataclasses import replace

from tests.tiny import record
from wbcore import tables
from wbcore.tables.order import pair_table

MIOU = "attention_miou/mass60/layer-1"
MODELS = ("crate", "crate_mlp", "vit")


def test_order_of_the_models():
    records = [record(0.5, seeds=(0,)), record(0.3, model="vit", seeds=(0,))]
    table = tables.order_table(records, MODELS, [("cutouts", MIOU), ("weizmann", MIOU)])
    (row,) = table.to_dict("records")
    assert row["claim"] == "CRATE > ViT"  # a model without a record is passed over
    assert row["difference (points)"] == "+20.0"
    assert row["verdict"] == "holds"
    assert row["seeds"] == "1 / 1"
    assert row["metric"] == "mIoU, last layer"
    full = tables.order_table(records[::-1], ("vit", "crate"), [("cutouts", MIOU)])
    assert full["metric"].item() == "mIoU, last layer"
    assert full["verdict"].item() == "fails"
    assert tables.order_table(records, ("crate", "crate_mlp"), [("cutouts", MIOU)]).empty


def test_order_over_runs():
    runs = [
        record(value, model=model, seeds=(seed,))
        for model, values in (("crate", (0.5, 0.51, 0.52)), ("vit", (0.3, 0.32, 0.31)))
        for seed, value in enumerate(values)
    ]
    (row,) = tables.order_table(runs, ("crate", "vit"), [("cutouts", MIOU)], over="runs").to_dict("records")
    assert (row["runs"], row["seeds"], row["verdict"]) == (3, "3 / 3", "holds")
    assert row["difference (points)"] == "+20.0"


def test_pairs():
    values = {"crate": (0.4, 0.6, 0.5), "vit": (0.1, 0.2, 0.2), "centred_blob": (0.2, 0.1, 0.2)}
    records = [
        record(sum(each) / 3, model=model, metric="reading/own_rule", data="coco200", values=each, seeds=(0,))
        for model, each in values.items()
    ]
    columns = [("coco200", "reading/own_rule")]
    table = pair_table(records, [("crate", "vit"), ("vit", "centred_blob")], columns)
    assert table["claim"].tolist() == ["CRATE > ViT", "ViT > centred blob"]
    assert table["verdict"].tolist() == ["holds", "undecided"]
    empty = pair_table(records, [], columns)
    assert (len(empty), list(empty.columns)) == (0, list(table.columns))
    runs = [replace(one, seeds=(seed,), value=one.value + seed / 100) for one in records for seed in range(3)]
    over_runs = pair_table(runs, [("crate", "vit"), ("vit", "centred_blob")], columns, over="runs")
    assert over_runs["runs"].tolist() == [3, 3]


def test_models_are_ranked_with_what_is_sure():
    one, two, three = (
        record(value, model=model, low=value - 0.01, high=value + 0.01)
        for model, value in (("vit", 0.5), ("crate_mlp", 0.302), ("crate", 0.3))
    )
    lonely = replace(two, data="weizmann")
    columns = [(name, MIOU) for name in ("cutouts", "weizmann", "coco200")]
    table = tables.rank_table([three, one, two, lonely], MODELS, columns)
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in table.loc["mIoU, last layer"]] == [
        "ViT 50.0 > CRATE-MLP 30.2 ≈ CRATE 30.0",
        "CRATE-MLP 30.2",
        "–",
    ]


def test_an_ap_of_equal_scores_moves_with_their_order():
    # One object in each image.  First an object found by the second mask, then by the first mask, then not at all.
    lines = ("1 2 1:3ff/0", "1 2 0:3ff/0", "1 1")
    one = record(0.3, metric="maskcut_segm/ap50", matches=lines)
    other = replace(one, model="vit", matches=("1 1", "1 1", "1 1"))
    lonely = [replace(one, data="coco200"), replace(other, data="coco200", matches=None)]
    columns = [(name, "maskcut_segm/ap50") for name in ("coco200", "cutouts")]
    table = tables.order_range_table([one, replace(one, seeds=(1,)), other, *lonely], ("crate", "vit"), columns)
    assert table.index.tolist() == [("Cutouts", "seg AP50")]  # neither the second seed nor data without matches
    assert (table.index.names, table.columns.nlevels) == (["data", "metric"], 2)
    (record_of_both,) = table.to_dict("records")
    row = {key: value for (model, key), value in record_of_both.items() if model == "CRATE"}
    assert record_of_both["ViT", "in random orders"] == "0.00 to 0.00"
    assert record_of_both["CRATE leads", "in random orders"] == "100 %"
    # Precision at 101 recalls, of which 34 are at most 1/3 and 33 more at most 2/3.  By id: hits at places 2 and 3.
    assert row["images by id"] == f"{100 * 67 * 2 / 3 / 101:.2f}"
    # Second image, first, third: hits at places 1 and 4.  Third image, second, first: at places 2 and 5.
    least, greatest = (34 / 2 + 33 * 2 / 5) / 101, (34 + 33 * 2 / 4) / 101
    assert row["in random orders"] == f"{100 * least:.2f} to {100 * greatest:.2f}"
    # By round: the three first masks (hit at place 2), then the second ones (hit at place 4).
    assert row["by round"] == f"{100 * 67 * 2 / 4 / 101:.2f}"
