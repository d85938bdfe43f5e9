"""Intervals against scipy, by hand, and where they are undefined."""

import numpy as np
import pytest
from scipy import stats

from wbcore.errors import InputError
from wbcore.metrics.intervals import (
    Interval,
    bootstrap,
    bootstrap_mean,
    mean_over_seeds,
    paired_difference,
    paired_ratio,
)

RNG = np.random.default_rng(0)
LEFT = RNG.beta(2, 5, size=211)
RIGHT = np.clip(LEFT - 0.02 + 0.05 * RNG.standard_normal(211), 0, 1)


def limits(interval):
    return np.array([interval.low, interval.high], float)


def test_the_bootstrap_is_scipys_percentile_bootstrap():
    ours = bootstrap_mean(LEFT, resamples=20_000)
    scipys = stats.bootstrap(
        (LEFT,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = scipys.high - scipys.low
    assert ours.value == LEFT.mean()
    assert ours.n == 211
    assert ours.low == pytest.approx(scipys.low, abs=0.05 * width)
    assert ours.high == pytest.approx(scipys.high, abs=0.05 * width)


def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says():
    inside = 0
    for seed in range(200):
        sample = np.random.default_rng(seed).standard_normal(67)
        low, high = limits(bootstrap_mean(sample, resamples=200, level=0.9))
        inside += low <= 0 <= high
    assert 0.83 <= inside / 200 <= 0.96


def test_a_seed_fixes_the_interval_and_a_level_widens_it():
    assert bootstrap_mean(LEFT) == bootstrap_mean(LEFT)
    assert bootstrap_mean(LEFT, seed=1) != bootstrap_mean(LEFT)
    wide, narrow = (limits(bootstrap_mean(LEFT, level=level)) for level in (0.99, 0.5))
    assert wide[0] < narrow[0] < LEFT.mean() < narrow[1] < wide[1]


def test_one_draw_serves_all_numbers():
    doubled = bootstrap(lambda drawn: np.array([LEFT[drawn].mean(), 2 * LEFT[drawn].mean()]), len(LEFT), resamples=97)
    assert doubled[1].value == 2 * doubled[0].value
    assert np.array_equal(limits(doubled[1]), 2 * limits(doubled[0]))


def test_resamples_in_which_a_number_is_undefined_are_left_out():
    def rare(drawn):
        return np.array([1.0 if 0 in drawn else np.nan, np.nan if len(set(drawn)) < 5 else 2.0])

    first, second = bootstrap(rare, 5, resamples=50)
    assert first == Interval(1.0, 1.0, 1.0, 5)
    assert second.value == 2
    assert bootstrap(lambda _: np.array([np.nan]), 3)[0][1:] == (None, None, 3)


def test_pairing_removes_what_the_images_share():
    paired = paired_difference(LEFT, RIGHT)
    assert paired.value == pytest.approx(LEFT.mean() - RIGHT.mean())
    assert limits(paired)[0] > 0
    mirrored = paired_difference(RIGHT, LEFT)
    assert limits(mirrored) == pytest.approx(-limits(paired)[::-1])
    assert np.ptp(limits(paired)) < 0.5 * np.ptp(limits(bootstrap_mean(LEFT)))
    assert paired_difference(LEFT, LEFT) == Interval(0, 0, 0, 211)


def test_percent():
    assert Interval(0.5, 0.25, 0.75, 7).percent() == Interval(50, 25, 75, 7)
    assert Interval(0.5, None, None, 1).percent() == Interval(50, None, None, 1)


def test_a_ratio_of_means_is_scipys():
    ours = paired_ratio(RIGHT, LEFT, resamples=20_000)
    scipys = stats.bootstrap(
        (RIGHT, LEFT),
        lambda right, left, axis: right.mean(axis) / left.mean(axis),
        n_resamples=20_000,
        method="percentile",
        paired=True,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == pytest.approx(RIGHT.mean() / LEFT.mean())
    assert limits(ours) == pytest.approx((scipys.low, scipys.high), abs=2e-3)
    assert paired_ratio(LEFT / 4, LEFT) == Interval(0.25, 0.25, 0.25, 211)
    with pytest.raises(InputError, match="right has the mean 0"):
        paired_ratio(LEFT, 0 * LEFT)


def test_the_interval_over_seeds_is_students_t():
    values = np.array([0.23, 0.29, 0.26])
    interval = mean_over_seeds(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    # By hand: mean 0.26, standard deviation 0.03, t with two degrees of freedom 4.3027.
    assert limits(interval)[1] - 0.26 == pytest.approx(4.3027 * 0.03 / 3**0.5, rel=1e-4)
    assert mean_over_seeds(np.array([0.5, 0.5])) == Interval(0.5, 0.5, 0.5, 2)


@pytest.mark.parametrize("interval", [bootstrap_mean, mean_over_seeds])
def test_one_observation_has_no_interval(interval):
    assert interval(np.array([0.25])) == Interval(0.25, None, None, 1)


@pytest.mark.parametrize("interval", [bootstrap_mean, mean_over_seeds])
def test_missing_values_are_named(interval):
    with pytest.raises(InputError, match=r"values\[1\] is nan"):
        interval(np.array([0.25, np.nan]))
    with pytest.raises(InputError, match="empty"):
        interval(np.array([]))


def test_other_bad_input_is_named():
    with pytest.raises(InputError, match=r"right\[0\] is inf"):
        paired_difference(np.array([1.0]), np.array([np.inf]))
    with pytest.raises(InputError, match="level is 95"):
        bootstrap_mean(LEFT, level=95.0)
    with pytest.raises(InputError, match="0 images"):
        bootstrap(lambda drawn: LEFT[drawn], 0)
