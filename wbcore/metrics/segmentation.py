"""Semantic segmentation: mean IoU and pixel accuracies of a whole data set, with intervals over images.

The scores are those of the pixels of all images together, not means over images, so an interval needs what each image
adds to the sums: a :class:`Tallies`, three counts for every image and class.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.metrics.intervals import Interval, bootstrap


class SegmentationScores(NamedTuple):
    """Mean IoU over classes, share of pixels that are right, and its mean over classes; fractions with intervals."""

    miou: Interval
    pa: Interval
    mpa: Interval


@dataclass(frozen=True, eq=False)
class Tallies:
    """How many pixels of each image ``n`` have each class ``c``: in both, in the labels, in the prediction.

    Pixels whose class is unknown are in none of them.
    """

    agreed: Int[np.ndarray, "n c"]
    labelled: Int[np.ndarray, "n c"]
    predicted: Int[np.ndarray, "n c"]

    @property
    def classes(self) -> int:
        return self.agreed.shape[1]

    def lines(self) -> tuple[str, ...]:
        """One line per image, ``classes [class:agreed/labelled/predicted …]``, so that mIoUs can be compared later.

        A class that neither labels nor prediction have is not named.
        """
        return tuple(
            " ".join(
                [str(self.classes)]
                + [f"{number}:{a}/{t}/{p}" for number, (a, t, p) in enumerate(counts.tolist()) if t or p]
            )
            for counts in np.stack([self.agreed, self.labelled, self.predicted], axis=-1)
        )


def tallies_from_lines(lines: Sequence[str]) -> Tallies:
    """What :meth:`Tallies.lines` wrote.  Raises: InputError if there is no line, or one of another form."""
    if not lines:
        raise InputError("no line of tallies: a score needs at least one image")
    classes = lines[0].split(" ")[0]
    counts = np.zeros((3, len(lines), int(classes) if classes.isdecimal() else 0), int)
    for image, line in enumerate(lines):
        try:
            first, *named = line.split()
            if first != classes:
                raise ValueError(f"{first} classes after {classes}")
            for number, found in (each.split(":") for each in named):
                counts[:, image, int(number)] = [int(count) for count in found.split("/")]
        except (ValueError, IndexError) as error:
            raise InputError(f"line {image + 1} of the tallies is {line!r}: write the record again") from error
    return Tallies(*counts)


def confusion(
    prediction: Integer[np.ndarray, "h w"], labels: UInt8[np.ndarray, "h w"], *, classes: int, void: int = VOID
) -> Int[np.ndarray, "c c"]:
    """How many pixels of an image have class ``row`` in the labels and class ``column`` in the prediction.

    Where the label is ``void`` the prediction counts nowhere.

    Source: mmsegmentation, ``intersect_and_union`` (its areas are the diagonal and the sums of rows and columns).
    Raises: InputError if a label or a prediction is none of the classes, or there is no class.
    """
    if classes < 1:
        raise InputError(f"classes={classes}: give the number of classes, from 1")
    known = labels != void
    truth, found = labels[known], prediction[known]
    for name, values in (("label", truth), ("prediction", prediction)):
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        if low < 0 or high >= classes:
            wrong = low if low < 0 else high
            raise InputError(
                f"{name} {wrong} is none of the {classes} classes: map it to 0 … {classes - 1}, or to void"
            )
    pairs = truth.astype(np.int32) * classes + found
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def tally(confusions: Iterable[Int[np.ndarray, "c c"]]) -> Tallies:
    """What the confusion matrices of several images say of each class.  Raises: InputError if there is no image."""
    counts = [(each.diagonal(), each.sum(1), each.sum(0)) for each in confusions]
    if not counts:
        raise InputError("no image: a score needs at least one confusion matrix")
    return Tallies(*(np.stack(column) for column in zip(*counts, strict=True)))


def scores(tallies: Tallies, *, seed: int = 0, resamples: int = 2000, level: float = 0.95) -> SegmentationScores:
    """mIoU, PA and mPA of the pixels of all images together, with bootstrap intervals over images.

    A class that no label and no prediction has is left out of mIoU; one that no label has, out of mPA.  What is left
    out is decided anew in each resample.

    Source: mmsegmentation, ``IoUMetric``: mIoU, aAcc and mAcc of the summed areas.
    Raises: InputError if no pixel of any image has a label.
    """
    sums = _Sums(tallies)
    return SegmentationScores(*bootstrap(sums.scores, sums.images, seed=seed, resamples=resamples, level=level))


def class_iou(tallies: Tallies, *, seed: int = 0, resamples: int = 2000, level: float = 0.95) -> list[Interval]:
    """The IoU of every class over the pixels of all images, with bootstrap intervals over images.

    NaN without an interval for a class that no label and no prediction has.
    Raises: InputError if no pixel of any image has a label.
    """
    sums = _Sums(tallies)
    return bootstrap(sums.iou, sums.images, seed=seed, resamples=resamples, level=level)


def going_on(
    keep: Bool[np.ndarray, "h w"], labels: UInt8[np.ndarray, "h w"], *, classes: int, void: int = VOID
) -> Int[np.ndarray, "c 2"]:
    """How many pixels of each class have stopped and how many go on, in one image.

    ``keep`` is the mask of the patches that go on, at the pixels of the labels.
    Raises: InputError if a label is none of the classes, or there are fewer than two.
    """
    return confusion(keep.astype(np.uint8), labels, classes=classes, void=void)[:, :2]


def kept_by_class(
    counts: Int[np.ndarray, "n c 2"], *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> list[Interval]:
    """The share of each class's pixels that goes on, over the pixels of all images, with intervals over images.

    ``counts`` are those of :func:`going_on`.  NaN without an interval for a class that no label has.

    Source: DoViT, section 4.4, says of roads, skies and trees that they stop early; this measures it.
    Raises: InputError if there is no image.
    """
    images, classes, _ = counts.shape
    table = counts.reshape(images, 2 * classes).astype(float)

    def share(drawn: Int[np.ndarray, "n"]) -> Float[np.ndarray, "c"]:
        stopped, kept = (np.bincount(drawn, minlength=images) @ table).reshape(classes, 2).T
        return np.divide(kept, stopped + kept, out=np.full(classes, np.nan), where=stopped + kept > 0)

    return bootstrap(share, images, seed=seed, resamples=resamples, level=level)


def score_difference(
    left: Tallies, right: Tallies, *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> SegmentationScores:
    """mIoU, PA and mPA of ``left`` minus those of ``right``, bootstrapped over the images they share.

    Raises: InputError if the two do not hold the same images, or no pixel has a label.
    """
    if not np.array_equal(left.labelled, right.labelled):
        raise InputError("left and right hold other images or labels: predict the same ones in the same order")
    mine, theirs = _Sums(left), _Sums(right)

    def difference(drawn: Int[np.ndarray, "n"]) -> Float[np.ndarray, "3"]:
        return mine.scores(drawn) - theirs.scores(drawn)

    return SegmentationScores(*bootstrap(difference, mine.images, seed=seed, resamples=resamples, level=level))


class _Sums:
    """What is left of tallies summed over drawn images.  A sum is one product of matrices, exact below 2⁵³ pixels."""

    def __init__(self, tallies: Tallies) -> None:
        if not tallies.labelled.any():
            raise InputError("no pixel of any image has a label: give annotated images")
        self.images = len(tallies.labelled)
        self._table = np.concatenate([tallies.agreed, tallies.labelled, tallies.predicted], axis=1).astype(float)

    def _over(self, drawn: np.ndarray) -> np.ndarray:
        return (np.bincount(drawn, minlength=self.images) @ self._table).reshape(3, -1)

    def scores(self, drawn: Int[np.ndarray, "n"]) -> Float[np.ndarray, "3"]:
        """mIoU, PA and mPA, NaN where no pixel of the drawn images has a label."""
        agreed, labelled, predicted = self._over(drawn)
        if not labelled.any():
            return np.full(3, np.nan)
        union, known = labelled + predicted - agreed, labelled > 0
        iou = agreed[union > 0] / union[union > 0]
        return np.array([iou.mean(), agreed.sum() / labelled.sum(), (agreed[known] / labelled[known]).mean()])

    def iou(self, drawn: Int[np.ndarray, "n"]) -> Float[np.ndarray, "c"]:
        """NaN where neither labels nor predictions have the class."""
        agreed, labelled, predicted = self._over(drawn)
        union = labelled + predicted - agreed
        return np.divide(agreed, union, out=np.full_like(union, np.nan), where=union > 0)
