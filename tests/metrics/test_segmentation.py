"""mIoU, PA and mPA: by hand, pixel by pixel, and from what a record keeps."""

import numpy as np
import pytest

from wbcore.errors import InputError
from wbcore.metrics.segmentation import (
    class_iou,
    confusion,
    going_on,
    kept_by_class,
    score_difference,
    scores,
    tallies_from_lines,
    tally,
)

H, W, CLASSES, IMAGES = 5, 7, 3, 11


def pair(seed: int, *, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and labels, some of them void."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (H, W)).astype(np.uint8)
    labels[rng.random((H, W)) < 0.2] = 255
    return rng.integers(0, classes, (H, W)), labels


def confusions(*, shift: int = 0, images: int = IMAGES) -> list[np.ndarray]:
    """Of predictions that are right at about half of the pixels; ``shift`` changes the predictions only."""
    found = []
    for seed in range(images):
        labels = pair(seed)[1]
        guess = pair(seed + 1000 * (shift + 1))[0]
        right = np.random.default_rng(seed + shift).random((H, W)) < 0.5
        found.append(confusion(np.where(right & (labels < 255), labels, guess), labels, classes=CLASSES))
    return found


def test_confusion_is_counted_pixel_by_pixel():
    for seed in range(3):
        prediction, labels = pair(seed)
        expected = np.zeros((CLASSES, CLASSES), int)
        for row in range(H):
            for column in range(W):
                if labels[row, column] != 255:
                    expected[labels[row, column], prediction[row, column]] += 1
        assert np.array_equal(confusion(prediction, labels, classes=CLASSES), expected)
        narrow = confusion(prediction.astype(np.uint8), labels, classes=CLASSES)
        assert np.array_equal(narrow, expected)


def test_many_classes_do_not_overflow():
    labels = np.full((H, W), 254, np.uint8)
    assert confusion(labels, labels, classes=255)[254, 254] == H * W


def test_another_number_may_be_void():
    prediction, labels = pair(0)
    renamed = np.where(labels == 255, 0, labels + 1).astype(np.uint8)
    found = confusion(prediction + 1, renamed, classes=CLASSES + 1, void=0)
    assert np.array_equal(found[1:, 1:], confusion(prediction, labels, classes=CLASSES))


@pytest.mark.parametrize("wrong", [3, 254])
def test_a_label_that_is_no_class_is_named(wrong):
    prediction, labels = pair(0)
    labels[2, 3] = wrong
    with pytest.raises(InputError, match=rf"label {wrong} is none of the 3 classes: map it to 0 … 2, or to void"):
        confusion(prediction, labels, classes=CLASSES)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_prediction_that_is_no_class_is_named_even_where_void(wrong):
    prediction, labels = pair(0)
    prediction[2, 3], labels[2, 3] = wrong, 255
    with pytest.raises(InputError, match=f"prediction {wrong} is none"):
        confusion(prediction, labels, classes=CLASSES)
    with pytest.raises(InputError, match="classes=0"):
        confusion(prediction, labels, classes=0)


def test_scores_by_hand():
    # Class 0: 3 of 5 labelled pixels, one predicted elsewhere; class 1: 2 of 3; class 2 is predicted but not there;
    # class 3 is in neither.
    first, second = np.zeros((2, 4, 4), int)
    first[0, :3], first[1, 1] = [2, 1, 1], 1
    second[0, 0], second[1, :2] = 1, [1, 1]
    found = scores(tally([first, second]))
    assert found.miou.value == pytest.approx((3 / 6 + 2 / 4 + 0) / 3)
    assert found.pa.value == pytest.approx(5 / 8)
    assert found.mpa.value == pytest.approx((3 / 5 + 2 / 3) / 2)
    assert found.miou.n == 2
    each = class_iou(tally([first, second]))
    assert [interval.value for interval in each] == pytest.approx([1 / 2, 1 / 2, 0, np.nan], nan_ok=True)
    assert each[3].low is None


def test_scores_are_those_of_one_large_image():
    """The sum over images, not the mean: all images side by side are one image with the same scores."""
    matrices = confusions()
    found = scores(tally(matrices))
    whole = scores(tally([np.sum(matrices, axis=0)]))
    assert [interval.value for interval in found] == [interval.value for interval in whole]
    assert found.miou.value != pytest.approx(
        np.mean([scores(tally([each]), resamples=0).miou.value for each in matrices])
    )
    assert whole.miou.low is None


def test_a_perfect_prediction():
    labels = pair(0)[1]
    right = np.where(labels == 255, 0, labels)
    found = scores(tally([confusion(right, labels, classes=CLASSES)] * IMAGES))
    assert all(interval == (1, 1, 1, IMAGES) for interval in found)


def test_intervals_are_those_of_images_drawn_again():
    matrices = confusions()
    found = scores(tally(matrices), resamples=101, seed=7)
    rng, drawn = np.random.default_rng(7), []
    for _ in range(101):
        whole = sum(matrices[image] for image in rng.integers(IMAGES, size=IMAGES))
        iou = whole.diagonal() / (whole.sum(0) + whole.sum(1) - whole.diagonal())
        drawn.append((iou.mean(), whole.trace() / whole.sum(), (whole.diagonal() / whole.sum(1)).mean()))
    for interval, low, high in zip(found, *np.quantile(drawn, [0.025, 0.975], axis=0), strict=True):
        assert (interval.low, interval.high) == pytest.approx((low, high))


def test_a_class_that_was_not_drawn_is_left_out():
    one, other = np.zeros((2, 2, 2), int)
    one[0, 0], other[1, 0] = 1, 1  # IoU 1 alone; 0 and 0 with the other
    found = scores(tally([one, other]))
    assert (found.miou.low, found.miou.high) == (0, 1)
    assert class_iou(tally([one, other]))[0].value == 0.5


def test_an_image_without_labels_changes_nothing_but_the_spread():
    matrices = confusions()
    with_empty = scores(tally([*matrices, np.zeros((CLASSES, CLASSES), int)]))
    assert with_empty.miou.value == scores(tally(matrices)).miou.value
    assert with_empty.miou.n == IMAGES + 1


def test_resamples_without_any_label_are_left_out():
    first, empty = np.eye(2, dtype=int), np.zeros((2, 2), int)
    assert scores(tally([first, empty])).miou == (1, 1, 1, 2)


def test_nothing_to_score_is_an_error():
    with pytest.raises(InputError, match="at least one confusion matrix"):
        tally([])
    empty = tally([np.zeros((2, 2), int)])
    for function in (scores, class_iou, lambda tallies: score_difference(tallies, tallies)):
        with pytest.raises(InputError, match="no pixel of any image has a label"):
            function(empty)


def test_what_is_hard_for_both_cancels():
    better = confusions()
    worse = [matrix.copy() for matrix in better]
    for matrix in worse:  # one pixel of each image goes wrong
        row = int(matrix.diagonal().argmax())
        matrix[row, row] -= 1
        matrix[row, row - 1] += 1
    left, right = tally(better), tally(worse)
    found, of_left, of_right = score_difference(left, right), scores(left), scores(right)
    for name, interval in found._asdict().items():
        alone = getattr(of_left, name), getattr(of_right, name)
        assert interval.value == pytest.approx(alone[0].value - alone[1].value)
        assert 0 < interval.low < interval.high < alone[0].high - alone[0].low
    assert score_difference(right, left).miou.low == pytest.approx(-found.miou.high)
    assert all(interval[:3] == (0, 0, 0) for interval in score_difference(left, left))


def test_only_predictions_of_the_same_images_are_compared():
    left = tally(confusions())
    assert np.array_equal(left.labelled, tally(confusions(shift=1)).labelled)
    for other in (confusions()[::-1], confusions(images=IMAGES - 1)):
        with pytest.raises(InputError, match="other images or labels"):
            score_difference(left, tally(other))


def test_lines_keep_what_scores_need():
    matrix = np.zeros((13, 13), int)
    matrix[0, 0], matrix[0, 11], matrix[5, 5] = 7, 3, 2
    tallies = tally([matrix, np.zeros((13, 13), int)])
    assert tallies.lines() == ("13 0:7/10/7 5:2/2/2 11:0/0/3", "13")
    for known in (tallies, tally(confusions())):
        again = tallies_from_lines(known.lines())
        for name in ("agreed", "labelled", "predicted"):
            assert np.array_equal(getattr(again, name), getattr(known, name))
        assert scores(again) == scores(known)


@pytest.mark.parametrize("damaged", ["", "two", "2 0:1/1", "2 0:1/1/x", "2 2:1/1/1", "3 0:1/1/1", "2 0"])
def test_a_damaged_line_is_named(damaged):
    with pytest.raises(InputError, match=r"line 2 of the tallies is .*: write the record again"):
        tallies_from_lines(["2 0:1/1/1", damaged])
    with pytest.raises(InputError, match="no line"):
        tallies_from_lines([])


def test_a_damaged_first_line_is_named():
    with pytest.raises(InputError, match="line 1 of the tallies"):
        tallies_from_lines(["x 0:1/1/1"])


def test_going_on_is_counted_pixel_by_pixel():
    labels, keep = pair(3)[1], np.random.default_rng(5).random((H, W)) < 0.4
    expected = [[((labels == c) & ~keep).sum(), ((labels == c) & keep).sum()] for c in range(CLASSES)]
    assert going_on(keep, labels, classes=CLASSES).tolist() == expected


def test_kept_by_class_is_a_share_of_all_pixels():
    counts = np.array([[[1, 3], [0, 0], [2, 0]], [[5, 1], [0, 0], [0, 7]]])
    first, absent, last = kept_by_class(counts)
    assert (first.value, last.value) == (pytest.approx(4 / 10), pytest.approx(7 / 9))
    assert (first.low, first.high) == (pytest.approx(1 / 6), pytest.approx(3 / 4))
    assert (last.low, last.high) == (0, 1)
    assert first.n == 2
    assert np.isnan(absent.value)
    assert absent.low is None


def test_kept_by_class_needs_an_image():
    with pytest.raises(InputError, match="0 images"):
        kept_by_class(np.zeros((0, CLASSES, 2), int))
