"""The arithmetic of a timing, with a clock that is told what to say."""

import time

import pytest

from wbcore.errors import InputError
from wbcore.metrics.timing import Timing, throughput


@pytest.fixture
def clock(monkeypatch):
    """Each run takes as many seconds as the list that a test fills says next."""
    durations: list[float] = []
    now = 0.0

    def tick() -> float:
        return now

    def run() -> int:
        nonlocal now
        now += durations.pop(0)
        return 6

    monkeypatch.setattr(time, "perf_counter", tick)
    return durations, run


def test_median_and_quartiles_of_what_follows_the_warm_up(clock):
    durations, run = clock
    durations += [1000, 1000, 6, 2, 3, 1, 1.5]  # after the warm-up: 1, 3, 2, 6, 4 images per second
    assert throughput(run, device="cpu", warmup=2, repeats=5) == Timing(3, 2, 4)
    assert durations == []


def test_one_repeat_has_no_spread(clock):
    durations, run = clock
    durations += [3]
    assert throughput(run, device="cpu", warmup=0, repeats=1) == Timing(2, 2, 2)


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"warmup": -1}])
def test_something_must_be_timed(wrong, clock):
    with pytest.raises(InputError, match="give at least one repeat"):
        throughput(clock[1], device="cpu", **wrong)
