"""CorLoc recorded: what a model's features are made to say, and that nothing is chosen on what is measured."""

import numpy as np
import pytest

from tests import tiny
from tests.rectangles import by_floats
from wbcore.data.example import Example
from wbcore.errors import InputError
from wbcore.measuring.lost_records import (
    SHARES,
    box_hits,
    box_records,
    centred_box,
    differing,
    lost_records,
    measure,
)
from wbcore.measuring.lost_sweep import (
    METRICS,
    Sweep,
    Way,
    choose,
    object_boxes,
    see,
    stock,
    sweep,
)
from wbcore.records import Origin, select

PLACES = (-0.3, 0.0, 0.2)


def test_what_is_recorded_was_chosen_elsewhere(planted_model, rectangle_photographs):
    here = sweep(see(planted_model, rectangle_photographs), biases=PLACES)
    hits = {way: [[[0.0], [0.0], [float(way == ("values", "unit"))]]] for way in here.numbers}
    there = Sweep(PLACES, {way: np.array(rows) for way, rows in hits.items()}, 1)
    origin = Origin("double", "noise", "test", 3, settings={"moved": [5]})
    records = lost_records(planted_model, there, here, rectangle_photographs, origin)
    (best,) = select(records, metric="corloc", model="double")
    assert (best.settings["facet"], best.settings["treatment"], best.settings["bias"]) == ("values", "unit", 0.2)
    assert best.values == tuple(here.of(Way("values", "unit", 0.2)))
    assert best.settings["moved"] == [5]
    assert best.settings["images_without_object"] == 1
    assert (best.n, best.seeds) == (6, (3,))
    for metric in METRICS[1:]:
        (one,) = select(records, metric=metric, model="double_stock")
        assert one.values == pytest.approx(here.of(stock(planted_model), metric), abs=1e-4)
    assert {one.model for one in select(records, metric="corloc")} == {
        "double",
        *(f"double_{ending}" for ending in ("stock", "keys", "queries", "values")),
    }
    (curve,) = select(records, metric="corloc/unit", model="double_values")
    assert curve.settings["places"] == list(PLACES)
    assert curve.settings["curve_where_chosen"] == [0, 0, 1]
    shares = here.hits("values", "unit").mean(axis=0)
    assert [value for value, _, _ in curve.settings["curve"]] == pytest.approx(shares.tolist(), abs=1e-4)
    assert all(low <= value <= high for value, low, high in curve.settings["curve"])


def test_measuring_is_choosing_on_the_others_and_scoring_here(planted_model, rectangle_photographs):
    others = tiny.Photographs(rectangle_photographs[3:5])
    records = measure(planted_model, others, rectangle_photographs, Origin("double", "noise", "test"), biases=PLACES)
    way = choose(sweep(see(planted_model, others), biases=PLACES))
    (best,) = select(records, metric="corloc", model="double")
    assert best.values == tuple(sweep(see(planted_model, rectangle_photographs), biases=PLACES).of(way))
    assert [best.settings[name] for name in way._fields] == list(way)
    assert best.settings["chosen_on"] == others.name


def test_how_many_images_differ():
    short, long = (tiny.record(0.5, n=len(values), values=values) for values in ((1.0, 0.0), (1.0, 1.0, 0.0)))
    assert differing(short, long) == 0.5
    with pytest.raises(InputError, match="no values of all images"):
        differing(long, short)


class TestBoxes:
    def test_a_centred_box_covers_its_share(self):
        box = centred_box(Example("", np.zeros((29, 17, 3), np.uint8)), 0.3)
        area = (box.right - box.left) * (box.bottom - box.top)
        assert area / (29_000 * 17_000) == pytest.approx(0.3, abs=2e-3)
        assert box.left + box.right == 17_000
        assert box.top + box.bottom == 29_000

    def test_against_floats(self, rectangle_photographs):
        hits = box_hits(rectangle_photographs, (*SHARES, 1.0))
        kept = [one for one in rectangle_photographs if len(one.instances)]
        for row, example in zip(hits, kept, strict=True):
            for share, hit in zip((*SHARES, 1.0), row, strict=True):
                box = centred_box(example, share)
                assert hit == by_floats(box, object_boxes(example), (0.001, 0.001))
        assert hits.any()
        assert not hits.all()

    def test_the_share_is_chosen_elsewhere(self, rectangle_photographs):
        whole = np.ones((1, 19, 23), bool)
        others = tiny.Photographs([Example("", np.zeros((19, 23, 3), np.uint8), instances=whole)])
        box, image = box_records(others, rectangle_photographs, Origin("boxes", "noise", "test"))
        assert (box.model, image.model) == ("centred_box", "whole_image")
        assert box.settings["share"] == 0.5  # every larger share is right, too
        assert image.values == tuple(box_hits(rectangle_photographs, (1.0,))[:, 0])
