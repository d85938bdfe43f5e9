"""Two records of the same data against each other: image by image wherever they can be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float

from wbcore.errors import InputError
from wbcore.metrics.detection import (
    DetectionScores,
    Matches,
    ap_resamples,
    difference_of_resamples,
    matches_from_lines,
)
from wbcore.metrics.intervals import Interval, paired_difference, paired_ratio
from wbcore.metrics.segmentation import SegmentationScores, score_difference, tallies_from_lines
from wbcore.records.record import Record, select

Verdict = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """Left minus right, and whether left is greater by at least a margin."""

    difference: Interval
    verdict: Verdict


def greater(left: Record, right: Record, *, margin: float = 0.0) -> Comparison:
    """Is ``left`` greater than ``right`` by ``margin``?  Undecided when the interval of the difference spans it,
    or when a record without an interval says nothing of the spread.

    Image by image where both records hold values, matches or tallies of the same images; else from the two intervals,
    taken as independent.
    Raises: InputError if the two are of different metrics or data.
    """
    _check_comparable(left, right)
    if left.values is not None and right.values is not None and len(left.values) == len(right.values):
        difference = paired_difference(np.array(left.values), np.array(right.values))
    elif left.matches is not None and right.matches is not None:
        difference = _ap_difference(left.matches, right.matches)._asdict()[left.metric.split("/")[1]]
    elif left.tallies is not None and right.tallies is not None:
        difference = _segmentation_difference(left.tallies, right.tallies)._asdict()[left.metric.split("/")[1]]
    elif None in (left.low, left.high, right.low, right.high):
        difference = Interval(left.value - right.value, None, None, min(left.n, right.n))
    else:
        value = left.value - right.value
        below = np.hypot(_gap(left.value, left.low), _gap(right.high, right.value))
        above = np.hypot(_gap(left.high, left.value), _gap(right.value, right.low))
        difference = Interval(value, value - float(below), value + float(above), min(left.n, right.n))
    return Comparison(difference, verdict_on(difference, margin))


def verdict_on(difference: Interval, margin: float) -> Verdict:
    """Whether all of an interval is above a margin (*holds*), all of it below (*fails*), or neither."""
    if difference.low is None or difference.high is None:
        return "undecided"
    return "holds" if difference.low > margin else "fails" if difference.high < margin else "undecided"


def require_near(live: Iterable[Record], recorded: Sequence[Record], tolerances: Mapping[str, float]) -> None:
    """Are the metrics named in ``tolerances`` within them of what was recorded of the same model on the same data?

    What was not recorded is passed over.
    Raises: AssertionError naming the first that is not.
    """
    for one in live:
        for same in select(recorded, model=one.model, data=one.data, metric=one.metric):
            away = abs(one.value - same.value)
            if away > tolerances.get(one.metric, np.inf):
                raise AssertionError(
                    f"{one.metric} of {one.model} is {one.value:.4f} now, {same.value:.4f} in the records"
                )


def kept(left: Record, right: Record) -> Interval:
    """``left`` as a share of ``right``, with the interval over the images that both were measured on.

    Raises: InputError if the two are of different metrics or data, or one has no values image by image.
    """
    _check_comparable(left, right)
    if left.values is None or right.values is None or len(left.values) != len(right.values):
        raise InputError(f"{left.model} and {right.model} have no {left.metric} of the same images: record both again")
    return paired_ratio(np.array(left.values), np.array(right.values))


@lru_cache(maxsize=64)
def _ap_difference(left: tuple[str, ...], right: tuple[str, ...]) -> DetectionScores:
    """Kept, because one bootstrap gives the differences of AP, AP50 and AP75, which are records of their own."""
    (one, one_drawn), (other, other_drawn) = _ap_resamples(left), _ap_resamples(right)
    return difference_of_resamples(one, other, one_drawn, other_drawn)


@lru_cache(maxsize=512)
def _ap_resamples(lines: tuple[str, ...]) -> tuple[Matches, Float[np.ndarray, "r 3"]]:
    """Kept, because a model is compared with several others on the same resamples."""
    matches = matches_from_lines(lines)
    return matches, ap_resamples(matches)


@lru_cache(maxsize=64)
def _segmentation_difference(left: tuple[str, ...], right: tuple[str, ...]) -> SegmentationScores:
    """Kept, because one bootstrap gives the differences of mIoU, PA and mPA."""
    return score_difference(tallies_from_lines(left), tallies_from_lines(right))


def _check_comparable(left: Record, right: Record) -> None:
    if (left.metric, left.data, left.data_sha256) != (right.metric, right.data, right.data_sha256):
        raise InputError(
            f"{left.metric} on {left.data} and {right.metric} on {right.data} cannot be compared: "
            "only models on the same data can"
        )


def _gap(upper: float | None, lower: float | None) -> float:
    return 0.0 if upper is None or lower is None else upper - lower
