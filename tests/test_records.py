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
from wbcore.metrics.segmentation import score_difference, tallies_from_lines
from wbcore.records import (
    along,
    by_noise,
    by_step,
    greater,
    kept,
    load_records,
    over_seeds,
    paper_values,
    require_near,
    save_records,
    select,
    step_of,
)

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


def test_a_run_that_was_measured_twice_counts_once():
    twice = [record(0.4, seeds=(0,), weights_sha256="a"), record(0.4, seeds=(0,), weights_sha256="a", command="other")]
    assert over_seeds(twice).seeds == (0,)
    assert over_seeds(twice).low == twice[0].low
    assert over_seeds([*twice, record(0.5, seeds=(1,), weights_sha256="b")]).value == pytest.approx(0.45)


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


def test_what_is_kept_of_ones_own():
    half = tuple(value / 2 for value in VALUES)
    assert kept(record(0.2, values=half), record(0.4, values=VALUES)) == pytest.approx((0.5, 0.5, 0.5, len(VALUES)))
    with pytest.raises(InputError, match="of the same images"):
        kept(record(0.2, values=half[1:]), record(0.4, values=VALUES))
    with pytest.raises(InputError, match="of the same images"):
        kept(record(0.2), record(0.4, values=VALUES))
    with pytest.raises(InputError, match="cannot be compared"):
        kept(record(0.2, values=half, data="weizmann"), record(0.4, values=VALUES))


def test_noise_begins_at_the_clean_value():
    records = [
        record(0.4, values=VALUES),
        record(0.2, model="crate_sigma10_share50", values=tuple(value / 2 for value in VALUES)),
        record(0.1, model="crate_sigma10_share25"),
        record(0.3, model="centred_blob"),
    ]
    axis = ("crate", "vit"), "_sigma{}_share50", (10, 25)
    metric = records[0].metric
    found = by_noise(records, *axis, data="cutouts", metric=metric, blind=("centred_blob",))
    assert {model: {level: round(one.value) for level, one in curve.items()} for model, curve in found.items()} == {
        "crate": {0: 40, 10: 20},
        "centred_blob": {0: 30, 10: 30, 25: 30},
    }
    own = by_noise(records, *axis, data="cutouts", metric=metric, own=True)
    assert {level: round(one.value) for level, one in own["crate"].items()} == {0: 100, 10: 50}


def test_along_an_axis_gaps_are_left_out_and_seeds_averaged():
    metric = record(0.4).metric
    noisy = [record(value, model="crate_sigma75_share10", seeds=(seed,)) for seed, value in enumerate((0.2, 0.3))]
    records = [record(0.4), *noisy, record(0.1, model="vit")]
    models = {0: "crate", 10: "crate_sigma75_share10", 25: "crate_sigma75_share25"}
    found = along(records, models, data="cutouts", metric=metric)
    assert list(found) == [0, 10]
    assert found[0] == record(0.4)
    assert found[10] == over_seeds(noisy)
    assert along(records, models, data="weizmann", metric=metric) == {}


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("crate_layer12", ("crate", "layer", 12)),
        ("crate_mlp_epoch3", ("crate_mlp", "epoch", 3)),
        ("untrained_crate", ("untrained_crate", "", 0)),
        ("crate_layers", ("crate_layers", "", 0)),
    ],
)
def test_the_step_in_a_models_name(name, expected):
    assert step_of(name) == expected


def test_a_metric_by_layer():
    wanted = {"crate_layer11": 0.5, "crate_layer2": 0.3, "vit_layer2": 0.2}
    metrics = {name: f"attention_miou/mass60/layer{int(name.split('layer')[1]) - 1}" for name in wanted}
    records = [record(value, model=name, metric=metrics[name]) for name, value in wanted.items()]
    records += [
        record(0.1, model="centred_blob", low=None, high=None),  # its metric is that of layer -1
        record(0.7, model="crate_epoch1"),
        record(0.8, model="vit_layer11", data="weizmann"),
    ]
    found = by_step(records, "layer", data="cutouts", metric="attention_miou/mass60/layer*")
    assert list(found["crate"]) == [2, 11]
    assert found["crate"][2] == pytest.approx((30, 28, 33, 7))  # in percent
    assert found["crate"][11] == pytest.approx((50, 48, 53, 7))
    assert list(found["vit"]) == [2]
    assert found["centred_blob"] == dict.fromkeys((2, 11), pytest.approx((10, None, None, 7)))
    assert found.keys() == {"crate", "vit", "centred_blob"}
    other = by_step(records, "layer", data="weizmann", metric="*/layer-1")
    assert other == {"vit": {11: pytest.approx((80, 78, 83, 7))}}
    epochs = by_step(records, "epoch", data="cutouts", metric="*/layer-1")
    assert epochs["crate"] == {1: pytest.approx((70, 68, 73, 7))}


def test_a_pattern_must_not_mix_metrics():
    records = [record(0.4, metric=f"attention_miou/mass60/layer-{layer}") for layer in (1, 2)]
    with pytest.raises(InputError, match="different metrics"):
        along(records, {1: "crate"}, data="cutouts", metric="attention_miou/mass60/layer*")


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
