"""How sure a number is: bootstrap over images, Student's t over seeds, paired differences."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from wbcore.errors import InputError


class Interval(NamedTuple):
    """A number, the interval around it and the count of images or seeds that stand behind it.

    ``low`` and ``high`` are ``None`` when one observation says nothing about the spread.
    """

    value: float
    low: float | None
    high: float | None
    n: int

    def percent(self) -> "Interval":
        """The same of a fraction in percent."""
        low, high = (None if bound is None else 100 * bound for bound in (self.low, self.high))
        return Interval(100 * self.value, low, high, self.n)


def bootstrap(
    statistic: Callable[[Int[np.ndarray, "n"]], Float[np.ndarray, "k"]],
    n: int,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> list[Interval]:
    """Percentile bootstrap intervals of the ``k`` numbers that ``statistic`` computes from ``n`` images.

    ``statistic`` gets the indices of the images to use; ``value`` is what it says of ``arange(n)``.  One draw
    serves all ``k`` numbers.  A resample in which a number is undefined (NaN) is left out for that number.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, section 13.3.
    Raises: InputError if ``n`` is 0 or ``level`` is not between 0 and 1.
    """
    if n < 1:
        raise InputError("an interval over 0 images is undefined: give at least one image")
    if not 0 < level < 1:
        raise InputError(f"level is {level}: give a share between 0 and 1, such as 0.95")
    values = statistic(np.arange(n))
    if n == 1 or resamples == 0:
        return [Interval(float(value), None, None, n) for value in values]
    rng = np.random.default_rng(seed)
    drawn = np.stack([statistic(rng.integers(n, size=n)) for _ in range(resamples)])
    return percentile_intervals(values, drawn, n, level=level)


def percentile_intervals(
    values: Float[np.ndarray, "k"], drawn: Float[np.ndarray, "r k"], n: int, *, level: float = 0.95
) -> list[Interval]:
    """The intervals of ``k`` numbers of ``n`` images, from what ``r`` resamples say of each; none without resamples.

    A resample in which a number is undefined (NaN) is left out for that number.
    Raises: InputError if ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level}: give a share between 0 and 1, such as 0.95")
    tail = (1 - level) / 2
    return [_percentile(float(value), column, tail, n) for value, column in zip(values, drawn.T, strict=True)]


def _percentile(value: float, drawn: Float[np.ndarray, "r"], tail: float, n: int) -> Interval:
    drawn = drawn[~np.isnan(drawn)]
    if drawn.size == 0:
        return Interval(value, None, None, n)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high), n)


def bootstrap_mean(
    values: Float[np.ndarray, "n"], *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Mean of one value per image, with its percentile bootstrap interval over images.

    Raises: InputError if there is no value or one is not finite.
    """
    _check_finite(values, "values")
    (interval,) = bootstrap(
        lambda drawn: values[drawn].mean(keepdims=True), len(values), seed=seed, resamples=resamples, level=level
    )
    return interval


def paired_difference(
    left: Float[np.ndarray, "n"],
    right: Float[np.ndarray, "n"],
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean of ``left - right`` image by image, with its bootstrap interval: does left beat right on these images?

    Both hold the same images in the same order; what makes an image hard for both cancels.  With several seeds
    of a model, give the image's mean over the seeds.

    Raises: InputError if a value is not finite or there is none.
    """
    _check_finite(left, "left")
    _check_finite(right, "right")
    return bootstrap_mean(left - right, seed=seed, resamples=resamples, level=level)


def paired_ratio(
    left: Float[np.ndarray, "n"],
    right: Float[np.ndarray, "n"],
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean of ``left`` over mean of ``right``, with its bootstrap interval: how much of right is left on these images?

    Both hold the same images in the same order.  A ratio of means, because an image where right is 0 has none.

    Raises: InputError if a value is not finite, there is none, or the mean of ``right`` is 0.
    """
    _check_finite(left, "left")
    _check_finite(right, "right")
    if not right.mean():
        raise InputError("right has the mean 0: nothing can be expressed as a share of it")

    def ratio(drawn: Int[np.ndarray, "n"]) -> Float[np.ndarray, "1"]:
        whole = right[drawn].mean()
        return np.array([left[drawn].mean() / whole if whole else np.nan])

    (interval,) = bootstrap(ratio, len(left), seed=seed, resamples=resamples, level=level)
    return interval


def mean_over_seeds(values: Float[np.ndarray, "n"], *, level: float = 0.95) -> Interval:
    """Mean of one value per training seed, with Student's t interval, which stays honest for two or three seeds.

    Raises: InputError if there is no value or one is not finite.
    """
    _check_finite(values, "values")
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Interval(mean, None, None, n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half, n)


def _check_finite(values: Float[np.ndarray, "n"], name: str) -> None:
    if len(values) == 0:
        raise InputError(f"{name} is empty: give at least one number")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(f"{name}[{bad[0]}] is {values[bad[0]]}: drop or repair that image before averaging")
