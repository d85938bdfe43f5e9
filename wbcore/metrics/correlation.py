"""Do two numbers rise together from image to image?"""

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import stats

from wbcore.errors import InputError
from wbcore.metrics.intervals import Interval, bootstrap


def rank_correlation(
    left: Shaped[np.ndarray, "_n"],
    right: Shaped[np.ndarray, "_n"],
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Spearman's rank correlation of two numbers of each image, with its bootstrap interval over images.

    1 where both rise together, -1 where one falls as the other rises; equal values share their mean rank.  NaN where
    one of the two is the same in all images.

    Source: Spearman, The Proof and Measurement of Association between Two Things, 1904.
    Raises: InputError if the two are not of the same images, or there is none.
    """
    if len(left) != len(right):
        raise InputError(f"{len(left)} and {len(right)} numbers: give one of each for every image")

    def correlation(drawn: Int[np.ndarray, "n"]) -> Float[np.ndarray, "1"]:
        first, second = (stats.rankdata(values[drawn]) for values in (left, right))
        first, second = first - first.mean(), second - second.mean()
        size = np.sqrt((first**2).sum() * (second**2).sum())
        return np.array([(first * second).sum() / size if size else np.nan])

    (interval,) = bootstrap(correlation, len(left), seed=seed, resamples=resamples, level=level)
    return interval
