"""Segmentation measured: sizes, costs and records, on a model and a data set small enough to check by hand."""

import dataclasses

import numpy as np
import pytest

from tests.stripes import CLASSES, Stripes, stripes_model
from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.measuring.segmentation import SegmentationPlan, View, describe, segment, segmentation_records
from wbcore.metrics.segmentation import tallies_from_lines
from wbcore.metrics.segmentation_cost import dense_ledger
from wbcore.models.dovit import Policy
from wbcore.records import Origin, greater, load_records, save_records


@pytest.fixture
def model():
    return stripes_model()


def measured(model, *, seed=None, **options):
    return segmentation_records(model, Stripes(), Origin("tiny", "stripes", "test", seed), **options)


def by_metric(records):
    return {record.metric: record for record in records}


def test_predictions_have_the_annotation_s_size(model):
    for shorter, grid in ((None, (4, 5)), (26, (7, 10))):
        for found in segment(model, [Stripes()[0]], view=View(shorter), policy=Policy("confidence", threshold=0.6)):
            assert found.prediction.shape == (13, 19)
            assert [mask.shape for mask in found.keep] == [grid] * 3
            assert [map_.shape for map_ in found.sure] == [grid] * 3
            assert min(found.image.shape[:2]) == (shorter or 13)
            assert len(found.tokens) == 4


def test_windows_average_and_cost_is_the_whole_image_s(model):
    (whole,) = segment(model, [Stripes()[0]])
    (same,) = segment(model, [Stripes()[0]], view=View(window=(24, 8)))
    (other,) = segment(model, [Stripes()[0]], view=View(window=(8, 4)))
    assert np.array_equal(same.prediction, whole.prediction)
    assert other.cost == whole.cost
    assert other.prediction.shape == whole.prediction.shape


def test_the_policy_is_the_model_s_own_again(model):
    own = model.policy
    list(segment(model, [Stripes()[0]], policy=Policy("merge", merged=2)))
    assert model.policy is own
    for _ in segment(model, [Stripes()[0], Stripes()[1]], policy=Policy("merge", merged=2)):
        break
    assert model.policy is own


def test_records_of_a_dense_model(model):
    found = by_metric(measured(model, seed=7))
    assert set(found) == {f"segmentation/{m}" for m in ("miou", "pa", "mpa")} | {"cost/gmacs", "cost/gmacs_linear"}
    whole = dense_ledger(model.config, (4, 5)).whole
    assert found["cost/gmacs"].value == pytest.approx(whole.total / 1e9)
    assert found["cost/gmacs_linear"].value == pytest.approx(whole.linear / 1e9)
    assert all(record.n == 3 and record.seeds == (7,) for record in found.values())
    assert tallies_from_lines(found["segmentation/miou"].tallies).labelled.sum() == 3 * 12 * 19
    assert found["segmentation/miou"].settings["policy"] == {"kind": "dense"}


def test_token_pass_costs_less_and_can_be_compared(model, tmp_path):
    dense = by_metric(measured(model))
    passed = by_metric(measured(model, policy=Policy("confidence", threshold=0.6)))
    assert passed["cost/gmacs"].value < dense["cost/gmacs"].value
    assert 0 <= passed["kept/3"].value <= passed["kept/1"].value < 1
    save_records(passed.values(), tmp_path / "records-x.json")
    again = by_metric(load_records(tmp_path))
    assert again == passed
    comparison = greater(dataclasses.replace(again["segmentation/miou"], model="other"), dense["segmentation/miou"])
    difference = passed["segmentation/miou"].value - dense["segmentation/miou"].value
    assert comparison.difference.value == pytest.approx(difference)


def test_patches_at_the_pixels_of_the_annotation(model):
    """13 × 19 pixels, shown at 26 × 38 as 7 × 10 patches of 4, of which the last in each direction are cut in half."""
    (found,) = segment(model, [Stripes()[0]], view=View(26), policy=Policy("confidence", threshold=0.6))
    numbers = np.arange(70).reshape(7, 10)
    whole = numbers.repeat(4, axis=0).repeat(4, axis=1)[:26, :38]
    assert np.array_equal(found.at_pixels(numbers), whole[1::2, 1::2])
    assert found.picture.shape[:2] == found.prediction.shape == (13, 19)


def test_a_picture_without_annotation_is_as_large_as_its_prediction(model):
    (found,) = segment(model, [Stripes(annotated=False)[0]], view=View(26))
    assert found.picture.shape[:2] == found.prediction.shape == (26, 38)


def test_what_goes_on_of_each_class(model):
    policy = Policy("confidence", threshold=0.6)
    records = by_metric(measured(model, policy=policy))
    data = Stripes()
    kept, pixels = np.zeros((3, CLASSES)), np.zeros(CLASSES)
    for found in segment(model, [data[index] for index in range(len(data))], policy=policy):
        labels = found.example.semantic
        for row, col in zip(*np.nonzero(labels != VOID), strict=True):
            pixels[labels[row, col]] += 1
            kept[:, labels[row, col]] += [mask[row // 4, col // 4] for mask in found.keep]
    for decision in range(3):
        for number, name in enumerate(data.classes):
            found = records[f"kept_by_class/{decision + 1}/{name}"]
            assert found.value == pytest.approx(kept[decision, number] / pixels[number])
            assert found.n == 3


def test_nothing_stops_at_one(model):
    dense = by_metric(measured(model))
    whole = by_metric(measured(model, policy=Policy("confidence", threshold=1.0)))
    assert whole["segmentation/miou"].tallies == dense["segmentation/miou"].tallies
    assert whole["kept/3"].value == 1


def test_other_classes_and_no_annotation(model):
    with pytest.raises(InputError, match="has no annotation"):
        segmentation_records(model, Stripes(annotated=False), Origin("tiny", "stripes", "test"))
    data = Stripes()
    data.classes = ("a", "b")
    with pytest.raises(InputError, match="stripes has 2 classes, tiny knows 5"):
        segmentation_records(model, data, Origin("tiny", "stripes", "test"))


@pytest.mark.parametrize(
    ("policy", "description"),
    [
        (Policy(), {"kind": "dense"}),
        (Policy("confidence", threshold=0.9), {"kind": "confidence", "threshold": 0.9, "merging": "code"}),
        (Policy("ratio", keep_ratio=0.5), {"kind": "ratio", "keep_ratio": 0.5}),
        (Policy("merge", merged=3), {"kind": "merge", "merged": 3}),
    ],
)
def test_what_matters_of_a_policy(policy, description):
    assert describe(policy) == description


def test_pictures_may_show_another_threshold():
    own = Policy("confidence", threshold=0.97, merging="printed")
    plan = SegmentationPlan("stripes", "test", ())
    assert plan.pictured(own) == own
    assert plan.pictured(own, 0.5) == dataclasses.replace(own, threshold=0.5)
    lower = dataclasses.replace(plan, pictured_at=0.8)
    assert lower.pictured(own) == dataclasses.replace(own, threshold=0.8)
    assert lower.pictured(own, 0.5).threshold == 0.5
