"""What every data set hands out: one photograph with whatever is known about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int, UInt8

VOID = 255
"""The value of a semantic mask where nobody knows the class; it counts neither for nor against a prediction."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image and its annotations.  What a data set does not know is ``None``.

    ``semantic`` holds class numbers and ``VOID`` where the class is unknown; number ``c`` is called
    ``dataset.classes[c]``, and 0 is the background where a data set has one.  ``instances`` are masks of single
    objects, which may overlap; ``categories`` has the class number of each and ``crowd`` marks those that stand for a
    group.
    """

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    label: int | None = None
    semantic: UInt8[np.ndarray, "h w"] | None = None
    instances: Bool[np.ndarray, "k h w"] | None = None
    categories: Int[np.ndarray, "k"] | None = None
    crowd: Bool[np.ndarray, "k"] | None = None


@runtime_checkable
class Dataset(Protocol):
    """A sequence of examples with a name, class names and a fingerprint of its content.

    ``fingerprint`` is a hexadecimal SHA-256 over what decides the examples, so that a record can say on
    which data it stands.
    """

    name: str
    classes: Sequence[str]
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...
