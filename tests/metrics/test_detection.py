"""AP by hand, against COCOeval's own numbers, and against a brute-force evaluator."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wbcore.errors import InputError
from wbcore.metrics.coco_form import CocoForm, Truth, coco_form
from wbcore.metrics.detection import (
    ap_difference,
    average_precision,
    average_precisions,
    by_rank,
    class_agnostic_ap,
    match,
    matches_from_lines,
    order_lead,
    order_range,
)

SIZE = (41, 53)


def rectangle(top, left, height, width):
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def stack(*masks):
    return np.stack(masks) if masks else np.zeros((0, *SIZE), bool)


HERE, THERE = rectangle(3, 5, 11, 13), rectangle(23, 29, 7, 11)


def images_with(*found_at):
    """One object in each image, and one prediction: on it (True) or elsewhere."""
    predictions = [stack(HERE if found else THERE) for found in found_at]
    return coco_form(predictions, [Truth(stack(HERE)) for _ in found_at])


def limits(interval):
    return np.array([interval.low, interval.high], float)


def random_form(seed, images=13, *, crowds=True):
    """Objects with shifted copies as predictions, so that IoUs spread over all thresholds; some images lack either."""
    rng = np.random.default_rng(seed)
    predictions, truths = [], []
    for _ in range(images):
        boxes = [(*rng.integers(0, 20, 2), *rng.integers(7, 21, 2)) for _ in range(rng.integers(0, 5))]
        moved = [tuple(np.maximum(np.array(box) + rng.integers(-2, 3, 4), 0)) for box in boxes for _ in range(2)]
        moved = [moved[i] for i in rng.permutation(len(moved))[: rng.integers(0, 7)]]
        extra = [(*rng.integers(0, 20, 2), *rng.integers(0, 9, 2)) for _ in range(rng.integers(0, 2))]
        predictions.append(stack(*(rectangle(*box) for box in (*moved, *extra))))
        crowd = (rng.random(len(boxes)) < 0.2) & crowds
        truths.append(Truth(stack(*(rectangle(*box) for box in boxes)), crowd))
    return coco_form(predictions, truths)


def coco_stats(form, kind, scores):
    """The first three numbers of COCOeval's summary, through its own loader and with its own settings."""
    dataset: Any = {
        "images": list(form.images),
        "annotations": [{**each, "id": i, "category_id": 1} for i, each in enumerate(form.truths, start=1)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    keep = ("image_id", "segmentation" if kind == "segm" else "bbox")
    results: Any = [
        {**{key: each[key] for key in keep}, "category_id": 1, "score": score}
        for each, score in zip(form.results, scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(results), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats[:3]


def brute_force_ap(predictions, truths):
    """AP, AP50 and AP75 of masks in order of confidence, from the definitions; no crowds."""
    curves = []
    for threshold in np.linspace(0.5, 0.95, 10):
        outcomes = []
        for masks, objects in zip(predictions, truths, strict=True):
            free = list(range(len(objects)))
            for mask in masks:
                overlaps = [(mask & objects[i]).sum() / (mask | objects[i]).sum() for i in free]
                found = bool(overlaps) and max(overlaps) >= threshold
                outcomes.append(found)
                if found:
                    free.pop(int(np.argmax(overlaps)))
        hits = np.cumsum(outcomes)
        recall, precision = hits / sum(map(len, truths)), hits / np.arange(1, len(hits) + 1)
        curves.append([precision[recall >= level].max(initial=0) for level in np.linspace(0, 1, 101)])
    return np.mean(curves), np.mean(curves[0]), np.mean(curves[5])


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_four_images_by_hand(kind):
    # Hit, miss, hit, miss: precision 1, 1/2, 2/3, 1/2 at recall 1/4, 1/4, 2/4, 2/4.  Made monotone it is 1 at the
    # 26 recalls up to 0.25, 2/3 at the 25 up to 0.5, and 0 after.
    expected = (26 + 25 * 2 / 3) / 101
    scores = class_agnostic_ap(images_with(True, False, True, False), kind=kind)
    assert [interval.value for interval in scores] == pytest.approx([expected] * 3, abs=1e-12)
    # The same outcomes in another order of images: precision 1/2 at the 51 recalls up to 0.5.
    other = class_agnostic_ap(images_with(False, True, False, True), kind=kind)
    assert other.ap.value == pytest.approx(51 / 2 / 101, abs=1e-12)


def test_thresholds_by_hand():
    # 10 of 13 columns: IoU 0.769, so found at 0.50, 0.55, …, 0.75.
    narrow = rectangle(3, 5, 11, 10)
    scores = class_agnostic_ap(coco_form([stack(narrow)], [Truth(stack(HERE))]), kind="segm")
    assert [interval.value for interval in scores] == pytest.approx([0.6, 1, 1])
    assert scores.ap.low is None


def test_ranks_put_the_first_masks_of_all_images_first():
    predictions = [stack(HERE, THERE), stack(HERE, THERE)]
    form = coco_form(predictions, [Truth(stack(HERE))] * 2)
    # Image after image: hit, miss, hit.  First masks first: hit, hit.
    assert average_precision(match(form, kind="segm"))[0] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision(match(form, kind="segm", scores="rank"))[0] == pytest.approx(1)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_cocoevals_exactly(kind, seed):
    form = random_form(seed)
    ones = np.ones(len(form.results))
    assert average_precision(match(form, kind=kind)).tolist() == coco_stats(form, kind, ones).tolist()
    drawn = np.random.default_rng(seed).random(len(form.results)).round(1)
    scored = CocoForm(
        form.images, form.truths, [{**each, "score": s} for each, s in zip(form.results, drawn, strict=True)]
    )
    given = average_precision(match(scored, kind=kind, scores="given"))
    assert given.tolist() == coco_stats(form, kind, drawn).tolist()
    assert 0.05 < given[0] < 0.95


def test_ranks_are_any_scores_that_fall_by_round():
    form = random_form(3)
    numbers = [each["image_id"] for each in form.results]
    scores = [1 - 1e-3 * numbers[:place].count(image) for place, image in enumerate(numbers)]
    ranked = average_precision(match(form, kind="segm", scores="rank"))
    assert ranked.tolist() == coco_stats(form, "segm", scores).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_matching_and_curve_are_a_brute_force_evaluators(seed):
    rng = np.random.default_rng(100 + seed)
    predictions, truths = [], []
    for _ in range(7):
        # Sides of distinct primes leave no two overlaps equal.
        boxes = [(*rng.integers(0, 20, 2), *rng.choice([7, 11, 13, 17, 19], 2)) for _ in range(rng.integers(1, 4))]
        truths.append(stack(*(rectangle(*box) for box in boxes)))
        moved = [np.maximum(np.array(box) + rng.integers(-2, 3, 4), 1) for box in boxes[::-1]]
        predictions.append(stack(*(rectangle(*box) for box in moved[: rng.integers(0, 4)])))
    form = coco_form(predictions, [Truth(masks) for masks in truths])
    expected = brute_force_ap(predictions, truths)
    assert average_precision(match(form, kind="segm")) == pytest.approx(expected, abs=1e-12)
    assert expected[0] > 0.05


def test_a_resample_is_the_evaluation_of_the_images_it_repeats():
    form = random_form(7)
    matches = match(form, kind="segm")
    drawn = np.sort(np.random.default_rng(0).integers(13, size=13))
    images, truths, results = [], [], []
    for number, image in enumerate(drawn + 1, start=1):
        images.append({**form.images[image - 1], "id": number})
        for source, copies in ((form.truths, truths), (form.results, results)):
            copies += [{**each, "image_id": number} for each in source if each["image_id"] == image]
    repeated = match(CocoForm(images, truths, results), kind="segm")
    assert average_precision(matches, drawn).tolist() == average_precision(repeated).tolist()


@pytest.mark.parametrize("scores", ["constant", "rank"])
def test_many_resamples_at_once_are_those_one_by_one(scores):
    matches = match(random_form(7, images=13), kind="segm", scores=scores)
    drawn = np.random.default_rng(1).integers(13, size=(150, 13))
    drawn[3], drawn[70] = 0, 12  # one image alone, with few objects or none
    one_by_one = [average_precision(matches, row) for row in drawn]
    np.testing.assert_array_equal(average_precisions(matches, drawn), np.stack(one_by_one))


def test_without_results_ap_is_zero_and_without_objects_undefined():
    nothing = coco_form([stack(), stack()], [Truth(stack()), Truth(stack(HERE))])
    found = average_precisions(match(nothing, kind="segm"), np.array([[0, 1], [0, 0]]))
    np.testing.assert_array_equal(found, [[0, 0, 0], [np.nan] * 3])


def test_intervals_hold_the_value_and_shrink_with_more_images():
    few, many = (class_agnostic_ap(random_form(11, images=n), kind="segm", resamples=200) for n in (13, 211))
    for scores, n in ((few, 13), (many, 211)):
        for interval in scores:
            low, high = limits(interval)
            assert low <= interval.value <= high
            assert interval.n == n
    assert np.ptp(limits(many.ap)) < 0.6 * np.ptp(limits(few.ap))


def test_a_difference_is_bootstrapped_over_the_images_both_saw():
    good, bad = images_with(*[True] * 23), images_with(*[True, False, False] * 7, True, True)
    left, right = match(good, kind="segm"), match(bad, kind="segm")
    difference = ap_difference(left, right, resamples=200)
    assert difference.ap.value == pytest.approx(1 - average_precision(right)[0])
    assert limits(difference.ap)[0] > 0
    assert ap_difference(left, left, resamples=20).ap50 == (0, 0, 0, 23)
    with pytest.raises(InputError, match="same ones"):
        ap_difference(left, match(images_with(True), kind="segm"))


def test_the_order_of_images_matters_to_constant_scores_alone():
    mixed = match(images_with(*[True, False] * 5), kind="segm")
    spread = order_range(mixed)
    low, high = limits(spread.ap)
    # By hand: all hits first is the best order (precision 1), all misses first the worst (precision 1/2).
    assert 51 / 101 / 2 - 1e-12 < low < spread.ap.value < high < 51 / 101 + 1e-12
    form = random_form(5)
    scored = [{**each, "score": float(score)} for score, each in enumerate(form.results)]
    fixed = order_range(match(CocoForm(form.images, form.truths, scored), kind="segm", scores="given"))
    assert fixed.ap == (fixed.ap.value, fixed.ap.value, fixed.ap.value, 13)


def test_a_crowd_counts_neither_for_nor_against():
    predictions = [stack(HERE), stack(THERE)]
    truths = [Truth(stack(HERE)), Truth(stack(THERE), np.array([True]))]
    assert average_precision(match(coco_form(predictions, truths), kind="segm"))[0] == pytest.approx(1)
    truths[1] = Truth(stack())
    assert average_precision(match(coco_form(predictions[::-1], truths[::-1]), kind="segm"))[0] == pytest.approx(0.5)


def test_only_max_dets_masks_of_an_image_are_looked_at():
    form = coco_form([stack(THERE, HERE)], [Truth(stack(HERE))])
    assert average_precision(match(form, kind="segm"))[0] == pytest.approx(0.5)
    assert average_precision(match(form, kind="segm", max_dets=1))[0] == 0


def test_boxes_are_tight_and_masks_without_a_pixel_left_out():
    ring = HERE.copy()
    ring[4:13, 6:17] = False
    form = coco_form([stack(ring, np.zeros(SIZE, bool))], [Truth(stack(HERE, np.zeros(SIZE, bool)))])
    assert [each["bbox"] for each in form.results] == [[5, 3, 13, 11]]
    assert len(form.truths) == 1
    assert form.results[0]["area"] == ring.sum()
    assert average_precision(match(form, kind="bbox"))[0] == pytest.approx(1)
    assert average_precision(match(form, kind="segm"))[0] == 0


def test_no_predictions_at_all_is_zero():
    form = coco_form([stack()] * 3, [Truth(stack(HERE))] * 3)
    assert class_agnostic_ap(form, kind="segm", resamples=10).ap == (0, 0, 0, 3)


def test_nothing_is_printed(capsys):
    class_agnostic_ap(images_with(True, False), kind="segm", resamples=3)
    assert capsys.readouterr() == ("", "")


def test_bad_input_is_named():
    with pytest.raises(InputError, match="no object"):
        match(coco_form([stack(HERE)], [Truth(stack())]), kind="segm")
    with pytest.raises(InputError, match="image 2 has only one"):
        coco_form([stack(HERE)], [Truth(stack(HERE))] * 2)
    with pytest.raises(InputError, match="predicted masks are 3x5 pixels, its objects 41x53"):
        coco_form([np.zeros((1, 3, 5), bool)], [Truth(stack(HERE))])
    with pytest.raises(InputError, match="not every result has a score"):
        match(images_with(True), kind="segm", scores="given")
    boxes = CocoForm([{"id": 1}], [{"image_id": 1, "bbox": [0, 0, 3, 5], "area": 15.0, "iscrowd": 0}], [])
    with pytest.raises(InputError, match='use kind="bbox"'):
        match(boxes, kind="segm")


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_matches_survive_as_lines(kind):
    matches = match(random_form(17, images=29), kind=kind)
    again = matches_from_lines(matches.lines())
    for field in ("hit", "miss", "start", "count", "objects"):
        np.testing.assert_array_equal(getattr(again, field), getattr(matches, field))
    assert average_precision(again).tolist() == average_precision(matches).tolist()
    assert (~matches.hit & ~matches.miss).any()  # crowds among them


def test_lead_by_order():
    # Both find one of two objects with one of two masks; whose image comes first leads.
    left, right = (match(images_with(*found), kind="segm") for found in ((True, False), (False, True)))
    lead, reverse = order_lead(left, right, orders=200), order_lead(right, left, orders=200)
    np.testing.assert_allclose(lead + reverse, 1)
    assert (abs(lead - 0.5) < 0.15).all()
    both = match(images_with(True, True), kind="segm")
    assert order_lead(both, left).tolist() == [1, 1, 1]
    assert order_lead(left, both).tolist() == order_lead(left, left).tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="other images"):
        order_lead(left, match(images_with(True), kind="segm"))


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_rank_needs_no_second_matching(kind):
    form = random_form(19, images=29)
    ranked = average_precision(match(form, kind=kind, scores="rank"))
    constant = match(form, kind=kind)
    np.testing.assert_array_equal(average_precision(by_rank(constant)), ranked)
    assert ranked[1] != average_precision(constant)[1]


def test_lines_by_hand():
    narrow = rectangle(3, 5, 11, 10)  # IoU 0.769: found at the six lowest thresholds
    form = coco_form([stack(THERE, narrow), stack()], [Truth(stack(HERE)), Truth(stack(HERE))])
    assert match(form, kind="segm").lines() == ("1 2 1:3f/3c0", "1 0")


def test_lines_hold_no_scores_and_are_checked():
    form = images_with(True, False)
    scored = [{**each, "score": float(place)} for place, each in enumerate(form.results)]
    with pytest.raises(InputError, match="constant"):
        match(CocoForm(form.images, form.truths, scored), kind="segm", scores="given").lines()
    with pytest.raises(InputError, match="line 2 of the matches is '1 x'"):
        matches_from_lines(["1 0", "1 x"])
