"""Labelled photographs whose splits stand in lists: Oxford's Flowers-102 and IIIT Pets."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import io
from scipy.io.matlab import MatReadError

from wbcore.data.example import Example
from wbcore.data.images import read_image
from wbcore.data.readers.files import fingerprint, require_folder
from wbcore.errors import InputError

FLOWERS_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}
FLOWERS_CLASSES = 102


class _Listed:
    """Photographs in one folder, with a label for each."""

    classes: Sequence[str]

    def __init__(self, root: Path, files: Sequence[tuple[Path, int]], *, lists: Sequence[Path], name: str) -> None:
        self.name = name
        self.root = root
        self._files = files
        images = (path for path, _ in files)
        self.fingerprint = fingerprint(root, self.classes, images=images, annotations=lists)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        path, label = self._files[index]
        return Example(name=path.stem, image=read_image(path), label=label)


class Flowers102(_Listed):
    """Oxford Flowers-102: ``root/jpg``, ``root/imagelabels.mat`` and ``root/setid.mat``.

    The classes have numbers and no names in these files.  Examples are in the order of the split's list.

    Source: Nilsback & Zisserman, Automated flower classification over a large number of classes (ICVGIP 2008).
    Raises: InputError for another split, or if files are missing or damaged.
    """

    classes: Sequence[str] = tuple(f"flower {number}" for number in range(1, FLOWERS_CLASSES + 1))

    def __init__(self, root: Path | str, split: str = "test", *, name: str = "flowers102") -> None:
        root = require_folder(Path(root))
        if split not in FLOWERS_SPLITS:
            raise InputError(f"Flowers-102 has no split {split!r}: choose one of {', '.join(FLOWERS_SPLITS)}")
        lists = [root / "imagelabels.mat", root / "setid.mat"]
        labels, numbers = _matrix(lists[0], "labels"), _matrix(lists[1], FLOWERS_SPLITS[split])
        if not numbers.size or numbers.min() < 1 or numbers.max() > labels.size:
            raise InputError(f"{lists[1]} does not fit {lists[0]}, which has {labels.size} labels: download both again")
        if labels.min() < 1 or labels.max() > FLOWERS_CLASSES:
            raise InputError(f"{lists[0]} has labels outside 1 to {FLOWERS_CLASSES}: download it again")
        files = [(root / "jpg" / f"image_{number:05d}.jpg", int(labels[number - 1]) - 1) for number in numbers.tolist()]
        super().__init__(root, files, lists=lists, name=name)


class OxfordPets(_Listed):
    """Oxford-IIIT Pets: ``root/images`` and ``root/annotations/{trainval,test}.txt``; the classes are 37 breeds.

    Source: Parkhi et al., Cats and dogs (CVPR 2012); a line of a list is "name class species breed", from 1.
    Raises: InputError for another split, or if files are missing or a line is broken.
    """

    def __init__(self, root: Path | str, split: str = "test", *, name: str = "pets") -> None:
        root = require_folder(Path(root))
        listing = root / "annotations" / f"{split}.txt"
        if not listing.is_file():
            raise InputError(f"{listing} does not exist: the splits are trainval and test; check data_root")
        files, breeds = [], {}
        for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip() and not line.startswith("#"):
                image, label = _pet(line, place=f"{listing}, line {number}")
                breeds[label] = image.rpartition("_")[0]
                files.append((root / "images" / f"{image}.jpg", label))
        if not files:
            raise InputError(f"{listing} names no image: unpack the annotations again, or choose another split")
        self.classes = [breeds.get(label, f"class {label + 1}") for label in range(max(breeds) + 1)]
        super().__init__(root, files, lists=[listing], name=name)


def _pet(line: str, *, place: str) -> tuple[str, int]:
    """The image's name and its class from 0."""
    fields = line.split()
    if len(fields) != 4 or not fields[1].isdecimal() or fields[1] == "0":
        raise InputError(f'{place} is not "name class species breed": unpack the annotations again')
    return fields[0], int(fields[1]) - 1


def _matrix(path: Path, name: str) -> np.ndarray:
    """One vector of whole numbers of a MATLAB file."""
    try:
        with path.open("rb") as stream:
            return np.atleast_1d(io.loadmat(stream)[name].squeeze()).astype(np.int64)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: download it from the data set's page, or check data_root") from error
    # SciPy answers broken files with any of these.
    except (
        MatReadError,
        KeyError,
        ValueError,
        TypeError,
        OSError,
        struct.error,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise InputError(f"{path} has no {name} ({error!r}): download it again") from error
