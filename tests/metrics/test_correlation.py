"""Rank correlation: against scipy, and where it has no value."""

import numpy as np
import pytest
from scipy import stats

from wbcore.errors import InputError
from wbcore.metrics.correlation import rank_correlation


def test_it_is_spearman_s():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=23), rng.integers(0, 5, 23)
    found = rank_correlation(left, right, resamples=200)
    assert found.value == pytest.approx(stats.spearmanr(left, right).statistic)
    assert found.low < found.value < found.high
    assert found.n == 23


def test_any_rising_function_is_perfect():
    values = np.arange(7.0)
    assert rank_correlation(values, values**3, resamples=50)[:3] == pytest.approx((1, 1, 1))
    assert rank_correlation(values, -np.exp(values), resamples=0)[:3] == (pytest.approx(-1), None, None)


def test_what_never_changes_has_none():
    assert np.isnan(rank_correlation(np.arange(5.0), np.ones(5)).value)


@pytest.mark.parametrize(("left", "right", "message"), [(3, 2, "3 and 2 numbers"), (0, 0, "0 images")])
def test_other_images(left, right, message):
    with pytest.raises(InputError, match=message):
        rank_correlation(np.arange(left), np.arange(right))
