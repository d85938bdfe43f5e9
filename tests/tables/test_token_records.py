"""Records of token-pass read back: image by image, class by class, and as tables."""

import dataclasses

import numpy as np
import pytest

from tests.stripes import Stripes, stripes_model
from wbcore.measuring import token_use
from wbcore.measuring.segmentation import segment, segmentation_records
from wbcore.models.dovit import Policy
from wbcore.records import Origin
from wbcore.tables import token_records

NAME, DENSE = "setr_vit_dovit", "setr_vit_dense"
POLICY = Policy("confidence", threshold=0.6)


@pytest.fixture(scope="module")
def model():
    return stripes_model()


@pytest.fixture(scope="module")
def records(model):
    return [
        *segmentation_records(model, Stripes(), Origin(NAME, "stripes", "test", 0), policy=POLICY),
        *segmentation_records(model, Stripes(), Origin(DENSE, "stripes", "test", 0)),
    ]


@pytest.fixture(scope="module")
def uses(records):
    return token_records.token_uses(records, [("stripes", NAME), ("stripes", "setr_crate_dovit"), ("stripes", DENSE)])


def test_records_say_what_was_measured(model, uses):
    (use,) = uses
    data = Stripes()
    found = list(segment(model, [data[number] for number in range(3)], policy=POLICY))
    assert use.title == "SETR, ViT, lab, DoViT on stripes"
    assert use.classes == tuple("abcde")
    assert np.array_equal(use.pixels, token_use.class_pixels(found, classes=5))
    assert use.gmacs == pytest.approx(token_use.costs(found), abs=1e-4)
    assert use.kept == pytest.approx(np.array([[mask.mean() for mask in one.keep] for one in found]), abs=1e-4)
    (dense,) = segment(model, [data[0]])
    assert use.dense == pytest.approx(dense.cost.whole.total / 1e9)
    assert len(use.iou) == len(use.kept_by_class) == 5


def test_a_model_without_its_dense_one(records):
    (use,) = token_records.token_uses([one for one in records if one.model == NAME], [("stripes", NAME)])
    assert use.dense is None
    assert (token_records.spread_table([use])["dense"] == "–").all()
    assert (token_records.cases_table([use])["of dense"] == "–").all()


def test_a_class_that_no_image_has_is_left_out(records):
    absent = "c"
    without = []
    for record in records:
        if record.metric.endswith(f"/{absent}"):
            continue
        lines = record.tallies and tuple(
            " ".join(part for part in line.split(" ") if not part.startswith("2:")) for line in record.tallies
        )
        without.append(dataclasses.replace(record, tallies=lines))
    (use,) = token_records.token_uses(without, [("stripes", NAME)])
    assert use.classes == ("a", "b", "d", "e")
    assert use.pixels.shape == (3, 4)


def test_tables(uses):
    classes = token_records.class_table(uses)
    assert len(classes) == 5
    first = [float(cell.split("\N{NO-BREAK SPACE}")[0]) for cell in classes["goes on after 1"]]
    assert first == sorted(first)
    assert sum(map(float, classes["share of pixels"])) == pytest.approx(100, abs=0.3)
    (use,) = uses
    (spread,) = token_records.spread_table(uses).to_dict("records")
    assert spread["cheapest"] == f"{use.gmacs.min():.3f}"
    assert spread["dearest / cheapest"] == f"{use.gmacs.max() / use.gmacs.min():.2f}"
    cases = token_records.cases_table(uses)
    assert list(cases["block 1"]) == ["100 %", "100 %"]
    assert cases["block 4"].iloc[1] == f"{100 * use.kept[use.gmacs.argmax(), 2]:.0f} %"
    ranks = token_records.class_rank_table(uses)
    assert ranks.shape == (2, 3)
    assert ranks.map(lambda cell: cell == "–" or -1 <= float(cell) <= 1).all(axis=None)


def test_correlations_are_marked_where_zero_is_outside():
    relations = token_use.cost_relations(
        np.arange(11.0), np.array([[n, 11 - n, 5] for n in range(11)]), ("a", "b", "c")
    )
    table = token_records.relation_table({"first": relations})
    assert list(table.columns) == ["first (11 images)"]
    assert table["first (11 images)"]["share of a"].endswith("*")
    assert table["first (11 images)"]["share of c"] == "–"


def test_borders(model):
    data = Stripes()
    found = list(segment(model, [data[number] for number in range(3)], policy=POLICY))
    kept = token_use.kept_at_borders(found)
    table = token_records.border_table(kept)
    assert list(table.index) == ["one class", "several classes"]
    assert table["goes on after 3"].iloc[0].startswith(f"{100 * kept['one class'][2].value:.1f}")


def test_nothing_recorded():
    for table in (token_records.class_table, token_records.spread_table, token_records.cases_table):
        assert table([]).empty
    assert token_records.class_rank_table([]).empty
    assert token_records.relation_table({}).empty
