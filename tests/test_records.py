"""Records keep what was measured, and claims say no more than they allow."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.tiny import record
from wbcore.errors import InputError
from wbcore.metrics.detection import ap_difference, matches_from_lines
from wbcore.records import greater, load_records, over_seeds, paper_values, save_records, select

VALUES = (0.1, 0.4, 0.3, 0.2, 0.5, 0.6, 0.7)


def test_round_trip(tmp_path):
    records = [
        record(0.4, values=VALUES, seeds=(0,), settings={"size": 72}, software={"torch": "2"}, seconds=1.5),
        record(0.3, model="vit", low=None, high=None),
    ]
    path = tmp_path / "table" / "records-a.json"
    save_records(records, path)
    assert load_records(path) == records
    assert load_records(tmp_path) == records


def test_only_record_files_of_a_folder_are_read(tmp_path):
    save_records([record(0.4)], tmp_path / "records-a.json")
    save_records([record(0.5)], tmp_path / "b" / "records-b.json")
    (tmp_path / "notes.json").write_text("{}")
    assert {found.value for found in load_records(tmp_path)} == {0.4, 0.5}


@pytest.mark.parametrize("content", [b"[{", b'{"a": 1}', b'[{"seeds": []}]', b"\xff\xfe\x00", b"[1]"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "records.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds no records") as caught:
        load_records(path)
    assert str(path) in str(caught.value)


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere is missing"):
        load_records(tmp_path / "nowhere")


def test_a_full_disk_keeps_the_old_records(tmp_path, monkeypatch):
    path = tmp_path / "records.json"
    save_records([record(0.4)], path)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        save_records([record(0.5)], path)
    assert load_records(path) == [record(0.4)]


def test_select():
    records = [record(0.4), record(0.3, model="vit"), record(0.2, model="vit", data="weizmann")]
    assert select(records, model="vit", data="weizmann") == records[2:]
    assert select(records, model="none") == []


def test_one_seed_keeps_its_interval_over_images():
    assert over_seeds([record(0.4)]) == record(0.4)


def test_several_seeds_by_hand():
    records = [record(value, seeds=(seed,), values=(value, 2 * value)) for seed, value in enumerate((0.2, 0.3, 0.4))]
    mean = over_seeds(records)
    half = stats.t.ppf(0.975, 2) * np.std([0.2, 0.3, 0.4], ddof=1) / np.sqrt(3)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.3, 0.3 - half, 0.3 + half))
    assert mean.seeds == (0, 1, 2)
    assert mean.values == pytest.approx((0.3, 0.6))


@pytest.mark.parametrize("other", [{"model": "vit"}, {"data": "weizmann"}, {"metric": "x"}, {"data_sha256": "0"}])
def test_only_seeds_of_one_thing_have_a_mean(other):
    with pytest.raises(InputError, match="no common mean"):
        over_seeds([record(0.4), record(0.4, **other)])
    with pytest.raises(InputError, match="measure first"):
        over_seeds([])


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


def test_without_an_interval_nothing_is_decided():
    found = greater(record(0.9, low=None, high=None), record(0.1))
    assert found.verdict == "undecided"
    assert found.difference.low is None
    assert greater(record(0.9, values=(0.9,)), record(0.1, values=(0.1,))).verdict == "undecided"


@pytest.mark.parametrize("other", [{"data": "weizmann"}, {"metric": "x"}, {"data_sha256": "0"}])
def test_numbers_from_different_data_are_never_compared(other):
    with pytest.raises(InputError, match="cannot be compared"):
        greater(record(0.5), record(0.4, **other))


def test_papers_values(tmp_path):
    rows = paper_values("crate_table2")
    assert {row["value"] for row in rows if row["metric"] == "attention_miou"} == {"23.9", "22.0", "18.4", "14.1"}
    (tmp_path / "known.csv").write_text("model\n")
    with pytest.raises(InputError, match="known"):
        paper_values("other", tmp_path)


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
