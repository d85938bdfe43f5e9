"""Data sets made of other data sets: evenly spaced parts, several joined, and one kept in memory."""

import bisect
import hashlib
from collections.abc import Sequence
from itertools import accumulate

from wbcore.data.example import Dataset, Example
from wbcore.errors import InputError


def subset(dataset: Dataset, count: int) -> Dataset:
    """``count`` examples of ``dataset``, evenly spaced: example i is number ⌊i · len(dataset) / count⌋ of it.

    The whole data set is returned as it is when it has no more than ``count`` examples.
    Raises: InputError if ``count`` is not positive.
    """
    if count < 1:
        raise InputError(f"{count} images of {dataset.name} were asked for: ask for 1 or more")
    if count >= len(dataset):
        return dataset
    places = [place * len(dataset) // count for place in range(count)]
    return _Picked(dataset, places, ending=f"{count}", said=f"subset {count}")


def every_other(dataset: Dataset, first: int) -> Dataset:
    """Every second example of ``dataset``, from ``first`` (0 or 1) on: its two halves have no image in common.

    Raises: InputError if ``first`` is neither 0 nor 1, or there is no such example.
    """
    if first not in (0, 1) or first >= len(dataset):
        raise InputError(f"{dataset.name}, every other image from {first}: begin with 0 or 1, below {len(dataset)}")
    places = range(first, len(dataset), 2)
    return _Picked(dataset, places, ending=f"{first}::2", said=f"every other from {first}")


def joined(datasets: Sequence[Dataset], *, name: str) -> Dataset:
    """The examples of ``datasets`` one after the other.

    Raises: InputError if their classes differ.
    """
    if any(list(dataset.classes) != list(datasets[0].classes) for dataset in datasets):
        names = ", ".join(dataset.name for dataset in datasets)
        raise InputError(f"{names} cannot be joined, as their classes differ: use them one by one")
    return datasets[0] if len(datasets) == 1 else _Joined(datasets, name)


def kept(dataset: Dataset) -> Dataset:
    """The same examples, read or composed once and held in memory, to be measured many times."""
    return _Kept(dataset)


class _Picked:
    """The examples at some places of a data set."""

    def __init__(self, dataset: Dataset, places: Sequence[int], *, ending: str, said: str) -> None:
        self.name = f"{dataset.name}[{ending}]"
        self.classes = dataset.classes
        self.fingerprint = hashlib.sha256(f"{said} {dataset.fingerprint}".encode()).hexdigest()
        self._dataset, self._places = dataset, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Example:
        return self._dataset[self._places[index]]


class _Joined:
    def __init__(self, datasets: Sequence[Dataset], name: str) -> None:
        self.name = name
        self.classes = datasets[0].classes
        fingerprints = " ".join(dataset.fingerprint for dataset in datasets)
        self.fingerprint = hashlib.sha256(f"joined {fingerprints}".encode()).hexdigest()
        self._datasets = datasets
        self._ends = list(accumulate(len(dataset) for dataset in datasets))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        part = bisect.bisect_right(self._ends, index)
        start = self._ends[part - 1] if part else 0
        return self._datasets[part][index - start]


class _Kept:
    def __init__(self, dataset: Dataset) -> None:
        self.name, self.classes, self.fingerprint = dataset.name, dataset.classes, dataset.fingerprint
        self._examples = [dataset[index] for index in range(len(dataset))]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]
