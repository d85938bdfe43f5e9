"""How far the longest tokens part from the rest, without a threshold: a model with outliers has a long tail."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from wbcore.errors import InputError
from wbcore.metrics.intervals import Interval, bootstrap


def over_median(norms: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n p"]:
    """The norms of each image's patches in units of their median, so that models can be compared.

    Source: ours.
    Raises: InputError if the median of an image is 0.
    """
    median = np.median(norms, axis=-1, keepdims=True)
    if not median.all():
        raise InputError(f"image {int(np.flatnonzero(median == 0)[0])} has a median norm of 0: it has no scale")
    return norms / median


def pooled_tail(
    norms: Float[np.ndarray, "n p"], *, quantile: float = 0.999, seed: int = 0, resamples: int = 1000
) -> tuple[Interval, Interval]:
    """A high quantile and the excess kurtosis of all patches' norms, each in units of its image's median.

    A normal distribution has the kurtosis 0; where a thousandth of the patches is far longer than the rest, it nears
    1000.
    Intervals over images, because patches of one image are no independent draws.

    Source: ours; Fisher's definition of kurtosis, not corrected for bias.
    Raises: as :func:`over_median`.
    """
    relative = over_median(norms)
    found = bootstrap(
        lambda drawn: np.array(
            [np.quantile(relative[drawn], quantile), stats.kurtosis(relative[drawn].ravel(), bias=True)]
        ),
        len(relative),
        seed=seed,
        resamples=resamples,
    )
    return found[0], found[1]
