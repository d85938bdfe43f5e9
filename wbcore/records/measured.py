"""Records of what was measured just now: what all of one measurement say, and the mean of a number of each image."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from wbcore.metrics.intervals import bootstrap_mean
from wbcore.provenance import provenance
from wbcore.records.record import Record


def common_fields(
    *,
    data: str,
    command: str,
    device: torch.device | str,
    data_sha256: str | None = None,
    seed: int | None = None,
    weights_sha256: str | None = None,
) -> dict[str, Any]:
    """The fields of :class:`Record` that all records of a model on some data share."""
    return {
        "data": data,
        "data_sha256": data_sha256,
        "command": command,
        "seeds": () if seed is None else (seed,),
        "weights_sha256": weights_sha256,
        **provenance(device),
    }


@dataclass(frozen=True)
class Origin:
    """What all records of one model on some data say, whatever was measured."""

    name: str
    """What records call the model."""
    data: str
    """What they call the data."""
    command: str
    seed: int | None = None
    weights_sha256: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What they add to the settings of the measurement."""

    def common(self, device: torch.device | str, data_sha256: str | None) -> dict[str, Any]:
        """:func:`common_fields` of a measurement on a device."""
        return common_fields(
            data=self.data,
            command=self.command,
            device=device,
            data_sha256=data_sha256,
            seed=self.seed,
            weights_sha256=self.weights_sha256,
        )


def mean_record(
    metric: str,
    model: str,
    values: Shaped[np.ndarray, "n"] | Shaped[Tensor, "n"] | Sequence[float],
    *,
    digits: int = 4,
    **fields: Any,
) -> Record:
    """The mean of a number of each image with its interval over images, and of each image so many ``digits``.

    Raises: InputError if there is no image or a number is not finite.
    """
    numbers = np.asarray(values, dtype=float)
    by_image = tuple(round(number, digits) for number in numbers.tolist())
    return Record(metric=metric, model=model, **bootstrap_mean(numbers)._asdict(), values=by_image, **fields)


def timed(records: Sequence[Record], started: float) -> list[Record]:
    """The records with the seconds since ``started``, which :func:`time.monotonic` said."""
    seconds = round(time.monotonic() - started, 1)
    return [replace(record, seconds=seconds) for record in records]
