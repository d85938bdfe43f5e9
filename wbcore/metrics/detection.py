"""Class-agnostic average precision on the COCO protocol, with intervals over images.

Matching is pycocotools' own, once; its curve is then computed again from the stored matches, so that a bootstrap
over images costs no second matching.  :func:`match` followed by :func:`average_precision` equals ``COCOeval``
exactly.

**Order.**  Masks without scores still get a precision-recall curve, because the evaluator ranks equal scores in the
order it meets them.  That order is fixed here: images by id (arrays: as given), and inside an image the order of its
masks (MaskCut: the round).  ``scores`` decides what is ranked:

- ``"constant"``: every mask scores 1, so the curve runs through the images one after another; CutLER's authors do this;
- ``"rank"``: the first masks of all images come before all second ones;
- ``"given"``: the scores stored with the results.

:func:`order_range` and :func:`order_lead` measure how much of a constant-score AP, and of one model's lead over
another, is owed to the order of the images; :func:`by_rank` ranks what was matched with constant scores by round.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wbcore.errors import InputError
from wbcore.metrics.coco_form import Annotation, CocoForm
from wbcore.metrics.intervals import Interval, percentile_intervals

Kind = Literal["segm", "bbox"]
Scores = Literal["constant", "rank", "given"]

_RECALLS = np.linspace(0, 1, 101)
_AP75 = 5
"""Place of 0.75 among the IoU thresholds 0.5, 0.55, …, 0.95."""
_ROWS = 64  # of resamples at a time


class DetectionScores(NamedTuple):
    """AP over IoU 0.5 to 0.95, at 0.5 and at 0.75, as fractions with intervals over images."""

    ap: Interval
    ap50: Interval
    ap75: Interval


@dataclass(frozen=True, eq=False)
class Matches:
    """What matching decided at each IoU threshold ``t`` for each result ``d``, image after image.

    ``hit`` and ``miss`` are both false for a result that fell on a crowd.  Image ``i`` has the results
    ``start[i]`` to ``start[i] + count[i]`` and ``objects[i]`` objects that are no crowd.
    """

    hit: Bool[np.ndarray, "t d"]
    miss: Bool[np.ndarray, "t d"]
    score: Float[np.ndarray, "d"]
    start: Int[np.ndarray, "i"]
    count: Int[np.ndarray, "i"]
    objects: Int[np.ndarray, "i"]

    def lines(self) -> tuple[str, ...]:
        """One line per image, so that matches of equal scores can be kept and compared later.

        A line reads ``objects results [result:hit/miss …]``.  The thresholds at which a result hit and missed are two
        hexadecimal bit sets, the lowest threshold in the lowest bit; a result that missed at all of them is not named.
        Raises: InputError if the results have different scores, which the lines do not hold.
        """
        if len(set(self.score.tolist())) > 1:
            raise InputError('matches of different scores cannot be kept as lines: match with scores="constant"')
        bits = 1 << np.arange(len(self.hit))
        hit, miss, never = bits @ self.hit, bits @ self.miss, int(bits.sum())
        return tuple(
            " ".join(
                [f"{objects} {count}"]
                + [
                    f"{place}:{hit[start + place]:x}/{miss[start + place]:x}"
                    for place in range(count)
                    if miss[start + place] != never
                ]
            )
            for start, count, objects in zip(self.start, self.count, self.objects, strict=True)
        )


def matches_from_lines(lines: Sequence[str], *, thresholds: int = 10) -> Matches:
    """The matches that :meth:`Matches.lines` wrote.  Raises: InputError for a line of another form."""
    count, objects = np.zeros((2, len(lines)), int)
    named: list[tuple[int, int, int, int]] = []
    for image, line in enumerate(lines):
        try:
            first, second, *results = line.split()
            objects[image], count[image] = int(first), int(second)
            for place, sets in (result.split(":") for result in results):
                hit, miss = (int(bits, 16) for bits in sets.split("/"))
                named.append((image, int(place), hit, miss))
        except ValueError as error:
            raise InputError(f"line {image + 1} of the matches is {line!r}: write the record again") from error
    start = count.cumsum() - count
    hits, misses = np.zeros((thresholds, count.sum()), bool), np.ones((thresholds, count.sum()), bool)
    bit = np.arange(thresholds)
    for image, place, hit, miss in named:
        hits[:, start[image] + place] = hit >> bit & 1
        misses[:, start[image] + place] = miss >> bit & 1
    return Matches(hits, misses, np.ones(count.sum()), start, count, objects)


def _indexed(images: Sequence[dict[str, Any]], annotations: Iterable[Annotation]) -> COCO:
    """The evaluator's index.  Ids begin at 1, because matching takes 0 for "no match"."""
    dataset: Any = {
        "images": list(images),
        "annotations": [{**a, "id": number, "category_id": 1} for number, a in enumerate(annotations, start=1)],
        "categories": [{"id": 1, "name": "object"}],
    }
    index = COCO()
    index.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    return index


