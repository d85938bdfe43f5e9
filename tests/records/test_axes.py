"""Curves over layers, epochs and noise have no gaps filled."""

import pytest

from tests.tiny import record
from wbcore.errors import InputError
from wbcore.records import along, by_noise, by_step, over_seeds

VALUES = (0.1, 0.4, 0.3, 0.2, 0.5, 0.6, 0.7)


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
