"""Segmentation records along an axis: what is picked out, converted and compared."""

import json

import pytest

from tests.tiny import record
from wbcore.errors import InputError
from wbcore.metrics.intervals import Interval
from wbcore.records import save_records
from wbcore.tables.segmentation_curves import (
    FPS,
    GMACS,
    MILLISECONDS,
    MIOU,
    Point,
    benchmarked,
    by_threshold,
    milliseconds,
    pareto,
    plane,
    plane_table,
    recorded,
    saving_panels,
    saving_table,
    speed_table,
    threshold_panels,
    threshold_table,
    timed,
)

DOVIT, DENSE = "setr_vit_dovit", "setr_vit_dense"


def scored(model, value, metric=MIOU, data="camvid", **fields):
    return record(value, model=model, metric=metric, data=data, **fields)


def speed(model, value, metric=FPS, size=(18, 24), device="cpu", precision="float32", ratio=2.0):
    settings = {"size": list(size), "device": device, "precision": precision, "macs_ratio": ratio}
    return scored(model, value, metric, low=value - 1, high=value + 1, settings=settings)


def test_only_what_was_recorded(tmp_path):
    save_records([scored(DENSE, 0.5)], tmp_path / "here" / "records.json")
    assert [one.model for one in recorded("missing", "here", results=tmp_path)] == [DENSE]


def test_device_and_size_are_told_apart():
    small, large = speed(DENSE, 20.0), speed(DENSE, 5.0, size=(36, 48))
    others = [speed(DENSE, 90.0, device="cuda"), speed(DENSE, 95.0, device="cuda", precision="bfloat16")]
    everything = [small, large, *others]
    assert timed(everything) == [small]
    assert timed(everything, enlarged=True) == [large]
    assert timed(everything, device="cuda", precision="bfloat16") == [others[1]]


def test_milliseconds_turn_the_interval_around():
    (found,) = milliseconds([speed(DENSE, 5.0), speed(DENSE, 7.0, "speed/throughput")])
    assert (found.metric, found.value) == (MILLISECONDS, 200)
    assert (found.low, found.high) == pytest.approx((1000 / 6, 250))


def test_curves_over_the_threshold_and_the_dense_level():
    records = [
        scored(f"{DOVIT}_xi990", 0.6),
        scored(f"{DOVIT}_xi950", 0.5),
        scored(DOVIT, 0.9),
        scored(DENSE, 0.7),
        scored("setr_crate_dense", 0.8),
        scored(f"{DOVIT}_xi970", 0.4, data="cutouts_stuff"),
    ]
    found = by_threshold(records, MIOU, data="camvid")
    assert list(found) == [DOVIT, DENSE]
    assert {xi: one.value for xi, one in found[DOVIT].items()} == {0.95: 50, 0.99: 60}
    assert found[DOVIT][0.95] == pytest.approx((50, 48, 53, 7))
    assert {xi: one.value for xi, one in found[DENSE].items()} == {0.95: 70, 0.99: 70}


def test_table_has_each_metric_in_its_unit():
    records = [scored(f"{DOVIT}_xi950", 0.5), scored(f"{DOVIT}_xi960", 1.25, GMACS), speed(f"{DOVIT}_xi950", 5.0)]
    table = threshold_table(threshold_panels(records, (MIOU, GMACS, FPS), ("camvid",)))
    assert table["ξ = 0.95"].str.replace("\xa0", " ").tolist() == ["50.0 ± 2.5", "–", "5.0 ± 1.0"]
    assert table["ξ = 0.96"].str.replace("\xa0", " ").tolist() == ["–", "1.250 ± 0.025", "–"]
    assert threshold_table({}).empty


def test_savings_of_time_and_macs():
    records = [
        speed(DOVIT, 2.0, "speedup/fps", ratio=2.5),
        speed(DOVIT, 4.0, "speedup/throughput", size=(36, 48)),
        speed(DENSE, 9.0),
    ]
    panels = saving_panels(records)
    assert list(panels) == ["CPU, 8 at once", "CPU, one by one"]
    (alone,) = panels["CPU, one by one"]
    assert (alone.macs, alone.time, alone.enlarged) == (60, Interval(50, 0, 100 - 100 / 3, 7), False)
    (together,) = panels["CPU, 8 at once"]
    assert (together.macs, together.time.value, together.enlarged) == (50, 75, True)
    assert saving_table(panels)["time / MACs"].tolist() == ["1.50", "0.83"]


def test_benchmark_is_read_where_there_is_one(tmp_path):
    assert benchmarked(tmp_path) == {}
    case = {"time_saved": 0.3, "macs_saved": 0.4}
    text = json.dumps({"device": "cuda", "model": "vit_tiny_patch16_224", "half": case, "ragged": {"speedup": 2.0}})
    (tmp_path / "token_pass.json").write_text(text)
    (tmp_path / "token_pass_base.json").write_text(text.replace("tiny", "base").replace("0.3", "0.4"))
    (panel,) = benchmarked(tmp_path).items()
    assert panel[0] == "CUDA, benchmark"
    assert [(one.model, one.place, one.macs, one.time.value) for one in panel[1]] == [
        ("setr_vit_tiny_dovit", "half", 40, 30),
        ("setr_vit_base_dovit", "half", 40, 40),
    ]
    (tmp_path / "token_pass-broken.json").write_text("{}")
    with pytest.raises(InputError, match="token_pass-broken"):
        benchmarked(tmp_path)


def test_speed_table_has_a_row_for_each_place():
    records = [speed(DENSE, 5.0), speed(DOVIT, 9.0), speed(DOVIT, 2.0, "speedup/fps"), speed("setr_vit_dyvit70", 3.0)]
    table = speed_table([*records, speed(DENSE, 4.0, size=(36, 48))], [DENSE, DOVIT])
    assert len(table) == 3
    assert table["FPS", "× dense"].str.replace("\xa0", " ").tolist() == ["–", "2.00 ± 1.00", "–"]
    assert speed_table([], [DENSE]).empty


def point(cost, score):
    return Point("setr_vit_dense", Interval(cost, None, None, 3), Interval(score, None, None, 3))


def test_front_is_what_no_other_beats():
    best, cheap, beaten, dear = point(5, 70), point(2, 50), point(3, 40), point(7, 70)
    assert pareto([best, dear, beaten, cheap]) == [cheap, best]
    assert pareto([point(2, 40), cheap]) == [cheap]
    assert pareto([]) == []


def test_plane_joins_cost_and_score():
    records = [
        scored(DENSE, 0.5),
        scored(DENSE, 2.0, GMACS),
        scored(DOVIT, 0.4),
        scored(DOVIT, 1.0, GMACS),
        scored("setr_vit_nomerge", 0.9),
        scored("setr_vit_nomerge", 0.1, GMACS),
        scored("setr_vit_dyvit70", 0.3),
    ]
    found = plane(records, GMACS, data="camvid")
    assert [(one.model, one.cost.value, one.score.value) for one in found] == [(DOVIT, 1, 40), (DENSE, 2, 50)]
    assert plane(records, GMACS, data="camvid", backbones=("vit", "crate")) == found
    assert plane(records, GMACS, data="camvid", backbones=("vit_tiny",)) == []
    table = plane_table(records, (GMACS,), data="camvid")
    assert table["GMACs per image"].str.contains("●").tolist() == [True, True]
    assert plane_table([], (GMACS,), data="camvid").empty
