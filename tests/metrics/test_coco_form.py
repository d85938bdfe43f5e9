"""Detection files of every shape give what the same masks give; files that do not fit are named."""

import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle

from wbcore.errors import InputError
from wbcore.metrics.coco_form import Truth, coco_form, read_coco_json
from wbcore.metrics.detection import average_precision, class_agnostic_ap, match

SIZE = (41, 53)
BOXES = [(3, 5, 11, 13), (19, 23, 17, 7), (2, 17, 13, 19)]  # x, y, width, height: columns first, as COCO does


def mask(x, y, width, height):
    canvas = np.zeros(SIZE, bool)
    canvas[y : y + height, x : x + width] = True
    return canvas


TRUE = [np.stack([mask(*BOXES[0]), mask(*BOXES[1])]), np.stack([mask(*BOXES[2])])]
FOUND = [np.stack([mask(4, 5, 11, 13), mask(30, 2, 5, 7)]), np.stack([mask(2, 17, 13, 10)])]
ARRAYS = coco_form(FOUND, [Truth(masks) for masks in TRUE])


def polygon(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def compressed(area):
    code: Any = rle.encode(np.asfortranarray(area, dtype=np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode("ascii")}


def uncompressed(area):
    flat = area.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    return {"size": list(SIZE), "counts": np.diff(edges, prepend=0, append=flat.size).tolist()}


def annotations():
    """Two categories and ids from 0, which the evaluator would take for "no match" as they stand."""
    entries = [(7, BOXES[0], 1), (7, BOXES[1], 2), (9, BOXES[2], 2)]
    return {
        "images": [{"id": i, "height": 41, "width": 53, "file_name": f"{i}.jpg"} for i in (7, 9)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": kind, "segmentation": polygon(*box), "bbox": list(box)}
            for n, (image, box, kind) in enumerate(entries)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def results(form=compressed):
    return [
        {"image_id": image, "category_id": 1, "segmentation": form(area), "score": score}
        for image, areas, score in zip((7, 9), FOUND, (0.25, 0.5), strict=True)
        for area in areas
    ]


def write(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(folder, found, truth=None):
    truth = annotations() if truth is None else truth
    return read_coco_json(write(folder, "found.json", found), write(folder, "truth.json", truth))


@pytest.mark.parametrize("form", [compressed, uncompressed])
@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_files_score_as_the_masks_they_hold(tmp_path, form, kind):
    loaded = read(tmp_path, results(form))
    assert [each["bbox"] for each in loaded.results] == [each["bbox"] for each in ARRAYS.results]
    assert class_agnostic_ap(loaded, kind=kind) == class_agnostic_ap(ARRAYS, kind=kind)
    assert 0 < average_precision(match(loaded, kind=kind))[0] < 1


def test_given_scores_rank_the_images(tmp_path):
    loaded = read(tmp_path, results())
    given, constant = (average_precision(match(loaded, kind="segm", scores=s))[1] for s in ("given", "constant"))
    # Constant: hit, miss, hit.  By score: hit (IoU 10/19, the second image), hit, miss; two of three objects found.
    assert constant == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert given == pytest.approx(67 / 101)


def test_results_in_annotation_form_are_found_by_file_name(tmp_path):
    found = {
        "images": [{"id": 1, "file_name": "val2017/9.jpg"}, {"id": 2, "file_name": "val2017/7.jpg"}],
        "annotations": [
            {"id": n, "image_id": {7: 2, 9: 1}[each["image_id"]], "segmentation": each["segmentation"]}
            for n, each in enumerate(results(), start=1)
        ],
    }
    assert class_agnostic_ap(read(tmp_path, found), kind="segm") == class_agnostic_ap(ARRAYS, kind="segm")


def test_results_of_boxes_alone_are_judged_as_boxes(tmp_path):
    boxes = [{"image_id": 7, "bbox": list(BOXES[0])}, {"image_id": 9, "bbox": [0, 0, 0, 5]}]
    loaded = read(tmp_path, boxes)
    assert average_precision(match(loaded, kind="bbox"))[0] == pytest.approx(34 / 101)
    assert len(loaded.results) == 1
    with pytest.raises(InputError, match='use kind="bbox"'):
        match(loaded, kind="segm")


def test_no_results_is_zero_over_all_images(tmp_path):
    assert class_agnostic_ap(read(tmp_path, []), kind="segm").ap == (0, 0, 0, 2)


def changed(entry, **fields):
    return [{**entry, **fields}]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ('[{"image_id": 7', "found.json is not complete JSON"),
        ({"7": []}, "found.json is not a list"),
        ([3], 'without "image_id"'),
        (changed(results()[0], image_id=8), "image 8, which is not annotated"),
        ([{"image_id": 7}], 'without "bbox"'),
        (changed(results()[0], segmentation=[[1, 2, 3, 4]]), "fewer than three points"),
        (
            changed(results()[0], segmentation={"size": [53, 41], "counts": "0"}),
            r"\[53, 41\] on an image of \[41, 53\]",
        ),
        (changed(results()[0], segmentation={"size": [41, 53]}), 'without "counts"'),
        ({"images": [{"id": 1, "file_name": "8.jpg"}], "annotations": []}, "about 8.jpg, which"),
    ],
)
def test_results_that_do_not_fit_are_named(tmp_path, found, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, found)


def test_annotations_that_are_none_are_named(tmp_path):
    with pytest.raises(InputError, match=r"truth\.json is not in COCO annotation format"):
        read(tmp_path, [], results())
    with pytest.raises(InputError, match=r'truth\.json has an entry without "height"'):
        read(tmp_path, [], {"images": [{"id": 1}], "annotations": []})
    with pytest.raises(InputError, match=r"missing\.json cannot be read \(No such file"):
        read_coco_json(tmp_path / "missing.json", tmp_path / "missing.json")
