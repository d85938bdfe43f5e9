"""Photographs with masks of objects in PNGs and JPEGs: PASCAL VOC segmentation and the Weizmann horses."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wbcore.data.example import VOID, Example
from wbcore.data.images import read_image, read_mask
from wbcore.data.readers.files import fingerprint, list_images, read_semantic, require_size
from wbcore.errors import InputError

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
FOREGROUND_FROM = 128
"""Grey value from which a pixel of a Weizmann mask is horse: the masks are JPEGs of black and white."""


class VocSegmentation:
    """PASCAL VOC 2012 segmentation; ``root`` is the folder with JPEGImages and ImageSets.

    ``semantic`` is SegmentationClass with the border that VOC leaves undecided (255) as ``VOID``.
    ``instances`` are the objects of SegmentationObject in the order of their numbers, without the undecided
    border; the category of each is the class most of its pixels have in SegmentationClass.

    Source: the VOC2012 development kit, section "Segmentation".
    Raises: InputError if files are missing or the split is empty; on access, if an image or a mask cannot be
    read or their sizes differ.
    """

    classes: Sequence[str] = VOC_CLASSES

    def __init__(self, root: Path | str, split: str = "val", *, name: str = "voc") -> None:
        self.name = name
        self.root = Path(root)
        listing = self.root / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not listing.is_file():
            raise InputError(f"{listing} does not exist: the splits are train, val and trainval; check data_root")
        self._names = listing.read_text(encoding="utf-8").split()
        if not self._names:
            raise InputError(f"{listing} names no image: unpack the data set again, or choose another split")
        self.fingerprint = fingerprint(
            self.root,
            self.classes,
            images=map(self._image, self._names),
            annotations=(self._mask(kind, name) for kind in ("Class", "Object") for name in self._names),
        )

    def _image(self, name: str) -> Path:
        return self.root / "JPEGImages" / f"{name}.jpg"

    def _mask(self, kind: str, name: str) -> Path:
        return self.root / f"Segmentation{kind}" / f"{name}.png"

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        name = self._names[index]
        image = read_image(self._image(name))
        size = image.shape[:2]
        semantic = read_semantic(self._mask("Class", name), numbers=range(len(self.classes)), size=size)
        objects = read_mask(self._mask("Object", name))
        require_size(self._mask("Object", name), found=objects.shape, wanted=size)
        numbers = np.setdiff1d(objects, [0, VOID])
        instances = objects == numbers[:, None, None]
        return Example(
            name=name,
            image=image,
            semantic=semantic,
            instances=instances,
            categories=np.array([self._category(semantic[mask], name) for mask in instances], dtype=np.int64),
            crowd=np.zeros(len(instances), dtype=bool),
        )

    def _category(self, values: np.ndarray, name: str) -> int:
        votes = np.bincount(values, minlength=VOID + 1)[1 : len(self.classes)]
        if not votes.any():
            raise InputError(
                f"{self._mask('Object', name)} has an object where {self._mask('Class', name)} has no class: "
                "use both from one release"
            )
        return int(votes.argmax()) + 1


class WeizmannHorses:
    """The Weizmann horses: ``root/rgb`` and ``root/figure_ground``, one horse a photograph, undivided.

    ``semantic`` is 1 on the horse.  Most masks are smaller than their photographs; a mask is made black and
    white first (``FOREGROUND_FROM``) and then resized to the photograph's size by nearest neighbour.

    Source: Borenstein & Ullman, Class-specific, top-down segmentation (ECCV 2002).
    Raises: InputError if files are missing; on access, if an image or a mask cannot be read.
    """

    classes: Sequence[str] = ("background", "horse")

    def __init__(self, root: Path | str, *, name: str = "weizmann") -> None:
        self.name = name
        self.root = Path(root)
        self._images = list_images(self.root / "rgb")
        self.fingerprint = fingerprint(
            self.root, self.classes, images=self._images, annotations=map(self._mask, self._images)
        )

    def _mask(self, image: Path) -> Path:
        return self.root / "figure_ground" / image.name

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Example:
        path = self._images[index]
        image = read_image(path)
        rows, columns = image.shape[:2]
        horse = (read_mask(self._mask(path)) >= FOREGROUND_FROM).astype(np.uint8)
        resized = Image.fromarray(horse).resize((columns, rows), Image.Resampling.NEAREST)
        return Example(name=path.stem, image=image, semantic=np.array(resized))
