"""COCO: instances from polygons and run lengths, panoptic segments from coloured PNGs."""

import json
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask

from wbcore.data.example import VOID, Example
from wbcore.data.images import read_image
from wbcore.data.readers.files import fingerprint, require_size
from wbcore.errors import InputError


class _Coco:
    """What both kinds share: images by id, their annotations, and class numbers for category ids.

    Class 0 is the background; the categories follow by their ids, which puts things before stuff.  Without
    ``stuff`` its categories are background.  Examples are sorted by image id.
    """

    classes: Sequence[str]

    def __init__(self, root: Path | str, split: str, *, kind: str, year: int, name: str, stuff: bool = True) -> None:
        self.name = name
        self.root = Path(root)
        self._folder = self.root / f"{split}{year}"
        self._file = self.root / "annotations" / f"{kind}_{split}{year}.json"
        content = _read_json(self._file)
        try:
            self._images = sorted(content["images"], key=lambda image: image["id"])
            self._annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
            for annotation in content["annotations"]:
                self._annotations[annotation["image_id"]].append(annotation)
            categories = sorted(content["categories"], key=lambda category: category["id"])
            # Files of instances list things only, and do not say so.
            self._things = {category["id"] for category in categories if category.get("isthing", 1)}
            kept = [category for category in categories if stuff or category["id"] in self._things]
            self.classes = ("background", *(category["name"] for category in kept))
            self._number = {category["id"]: 0 for category in categories}
            self._number |= {category["id"]: place for place, category in enumerate(kept, start=1)}
            unknown = self._annotations.keys() - {image["id"] for image in self._images}
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{self._file} is not a COCO file of {kind} ({error!r}): download the annotations again"
            ) from error
        if unknown:
            raise InputError(f"{self._file} annotates image {min(unknown)} and does not list it: download it again")
        if not self._images:
            raise InputError(f"{self._file} lists no image: choose another split")

    def __len__(self) -> int:
        return len(self._images)

    def _path(self, image: dict[str, Any]) -> Path:
        return self._folder / image["file_name"]

    def _class_number(self, category_id: int) -> int:
        if category_id not in self._number:
            raise InputError(f"{self._file} uses category {category_id} and does not list it: download it again")
        return self._number[category_id]


class CocoInstances(_Coco):
    """``root/<split><year>/*.jpg`` with ``root/annotations/instances_<split><year>.json``.

    Every listed image is an example, also one without objects.  Masks are decoded by pycocotools and stand
    in the order of their annotation ids, crowds among them.

    Source: cocodataset.org, data format, 1. object detection.
    Raises: InputError if files are missing, broken or empty; on access, if an image cannot be read or its
    size is not the annotated one.
    """

    def __init__(self, root: Path | str, split: str = "val", *, year: int = 2017, name: str = "coco") -> None:
        super().__init__(root, split, kind="instances", year=year, name=name)
        self.fingerprint = fingerprint(
            self.root, self.classes, images=map(self._path, self._images), annotations=[self._file]
        )

    def __getitem__(self, index: int) -> Example:
        record = self._images[index]
        image = read_image(self._path(record))
        size = (record["height"], record["width"])
        require_size(f"{self._file} for {record['file_name']}", found=size, wanted=image.shape[:2])
        annotations = sorted(self._annotations.get(record["id"], ()), key=lambda annotation: annotation["id"])
        return Example(
            name=Path(record["file_name"]).stem,
            image=image,
            instances=_decode([self._run_lengths(annotation, size) for annotation in annotations], size),
            categories=np.array([self._class_number(a["category_id"]) for a in annotations], dtype=np.int64),
            crowd=np.array([a.get("iscrowd", 0) for a in annotations], dtype=bool),
        )

    def _run_lengths(self, annotation: dict[str, Any], size: tuple[int, int]) -> Any:
        shape = annotation["segmentation"]
        if isinstance(shape, list):
            # pycocotools takes four numbers for a box, not for a polygon.
            if not shape or any(len(polygon) < 6 or len(polygon) % 2 for polygon in shape):
                raise self._broken(annotation, "a polygon needs three points or more")
            return coco_mask.merge(coco_mask.frPyObjects(shape, *size))
        if tuple(shape["size"]) != size:
            raise self._broken(annotation, f"its run lengths are for {shape['size']}, the image is {list(size)}")
        if isinstance(shape["counts"], list):
            if sum(shape["counts"]) != size[0] * size[1]:
                raise self._broken(annotation, "its run lengths do not add up to the image")
            return coco_mask.frPyObjects(shape, *size)
        return shape

    def _broken(self, annotation: dict[str, Any], reason: str) -> InputError:
        return InputError(f"{self._file}: annotation {annotation['id']} is broken ({reason}): download it again")


