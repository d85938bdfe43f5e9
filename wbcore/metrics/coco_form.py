"""Masks and files brought to one form for detection: COCO annotations of a single category."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as rle

from wbcore.errors import InputError

Annotation = dict[str, Any]
"""``image_id``, ``bbox``, ``area``, ``iscrowd`` and, where known, ``segmentation`` (run-length code) and ``score``."""


class Truth(NamedTuple):
    """The objects of one image; ``crowd`` marks masks of groups, which count neither for nor against a match."""

    masks: Bool[np.ndarray, "k h w"]
    crowd: Bool[np.ndarray, "k"] | None = None


@dataclass(frozen=True)
class CocoForm:
    """Truths and results as COCO annotations of one category, masks run-length encoded: little memory, any kind."""

    images: Sequence[dict[str, Any]]
    truths: Sequence[Annotation]
    results: Sequence[Annotation]


def coco_form(predictions: Iterable[Bool[np.ndarray, "_p _h _w"]], truths: Iterable[Truth]) -> CocoForm:
    """Predicted masks and true objects of image after image, encoded as they come (generators are welcome).

    A mask without a pixel is left out: MaskCut's authors do so with results, and nobody can find such an object.
    Boxes are the tight boxes of the masks, COCO's ``[x, y, width, height]`` with ``(x, y)`` the upper left pixel and
    sides counted in pixels.  Every image has its own size.

    Raises: InputError if the two differ in their number of images, or an image in its size.
    """
    images, known, found = [], [], []
    for number, (masks, truth) in enumerate(itertools.zip_longest(predictions, truths), start=1):
        if masks is None or truth is None:
            raise InputError(f"image {number} has only one of predictions and truth: give both for every image")
        height, width = truth.masks.shape[1:]
        if masks.shape[1:] != (height, width):
            raise InputError(
                f"image {number}: its predicted masks are {masks.shape[1]}x{masks.shape[2]} pixels, its objects "
                f"{height}x{width}: bring the predictions to the size of the image"
            )
        crowd = np.zeros(len(truth.masks), bool) if truth.crowd is None else truth.crowd
        images.append({"id": number, "height": height, "width": width})
        known += [
            _annotation(number, code, iscrowd=int(group))
            for code, group in zip(_encode(truth.masks), crowd, strict=True)
        ]
        found += [_annotation(number, code) for code in _encode(masks)]
    return CocoForm(images, _visible(known), _visible(found))


def _encode(masks: Bool[np.ndarray, "k h w"]) -> Any:
    return rle.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)) if len(masks) else []


def _annotation(image: int, code: Any, *, iscrowd: int = 0) -> Annotation:
    return {
        "image_id": image,
        "segmentation": code,
        "bbox": rle.toBbox(code).tolist(),
        "area": float(rle.area(code)),
        "iscrowd": iscrowd,
    }


def _visible(annotations: Iterable[Annotation]) -> list[Annotation]:
    return [annotation for annotation in annotations if annotation["area"] > 0]


def read_coco_json(results: Path | str, annotations: Path | str) -> CocoForm:
    """MaskCut's or any detector's JSON together with the COCO annotations that judge it, categories merged.

    ``results`` is a list in COCO's results format, or a dictionary in COCO's annotation format (what MaskCut's and
    CutLER's scripts write), whose images are then found in ``annotations`` by file name.  Segmentations may be
    polygons or run-length codes; a box that is given is used, else the tight box of the mask.  Every image of
    ``annotations`` counts, with results or without; an empty result does not.

    Raises: InputError, naming the file, if one cannot be read, has another format, or the two do not fit together.
    """
    truth, found = _read(annotations), _read(results)
    if not (_is_dataset(truth) and truth["images"]):
        raise InputError(f'{annotations} is not in COCO annotation format: it needs lists "images" and "annotations"')
    images = [{key: _get(image, key, annotations) for key in ("id", "height", "width")} for image in truth["images"]]
    if _is_dataset(found):
        found = _renumbered(found, truth["images"], results, annotations)
    if not isinstance(found, list):
        raise InputError(f"{results} is not a list of COCO results: each needs image_id and segmentation or bbox")
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    known = [_completed(each, sizes, annotations) for each in truth["annotations"]]
    return CocoForm(images, known, _visible(_completed(each, sizes, results) for each in found))


def _read(path: Path | str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give the path of a JSON file") from error
    except ValueError as error:
        raise InputError(f"{path} is not complete JSON ({error}): write or fetch it again") from error


def _is_dataset(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ("images", "annotations"))


def _get(entry: Any, key: str, file: Path | str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise InputError(f'{file} has an entry without "{key}": write it in COCO form; it is {str(entry)[:60]}')
    return entry[key]


def _renumbered(
    found: dict[str, Any], images: list[dict[str, Any]], results: Path | str, annotations: Path | str
) -> list[dict[str, Any]]:
    """Results in annotation format, with the image ids of the images of the same file name."""
    known = {Path(_get(image, "file_name", annotations)).name: image["id"] for image in images}
    numbers = {}
    for image in found["images"]:
        name = Path(_get(image, "file_name", results)).name
        if name not in known:
            raise InputError(f"{results} is about {name}, which {annotations} does not list: give the same split")
        numbers[_get(image, "id", results)] = known[name]
    return [{**each, "image_id": numbers.get(_get(each, "image_id", results))} for each in found["annotations"]]


def _completed(given: Any, sizes: dict[Any, tuple[int, int]], file: Path | str) -> Annotation:
    """One annotation of a file, checked against its image."""
    image = _get(given, "image_id", file)
    if image not in sizes:
        raise InputError(f"{file} has an entry for image {image}, which is not annotated: give results of this split")
    crowd = given.get("iscrowd", 0)
    if given.get("segmentation"):
        whole = _annotation(image, _code(given["segmentation"], sizes[image], file), iscrowd=crowd)
    else:
        _, _, width, height = _get(given, "bbox", file)
        whole = {"image_id": image, "area": float(width * height), "iscrowd": crowd}
    return whole | {key: given[key] for key in ("bbox", "score") if key in given}


def _code(segmentation: Any, size: tuple[int, int], file: Path | str) -> Any:
    """The run-length code of polygons, of an uncompressed or of a compressed code."""
    height, width = size
    if isinstance(segmentation, list):
        if not all(isinstance(polygon, list) and len(polygon) >= 6 for polygon in segmentation):
            raise InputError(f"{file} has a polygon of fewer than three points: write [[x1, y1, x2, y2, x3, y3, …], …]")
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if tuple(_get(segmentation, "size", file)) != size:
        # pycocotools would count an overlap of -1 and go on.
        raise InputError(
            f"{file} has a mask of {segmentation['size']} on an image of {list(size)} pixels: write masks at its size"
        )
    counts = _get(segmentation, "counts", file)
    return rle.frPyObjects(segmentation, height, width) if isinstance(counts, list) else segmentation