def _scored(results: Sequence[Annotation], scores: Scores) -> list[Annotation]:
    if scores == "given":
        if any("score" not in result for result in results):
            raise InputError('not every result has a score: use scores="constant" or scores="rank"')
        return list(results)
    rounds: Counter[int] = Counter()
    scored = []
    for result in results:
        # Only the order of scores matters to AP, so the rank needs no scale.
        scored.append({**result, "score": {"constant": 1.0, "rank": float(-rounds[result["image_id"]])}[scores]})
        rounds[result["image_id"]] += 1
    return scored


def match(form: CocoForm, *, kind: Kind, scores: Scores = "constant", max_dets: int = 100) -> Matches:
    """Results and truths matched image by image by pycocotools, for masks (``"segm"``) or boxes (``"bbox"``).

    ``max_dets`` results of each image at most are looked at.

    Raises: InputError if no image has an object, or ``kind`` or ``scores`` ask for what the form does not hold.
    """
    if kind == "segm" and any("segmentation" not in each for each in (*form.truths, *form.results)):
        raise InputError('some annotations are boxes without masks: use kind="bbox"')
    evaluator = COCOeval(_indexed(form.images, form.truths), _indexed(form.images, _scored(form.results, scores)), kind)
    evaluator.params.maxDets = [max_dets]
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, np.inf]], ["all"]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
    # An image with neither results nor objects is None.
    found = [image for image in evaluator.evalImgs if image is not None]
    count = np.array([0 if image is None else len(image["dtIds"]) for image in evaluator.evalImgs])
    objects = np.array([0 if image is None else int((image["gtIgnore"] == 0).sum()) for image in evaluator.evalImgs])
    if objects.sum() == 0:
        raise InputError("no object: no image has an object to find, so AP is undefined; give annotated images")
    matched = np.concatenate([image["dtMatches"] for image in found], axis=1) > 0
    ignored = np.concatenate([image["dtIgnore"] for image in found], axis=1).astype(bool)
    return Matches(
        hit=matched & ~ignored,
        miss=~matched & ~ignored,
        score=np.concatenate([np.asarray(image["dtScores"], float) for image in found]),
        start=count.cumsum() - count,
        count=count,
        objects=objects,
    )


def average_precision(matches: Matches, images: Int[np.ndarray, "n"] | None = None) -> Float[np.ndarray, "3"]:
    """AP, AP50 and AP75 of the images at these indices, in this order, repeats allowed (default: all, in order).

    NaN where none of the images has an object.

    Source: pycocotools, ``COCOeval.accumulate``: precision made monotone, read at 101 recalls.
    """
    images = np.arange(len(matches.start)) if images is None else images
    return average_precisions(matches, images[None])[0]


