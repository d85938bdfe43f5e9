"""A number with everything it stands on, its file, and the mean over seeds."""

import base64
import bz2
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from wbcore.errors import InputError
from wbcore.files import DATA, write_bytes
from wbcore.metrics.intervals import Interval, mean_over_seeds

RESULTS = DATA / "results"


@dataclass(frozen=True)
class Record:
    """One number with everything it stands on.

    ``value`` is a fraction; ``low`` and ``high`` bound the 95 % interval over the ``n`` images (or over the seeds,
    where several stand behind it).  So that two records on the same data can be compared image by image, ``values``
    holds one number per image, where the metric is a mean over images; ``matches`` one line per image, where it is an
    AP (:meth:`wbcore.metrics.detection.Matches.lines`); and ``tallies`` one, where it is a score of all pixels
    (:meth:`wbcore.metrics.segmentation.Tallies.lines`).
    """

    metric: str
    model: str
    data: str
    value: float
    low: float | None
    high: float | None
    n: int
    seeds: tuple[int, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    data_sha256: str | None = None
    weights_sha256: str | None = None
    commit: str | None = None
    device: str | None = None
    software: dict[str, str] = field(default_factory=dict)
    command: str | None = None
    seconds: float | None = None
    values: tuple[float, ...] | None = None
    matches: tuple[str, ...] | None = None
    tallies: tuple[str, ...] | None = None

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high, self.n)


_BY_IMAGE = ("values", "matches", "tallies")


def save_records(records: Iterable[Record], path: Path | str) -> None:
    """Write records as JSON, one per line so that differences can be read, and once what all of them have in common.

    What they hold image by image is most of a file and nothing to read, so it stands there compressed: JSON, by bzip2,
    in the letters of base 85.
    Raises: InputError if the folder cannot be written or the disk is full; what was there stays.
    """
    entries = [_packed(asdict(record)) for record in records]
    first = entries[0] if entries else {}
    common = {name: value for name, value in first.items() if all(entry[name] == value for entry in entries)}
    own = [{name: value for name, value in entry.items() if name not in common} for entry in entries]
    lines = ",\n".join(json.dumps(entry, sort_keys=True) for entry in own)
    write_bytes(path, f'{{"common": {json.dumps(common, sort_keys=True)},\n"records": [\n{lines}\n]}}\n'.encode())


def _packed(entry: dict[str, Any]) -> dict[str, Any]:
    for name in _BY_IMAGE:
        if entry[name] is not None:
            text = json.dumps(entry[name], separators=(",", ":"))
            entry[name] = base64.b85encode(bz2.compress(text.encode())).decode()
    return entry


def load_records(path: Path | str = RESULTS) -> list[Record]:
    """The records of a file, or of all ``records*.json`` below a folder.

    Raises: InputError if the path does not exist or a file holds no records.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} is missing: records are written by `wbcore evaluate`")
    found = []
    for file in [path] if path.is_file() else sorted(path.rglob("records*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            found += [_record(content["common"] | entry) for entry in content["records"]]
        except (ValueError, TypeError, KeyError, AttributeError, OSError, EOFError) as error:
            raise InputError(f"{file} holds no records ({error}): write it again with `wbcore evaluate`") from error
    return found


def _record(entry: dict[str, Any]) -> Record:
    """A record as it was before :func:`save_records` packed it."""
    packed = {name: entry[name] for name in _BY_IMAGE if entry.get(name) is not None}
    by_image = {name: tuple(json.loads(bz2.decompress(base64.b85decode(text)))) for name, text in packed.items()}
    return Record(**{**entry, **by_image, "seeds": tuple(entry.get("seeds", ()))})


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """The records whose fields equal all of ``wanted``."""
    return [record for record in records if all(getattr(record, name) == value for name, value in wanted.items())]


def over_seeds(records: Sequence[Record]) -> Record:
    """One record for several seeds of one model, metric and data: the mean over seeds, with Student's t interval.

    A single seed keeps its interval over images; what was measured of the same run for several figures counts once.
    Raises: InputError if the records are of different things, or none is given.
    """
    if not records:
        raise InputError("no record to average: measure first")
    if len({(record.metric, record.model, record.data, record.data_sha256) for record in records}) > 1:
        raise InputError("records of different metrics, models or data have no common mean: select one of each")
    records = list({(record.seeds, record.weights_sha256): record for record in records}.values())
    if len(records) == 1:
        return records[0]
    interval = mean_over_seeds(np.array([record.value for record in records]))
    seeds = tuple(seed for record in records for seed in record.seeds)
    known = [record.values for record in records if record.values is not None]
    values = tuple(np.mean(known, axis=0).tolist()) if len(known) == len(records) else None
    by_image = {"values": values, "matches": None, "tallies": None}  # scores of sums have no mean over seeds by image
    return replace(records[0], value=interval.value, low=interval.low, high=interval.high, seeds=seeds, **by_image)
