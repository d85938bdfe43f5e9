"""Tables show percent, dashes and verdicts."""

from dataclasses import replace

import pytest

from tests.tiny import record
from wbcore import claims, tables
from wbcore.metrics.intervals import Interval

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


def test_preferences_of_heads():
    sure, open_ = Interval(0.05, 0.03, 0.07, 11), Interval(-0.01, -0.03, 0.01, 11)
    heads = [[sure] + [open_] * 4, [open_] * 4 + [Interval(-0.05, -0.07, -0.03, 11)]]
    table = tables.preference_table({"animals": heads, "others": heads[::-1]})
    assert list(table.index) == [
        (f"head {head}", f"{group} (11)") for head in (0, 1) for group in ("animals", "others")
    ]
    assert table.loc[("head 0", "animals (11)"), "upper third"] == f"5.0{PLUS_MINUS}2.0 *"
    assert table.loc[("head 1", "animals (11)"), "upper third"] == f"-1.0{PLUS_MINUS}2.0"
    assert table.loc[("head 0", "others (11)"), "outline"] == f"-5.0{PLUS_MINUS}2.0 *"


def test_names_of_metrics():
    assert tables.metric_label("maskcut_bbox/ap50") == "det AP50"
    assert tables.metric_label(MIOU) == "mIoU, last layer"
    assert tables.metric_label("attention_miou/entries60/layer-2") == "mIoU, 60 % of entries, last but one"
    assert tables.metric_label("pca_foreground_iou/code/layer-1") == "IoU, rule of the code, last layer"
    assert tables.metric_label("something") == "something"


def test_an_ap_of_equal_scores_moves_with_their_order():
    # One object in each image.  First an object found by the second mask, then by the first mask, then not at all.
    lines = ("1 2 1:3ff/0", "1 2 0:3ff/0", "1 1")
    one = record(0.3, metric="maskcut_segm/ap50", matches=lines)
    other = replace(one, model="vit", matches=("1 1", "1 1", "1 1"))
    lonely = [replace(one, data="coco200"), replace(other, data="coco200", matches=None)]
    columns = [(name, "maskcut_segm/ap50") for name in ("coco200", "cutouts")]
    table = tables.order_range_table([one, replace(one, seeds=(1,)), other, *lonely], ("crate", "vit"), columns)
    (record_of_both,) = table.to_dict("records")  # neither the second seed nor data where one has no matches
    row = {key: value for (model, key), value in record_of_both.items() if model in ("", "CRATE")}
    assert row["data"] == "Cutouts"
    assert row["metric"] == "seg AP50"
    assert record_of_both["ViT", "in random orders"] == "0.00 to 0.00"
    assert record_of_both["CRATE leads", "in random orders"] == "100 %"
    # Precision at 101 recalls, of which 34 are at most 1/3 and 33 more at most 2/3.  By id: hits at places 2 and 3.
    assert row["images by id"] == f"{100 * 67 * 2 / 3 / 101:.2f}"
    # Second image, first, third: hits at places 1 and 4.  Third image, second, first: at places 2 and 5.
    least, greatest = (34 / 2 + 33 * 2 / 5) / 101, (34 + 33 * 2 / 4) / 101
    assert row["in random orders"] == f"{100 * least:.2f} to {100 * greatest:.2f}"
    # By round: the three first masks (hit at place 2), then the second ones (hit at place 4).
    assert row["by round"] == f"{100 * 67 * 2 / 4 / 101:.2f}"


def test_curves_as_numbers():
    blob, one = Interval(10.0, None, None, 7), Interval(30.0, 28.0, 33.0, 7)
    panels = {"mIoU": {"crate": {2: one, 11: one}, "centred_blob": {2: blob}}, "AP": {"vit": {1: one}}}
    table = tables.curve_table(panels, step="layer")
    assert list(table.columns) == ["layer 1", "layer 2", "layer 11"]
    assert list(table.index) == [("mIoU", "CRATE"), ("mIoU", "centred blob"), ("AP", "ViT")]
    cell = f"30.0{PLUS_MINUS}2.5"
    assert table.to_numpy().tolist() == [["–", cell, cell], ["–", "10.0", "–"], [cell, "–", "–"]]


