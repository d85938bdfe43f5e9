"""Claims are shown with their test, what was measured, and the verdict."""

import pytest

from tests.tiny import record
from wbcore import claims, tables

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
    monkeypatch.setattr(tables.claims, "load_claims", lambda: found)


@pytest.mark.usefixtures("written_claims")
def test_claims_of_a_notebook():
    rate = [
        record(value, model=name, metric="subspace_coding_rate") for name, value in (("crate", 31.0), ("vit", 40.0))
    ]
    table = tables.claims_table([record(0.5, seeds=(0,)), record(0.3, model="vit", seeds=(0,)), *rate], "here")
    assert table.columns[0] == "verdict"  # beside the claim, where a phone shows it
    wins, tie, compresses, dino = table.reset_index().to_dict("records")
    assert wins["claim"] == "CRATE wins (Fig. 1) ○"
    assert wins["test"] == "mIoU, last layer on Cutouts: CRATE > ViT + 2 points"
    assert (wins["difference"], wins["verdict"], wins["seeds"]) == ("+20.0 points", "holds", "1 / 1")
    assert wins["over"] == "7\N{NO-BREAK SPACE}images"
    assert tie["test"] == "mIoU, last layer on Cutouts: CRATE, layer 2 = ViT ± 1 points"
    assert (tie["difference"], tie["95 % interval"], tie["verdict"]) == ("–", "–", "not measured yet")
    assert (compresses["difference"], compresses["verdict"]) == ("-9.0 nats", "fails")
    assert (dino["test"], dino["verdict"]) == ("no weights", "not testable here")


@pytest.mark.usefixtures("written_claims")
def test_claims_without_any_record():
    table = tables.claims_table([], "here")
    assert list(table["verdict"]) == ["not measured yet"] * 3 + ["not testable here"]


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
