"""The tail of norms, by hand and by a second route."""

import numpy as np
import pytest

from wbcore.errors import InputError
from wbcore.metrics.norm_tail import over_median, pooled_tail


def test_norms_in_units_of_the_images_own_median():
    norms = np.array([[1.0, 2.0, 8.0], [30.0, 10.0, 20.0]])
    assert over_median(norms).tolist() == [[0.5, 1, 4], [1.5, 0.5, 1]]
    with pytest.raises(InputError, match="image 1 has a median norm of 0"):
        over_median(np.array([[1.0], [0.0]]))


def test_a_planted_tail():
    norms = np.ones((10, 101))
    norms[:, 0] = 20  # p = 1/101: the kurtosis of two values is (1 - 6pq) / pq, whatever they are
    quantile, kurtosis = pooled_tail(norms, resamples=50)
    share = (1 / 101) * (100 / 101)
    assert kurtosis.value == pytest.approx((1 - 6 * share) / share)
    assert quantile.value == 20
    assert quantile.n == 10
    assert (kurtosis.low, kurtosis.high) == (pytest.approx(kurtosis.value), pytest.approx(kurtosis.value))


def test_a_tail_of_chance_has_none():
    norms = 100 + np.random.default_rng(0).normal(size=(97, 83))
    quantile, kurtosis = pooled_tail(norms, resamples=100)
    assert kurtosis.low < 0 < kurtosis.high
    assert quantile.value == pytest.approx(1 + 3.09 / 100, abs=0.004)
    central = over_median(norms) - over_median(norms).mean()
    assert kurtosis.value == pytest.approx((central**4).mean() / (central**2).mean() ** 2 - 3)


def test_the_scale_does_not_matter():
    norms = np.random.default_rng(1).gamma(2.0, size=(13, 29)) + 1
    scaled = norms * np.linspace(1, 100, 13)[:, None]
    first, second = pooled_tail(norms, resamples=20), pooled_tail(scaled, resamples=20)
    assert first[0].value == pytest.approx(second[0].value)
    assert first[1].high == pytest.approx(second[1].high)