class CocoPanoptic(_Coco):
    """``root/<split><year>/*.jpg`` with ``root/annotations/panoptic_<split><year>.json`` and its folder of PNGs.

    ``instances`` are the things, in the order of the file, crowds among them.  ``semantic`` has the class of
    every pixel and ``VOID`` where nothing is annotated; with ``stuff=False`` the stuff classes count as
    background, as in PASCAL VOC, and only things are left in ``classes``.

    Source: cocodataset.org, data format, 4. panoptic segmentation: a segment's id is R + 256 G + 256² B.
    Raises: InputError if files are missing, broken or empty; on access, if an image or a mask cannot be read,
    sizes differ, or a PNG and the JSON do not name the same segments.
    """

    def __init__(
        self, root: Path | str, split: str = "val", *, year: int = 2017, stuff: bool = True, name: str = "coco"
    ) -> None:
        super().__init__(root, split, kind="panoptic", year=year, stuff=stuff, name=name)
        lacking = [image["file_name"] for image in self._images if len(self._annotations[image["id"]]) != 1]
        if lacking:
            raise InputError(f"{self._file} does not have one annotation for {lacking[0]}: download it again")
        self.fingerprint = fingerprint(
            self.root,
            self.classes,
            images=map(self._path, self._images),
            annotations=[self._file, *(self._mask_path(image) for image in self._images)],
        )

    def _mask_path(self, image: dict[str, Any]) -> Path:
        return self._file.with_suffix("") / self._annotations[image["id"]][0]["file_name"]

    def __getitem__(self, index: int) -> Example:
        record = self._images[index]
        image = read_image(self._path(record))
        path = self._mask_path(record)
        colours = read_image(path).astype(np.int64)
        require_size(path, found=colours.shape[:2], wanted=image.shape[:2])
        ids = colours @ np.array([1, 256, 256**2])
        segments = self._annotations[record["id"]][0]["segments_info"]
        differing = set(np.unique(ids).tolist()) - {0} ^ {segment["id"] for segment in segments}
        if differing:
            raise InputError(f"segment {min(differing)} is not in both {path} and {self._file}: download both again")
        semantic = np.full(ids.shape, VOID, dtype=np.uint8)
        for segment in segments:
            semantic[ids == segment["id"]] = self._class_number(segment["category_id"])
        things = [segment for segment in segments if segment["category_id"] in self._things]
        return Example(
            name=Path(record["file_name"]).stem,
            image=image,
            semantic=semantic,
            instances=ids == np.array([segment["id"] for segment in things], dtype=np.int64)[:, None, None],
            categories=np.array([self._class_number(thing["category_id"]) for thing in things], dtype=np.int64),
            crowd=np.array([thing["iscrowd"] for thing in things], dtype=bool),
        )


def _decode(run_lengths: list[Any], size: tuple[int, int]) -> Bool[np.ndarray, "k h w"]:
    if not run_lengths:
        return np.zeros((0, *size), dtype=bool)
    with warnings.catch_warnings():
        # pycocotools 2.0.11 does not know NumPy 2's copy keyword, and works all the same.
        warnings.simplefilter("ignore", DeprecationWarning)
        masks: np.ndarray = coco_mask.decode(run_lengths)  # pyright: ignore[reportArgumentType]
    return np.ascontiguousarray(masks.transpose(2, 0, 1), dtype=bool)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: correct data_root or split, or unpack the annotations") from error
    except ValueError as error:
        raise InputError(f"{path} is not complete JSON ({error}): download the annotations again") from error
