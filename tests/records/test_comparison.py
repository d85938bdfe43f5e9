"""Comparisons by hand, from intervals and image by image."""

from dataclasses import replace

import numpy as np
import pytest

from tests.tiny import record
from wbcore.errors import InputError
from wbcore.metrics.detection import ap_difference, matches_from_lines
from wbcore.metrics.segmentation import score_difference, tallies_from_lines
from wbcore.records import greater, kept, load_records, over_seeds, require_near, save_records

VALUES = (0.1, 0.4, 0.3, 0.2, 0.5, 0.6, 0.7)


@pytest.mark.parametrize(
    ("left", "right", "margin", "verdict"),
    # Intervals of ± 0.02: of the difference ± 0.02·√2 = ± 0.028.
    [
        (0.5, 0.4, 0.0, "holds"),
        (0.4, 0.5, 0.0, "fails"),
        (0.42, 0.4, 0.0, "undecided"),
        (0.5, 0.4, 0.1, "undecided"),
        (0.5, 0.4, 0.2, "fails"),
        (0.5, 0.4, 0.05, "holds"),
    ],
)
def test_verdict_from_two_intervals(left, right, margin, verdict):
    pair = [record(value, low=value - 0.02, high=value + 0.02) for value in (left, right)]
    found = greater(*pair, margin=margin)
    half = 0.02 * 2**0.5
    expected = (left - right, left - right - half, left - right + half)
    assert found.difference[:3] == pytest.approx(expected)
    assert found.verdict == verdict


def test_intervals_that_are_not_symmetric():
    found = greater(record(0.5, low=0.47, high=0.54), record(0.4, low=0.36, high=0.45))
    assert found.difference.low == pytest.approx(0.1 - np.hypot(0.03, 0.05))
    assert found.difference.high == pytest.approx(0.1 + np.hypot(0.04, 0.04))


def test_image_by_image_what_is_hard_for_both_cancels():
    better = tuple(value + 0.01 for value in VALUES)
    wide = {"low": 0.1, "high": 0.7}
    left, right = record(0.41, values=better, **wide), record(0.4, values=VALUES, **wide)
    assert greater(left, right).verdict == "holds"
    assert greater(right, left).verdict == "fails"
    assert greater(left, right).difference.n == len(VALUES)
    assert greater(left, record(0.4, **wide)).verdict == "undecided"


def test_what_is_kept_of_ones_own():
    half = tuple(value / 2 for value in VALUES)
    assert kept(record(0.2, values=half), record(0.4, values=VALUES)) == pytest.approx((0.5, 0.5, 0.5, len(VALUES)))
    with pytest.raises(InputError, match="of the same images"):
        kept(record(0.2, values=half[1:]), record(0.4, values=VALUES))
    with pytest.raises(InputError, match="of the same images"):
        kept(record(0.2), record(0.4, values=VALUES))
    with pytest.raises(InputError, match="cannot be compared"):
        kept(record(0.2, values=half, data="weizmann"), record(0.4, values=VALUES))


def test_without_an_interval_nothing_is_decided():
    found = greater(record(0.9, low=None, high=None), record(0.1))
    assert found.verdict == "undecided"
    assert found.difference.low is None
    assert greater(record(0.9, values=(0.9,)), record(0.1, values=(0.1,))).verdict == "undecided"


@pytest.mark.parametrize("other", [{"data": "weizmann"}, {"metric": "x"}, {"data_sha256": "0"}])
def test_numbers_from_different_data_are_never_compared(other):
    with pytest.raises(InputError, match="cannot be compared"):
        greater(record(0.5), record(0.4, **other))


def test_two_aps_are_compared_image_by_image():
    many = ("1 1 0:3ff/0",) * 11 + ("1 1",) * 12
    few = ("1 1",) * 3 + ("1 1 0:3ff/0",) * 5 + ("1 1",) * 15
    metric, wide = "maskcut_segm/ap50", {"low": 0.0, "high": 1.0}
    left, right = (record(0.4, metric=metric, matches=lines, **wide) for lines in (many, few))
    expected = ap_difference(matches_from_lines(many), matches_from_lines(few)).ap50
    assert greater(left, right).difference == expected
    assert greater(left, right).verdict == "holds"
    assert greater(left, record(0.4, metric=metric, **wide)).verdict == "undecided"
    assert over_seeds([left, replace(left, seeds=(1,))]).matches is None


def test_two_mious_are_compared_image_by_image(tmp_path):
    one = "2 0:7/10/9 1:2/4/5"
    better, worse = ("2 0:8/10/9 1:3/4/5",) * 13, (one,) * 13
    wide = {"low": 0.0, "high": 1.0}
    for name in ("miou", "pa", "mpa"):
        left, right = (record(0.4, metric=f"segmentation/{name}", tallies=lines, **wide) for lines in (better, worse))
        expected = getattr(score_difference(tallies_from_lines(better), tallies_from_lines(worse)), name)
        assert greater(left, right).difference == expected
        assert greater(left, right).verdict == "holds"
    assert greater(left, record(0.4, metric=left.metric, **wide)).verdict == "undecided"
    assert over_seeds([left, replace(left, seeds=(1,))]).tallies is None
    save_records([left], tmp_path / "records.json")
    assert load_records(tmp_path) == [left]


def test_live_numbers_near_the_recorded_ones():
    stored = [record(0.5), record(0.5, metric="other")]
    live = [record(0.58), record(0.9, metric="other"), record(0.1, model="vit")]
    require_near(live, stored, {stored[0].metric: 0.1})
    with pytest.raises(AssertionError, match=r"of crate is 0\.5800 now, 0\.5000 in the records"):
        require_near(live, stored, {stored[0].metric: 0.05})