CLAIMS = """
- {id: a, paper: P, place: Fig. 1, wording: CRATE wins., notebook: here, known: true,
   test: {metric: attention_miou/mass60/layer-1, data: cutouts, left: crate, relation: greater, right: vit,
          margin: 0.02}}
- {id: b, paper: P, place: Fig. 2, wording: They tie., notebook: here,
   test: {metric: attention_miou/mass60/layer-1, data: cutouts, left: crate_layer2, relation: within, right: vit,
          margin: 0.01}}
- {id: c, paper: P, place: Eq. 2, wording: It compresses., notebook: here,
   test: {metric: subspace_coding_rate, data: cutouts, left: crate, relation: greater, right: vit, margin: 0.0}}
- {id: d, paper: P, place: Fig. 4, wording: DINO wins., notebook: here, not_testable: no weights}
- {id: e, paper: P, place: Fig. 5, wording: Elsewhere., notebook: there, not_testable: too large}
"""


@pytest.fixture
def written_claims(tmp_path, monkeypatch):
    (tmp_path / "claims.yaml").write_text(CLAIMS)
    found = claims.load_claims(tmp_path / "claims.yaml")
    monkeypatch.setattr(tables, "load_claims", lambda: found)


@pytest.mark.usefixtures("written_claims")
def test_claims_of_a_notebook():
    rate = [
        record(value, model=name, metric="subspace_coding_rate") for name, value in (("crate", 31.0), ("vit", 40.0))
    ]
    table = tables.claims_table([record(0.5, seeds=(0,)), record(0.3, model="vit", seeds=(0,)), *rate], "here")
    wins, tie, compresses, dino = table.reset_index().to_dict("records")
    assert wins["claim"] == "CRATE wins (Fig. 1) ○"
    assert wins["test"] == "mIoU, last layer on Cutouts: CRATE > ViT + 2 points"
    assert (wins["difference"], wins["verdict"], wins["images"], wins["seeds"]) == ("+20.0 points", "holds", 7, "1 / 1")
    assert tie["test"] == "mIoU, last layer on Cutouts: CRATE, layer 2 = ViT ± 1 points"
    assert (tie["difference"], tie["95 % interval"], tie["verdict"]) == ("–", "–", "not measured yet")
    assert (compresses["difference"], compresses["verdict"]) == ("-9.0 nats", "fails")
    assert (dino["test"], dino["verdict"]) == ("no weights", "not testable here")


@pytest.mark.usefixtures("written_claims")
def test_claims_without_any_record():
    table = tables.claims_table([], "here")
    assert list(table["verdict"]) == ["not measured yet"] * 3 + ["not testable here"]


def test_panels_by_step_leave_out_data_without_records():
    records = [record(0.2 + 0.1 * n, model=f"crate_layer{n}") for n in (1, 2)]
    panels = tables.step_panels(records, "layer", metrics={"mIoU": MIOU}, data=("cutouts", "weizmann"))
    assert list(panels) == ["mIoU, Cutouts"]
    assert [one.value for one in panels["mIoU, Cutouts"]["crate"].values()] == pytest.approx([30, 40])


def test_metrics_that_are_no_fractions():
    one = record(1.5, metric="cost/gmacs", low=1.2495, high=1.75)
    rate = record(30.0, metric="subspace_coding_rate", low=28.0, high=33.0)
    columns = [("cutouts", "cost/gmacs"), ("cutouts", "subspace_coding_rate")]
    table = tables.record_table("recorded", [one, rate], ["crate"], columns)
    assert table.iloc[0].to_list() == [f"1.500{PLUS_MINUS}0.250", f"30.0{PLUS_MINUS}2.5"]


def test_margins_are_in_the_metric_s_unit():
    for metric, margin, expected in (
        ("cost/gmacs", 0.459, "GMACs on Cutouts: CRATE > ViT + 0.459 GMACs"),
        ("segmentation/miou", -0.008, "mIoU on Cutouts: CRATE > ViT − 0.8 points"),
        ("segmentation/miou", 0.0, "mIoU on Cutouts: CRATE > ViT"),
    ):
        check = claims.Check(metric, "cutouts", "crate", "greater", "vit", margin)
        claim = claims.Claim("a", "P", "Fig. 1", "It is.", "here", check)
        records = [record(value, model=name, metric=metric) for name, value in (("crate", 1.75), ("vit", 0.5))]
        row = tables.claim_row(claims.decide(claim, records))
        assert row["test"] == expected
        assert row["difference"] == ("+1.250 GMACs" if metric == "cost/gmacs" else "+125.0 points")