def average_precisions(matches: Matches, images: Int[np.ndarray, "r n"]) -> Float[np.ndarray, "r 3"]:
    """:func:`average_precision` of each row of indices, faster than one by one: a bootstrap's resamples.

    Precision made monotone takes its values at hits alone, so of the ``t × d`` decisions only the hits are looked at.
    """
    parts = [images[first : first + _ROWS] for first in range(0, len(images), _ROWS)]
    return np.concatenate([_average_precisions(matches, part) for part in parts])


def _average_precisions(matches: Matches, images: Int[np.ndarray, "r n"]) -> Float[np.ndarray, "r 3"]:
    objects = matches.objects[images].sum(1)
    results = _results(matches, images)
    thresholds, rows = len(matches.hit), len(images)
    hit = np.pad(matches.hit, ((0, 0), (0, 1)))
    row, column = np.nonzero(np.any(hit, axis=0)[results])
    threshold, found = np.nonzero(hit[:, results[row, column]])
    row, column = row[found], column[found]
    line = threshold * rows + row  # one for each threshold and row of images
    total = np.bincount(line, minlength=thresholds * rows)
    rank = np.arange(len(line)) - np.repeat(total.cumsum() - total, total)
    misses = column - rank
    if (ignored := ~(matches.hit | matches.miss)).any():
        misses -= np.pad(ignored, ((0, 0), (0, 1)))[:, results].cumsum(-1)[threshold, row, column]
    precision = np.zeros((thresholds * rows, total.max(initial=0) + 1))  # 0 for a recall that is never reached
    precision[line, rank] = (rank + 1) / (rank + 1 + misses + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    needed = np.stack([_hits_needed(int(count)) for count in objects])
    needed = np.minimum(np.tile(needed, (thresholds, 1)) - 1, total[:, None])
    curve = np.take_along_axis(precision, needed, axis=1).reshape(thresholds, rows, -1)
    ap = np.ascontiguousarray(curve.transpose(1, 0, 2)).reshape(rows, -1).mean(1)
    scores = np.stack([ap, curve[0].mean(-1), curve[_AP75].mean(-1)], axis=1)
    scores[objects == 0] = np.nan
    return scores


def _results(matches: Matches, images: Int[np.ndarray, "r n"]) -> Int[np.ndarray, "r d"]:
    """The results of each row's images from the highest score to the lowest, filled up with the number of results."""
    start, count = matches.start[images].ravel(), matches.count[images].ravel()
    held = matches.count[images].sum(1)
    flat = np.repeat(start - (count.cumsum() - count), count) + np.arange(count.sum())
    results = np.full((len(images), held.max(initial=0)), len(matches.score))
    results[np.arange(results.shape[1]) < held[:, None]] = flat
    if len(np.unique(matches.score)) > 1:
        order = np.argsort(np.append(-matches.score, np.inf)[results], axis=1, kind="stable")
        results = np.take_along_axis(results, order, axis=1)
    return results


@lru_cache(maxsize=4096)
def _hits_needed(objects: int) -> Int[np.ndarray, "101"]:
    """The fewest hits at which so many objects are recalled to each of the 101 shares; at least one."""
    return np.maximum(np.searchsorted(np.arange(objects + 1) / max(objects, 1), _RECALLS, side="left"), 1)


def class_agnostic_ap(
    form: CocoForm,
    *,
    kind: Kind,
    scores: Scores = "constant",
    max_dets: int = 100,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> DetectionScores:
    """AP, AP50 and AP75 of all results against all objects as one category, with bootstrap intervals over images.

    ``form`` comes from :mod:`wbcore.metrics.coco_form`: of masks, or of files.

    Source: COCO's evaluation through pycocotools; constant scores: CutLER's authors on MaskCut.
    Raises: InputError as :func:`match`.
    """
    matches = match(form, kind=kind, scores=scores, max_dets=max_dets)
    return ap_intervals(matches, seed=seed, resamples=resamples, level=level)


def ap_intervals(matches: Matches, *, seed: int = 0, resamples: int = 1000, level: float = 0.95) -> DetectionScores:
    """AP, AP50 and AP75 of what :func:`match` decided, with bootstrap intervals over images.

    A resample keeps its images in their order, so the interval is about the images drawn and not about their order.
    """
    drawn = ap_resamples(matches, seed=seed, resamples=resamples)
    return DetectionScores(*percentile_intervals(average_precision(matches), drawn, len(matches.start), level=level))


def ap_resamples(matches: Matches, *, seed: int = 0, resamples: int = 1000) -> Float[np.ndarray, "r 3"]:
    """AP, AP50 and AP75 of each resample of the images, the same ones for all matches of as many images."""
    rng, n = np.random.default_rng(seed), len(matches.start)
    if n == 1 or resamples == 0:
        return np.empty((0, 3))
    return average_precisions(matches, np.stack([np.sort(rng.integers(n, size=n)) for _ in range(resamples)]))


def ap_difference(
    left: Matches, right: Matches, *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> DetectionScores:
    """AP, AP50 and AP75 of ``left`` minus those of ``right``, bootstrapped over the images they share.

    Raises: InputError if the two do not hold the same images.
    """
    _check_same_images(left, right)
    one, other = (ap_resamples(each, seed=seed, resamples=resamples) for each in (left, right))
    return difference_of_resamples(left, right, one, other, level=level)


def difference_of_resamples(
    left: Matches,
    right: Matches,
    left_drawn: Float[np.ndarray, "_l 3"],
    right_drawn: Float[np.ndarray, "_r 3"],
    *,
    level: float = 0.95,
) -> DetectionScores:
    """:func:`ap_difference` from what :func:`ap_resamples` found of each, so that many pairs can share it.

    Raises: InputError if the two do not hold the same images.
    """
    _check_same_images(left, right)
    values = average_precision(left) - average_precision(right)
    found = percentile_intervals(values, left_drawn - right_drawn, len(left.start), level=level)
    return DetectionScores(*found)


def by_rank(matches: Matches) -> Matches:
    """Matches of constant scores as ``scores="rank"`` ranks them: the first results of all images come first.

    Inside an image both keep the same order, so nothing has to be matched again.
    """
    place = np.arange(len(matches.score)) - np.repeat(matches.start, matches.count)
    return replace(matches, score=-place.astype(float))


def order_range(matches: Matches, *, seed: int = 0, orders: int = 100) -> DetectionScores:
    """AP, AP50 and AP75 in the fixed order, with the least and the greatest over random orders of the images."""
    shuffled = _in_random_orders(matches, seed, orders)
    values = zip(average_precision(matches).tolist(), shuffled.min(0).tolist(), shuffled.max(0).tolist(), strict=True)
    return DetectionScores(*(Interval(value, low, high, len(matches.start)) for value, low, high in values))


def order_lead(left: Matches, right: Matches, *, seed: int = 0, orders: int = 100) -> Float[np.ndarray, "3"]:
    """The share of random orders of the images in which AP, AP50 and AP75 of ``left`` are greater than ``right``'s.

    Raises: InputError if the two do not hold the same images.
    """
    _check_same_images(left, right)
    greater = _in_random_orders(left, seed, orders) > _in_random_orders(right, seed, orders)
    return greater.mean(axis=0)


def _in_random_orders(matches: Matches, seed: int, orders: int) -> Float[np.ndarray, "orders 3"]:
    """AP, AP50 and AP75 in random orders, which are the same for all matches of as many images."""
    rng = np.random.default_rng(seed)
    return average_precisions(matches, np.stack([rng.permutation(len(matches.start)) for _ in range(orders)]))


def _check_same_images(left: Matches, right: Matches) -> None:
    if not np.array_equal(left.objects, right.objects):
        raise InputError("left and right hold other images or objects: match both on the same ones in the same order")
