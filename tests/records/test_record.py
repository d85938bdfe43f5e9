"""Records survive a round trip, and one number stands for several seeds."""

import errno
import os

import numpy as np
import pytest
from scipy import stats

from tests.tiny import record
from wbcore.errors import InputError
from wbcore.records import load_records, over_seeds, save_records, select

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
    assert path.read_text().count('"cutouts"') == 1  # what they share stands once
    save_records([], path)
    assert load_records(path) == []


def test_only_record_files_of_a_folder_are_read(tmp_path):
    save_records([record(0.4)], tmp_path / "records-a.json")
    save_records([record(0.5)], tmp_path / "b" / "records-b.json")
    (tmp_path / "notes.json").write_text("{}")
    assert {found.value for found in load_records(tmp_path)} == {0.4, 0.5}


@pytest.mark.parametrize(
    "content", [b"[{", b'{"a": 1}', b'{"common": {}, "records": [{"seeds": []}]}', b"\xff\xfe\x00", b"[1]"]
)
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
