"""What is measured becomes a record with all that it stands on."""

import time

import numpy as np
import pytest
import torch

from wbcore.errors import InputError
from wbcore.metrics.intervals import bootstrap_mean
from wbcore.provenance import provenance
from wbcore.records.measured import common_fields, mean_record, timed

VALUES = [0.12345, 1.0, 0.5]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_mean_over_images_keeps_them(kind):
    common = common_fields(data="cutouts", command="test", device="cpu", data_sha256="0", seed=3, weights_sha256="1")
    one = mean_record("any", "crate", kind(VALUES), digits=3, settings={"size": 7}, **common)
    assert one.interval == pytest.approx(bootstrap_mean(np.array(VALUES)), abs=1e-6)
    assert one.values == (0.123, 1.0, 0.5)
    assert (one.metric, one.model, one.data, one.command, one.seeds) == ("any", "crate", "cutouts", "test", (3,))
    assert (one.data_sha256, one.weights_sha256, one.settings) == ("0", "1", {"size": 7})
    assert {"commit": one.commit, "device": one.device, "software": one.software} == provenance("cpu")


def test_without_a_seed():
    assert common_fields(data="cutouts", command="test", device="cpu")["seeds"] == ()


def test_no_mean_without_numbers():
    with pytest.raises(InputError, match="is nan"):
        mean_record("any", "crate", [0.1, float("nan")], data="cutouts")


def test_seconds():
    (one,) = timed([mean_record("any", "crate", VALUES, data="cutouts")], time.monotonic() - 7)
    assert one.seconds is not None
    assert one.seconds >= 7
