"""Records: what was measured, on what, by what; and what a claim says of them."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wbcore.errors import InputError
from wbcore.files import DATA, write_bytes
from wbcore.metrics.detection import ap_difference, matches_from_lines
from wbcore.metrics.intervals import Interval, mean_over_seeds, paired_difference

RESULTS = DATA / "results"
PAPER = DATA / "paper"


@dataclass(frozen=True)
class Record:
    """One number with everything it stands on.

    ``value`` is a fraction; ``low`` and ``high`` bound the 95 % interval over the ``n`` images (or over the seeds,
    where several stand behind it).  ``values`` holds one number per image, where the metric is a mean over images, and
    ``matches`` one line per image, where it is an AP (:meth:`wbcore.metrics.detection.Matches.lines`), so that two
    records on the same data can be compared image by image.
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

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high, self.n)


def save_records(records: Iterable[Record], path: Path | str) -> None:
    """Write records as JSON, one per line inside a list so that differences can be read.

    Raises: InputError if the folder cannot be written or the disk is full; what was there stays.
    """
    lines = [json.dumps(asdict(record), sort_keys=True) for record in records]
    write_bytes(path, ("[\n" + ",\n".join(lines) + "\n]\n").encode())


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
            entries = json.loads(file.read_text(encoding="utf-8"))
            found += [_record(entry) for entry in entries]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{file} holds no records ({error}): write it again with `wbcore evaluate`") from error
    return found


def _record(entry: dict[str, Any]) -> Record:
    """A record as it was before JSON made lists of its tuples."""
    lists = {name: tuple(entry[name]) for name in ("seeds", "values", "matches") if entry.get(name) is not None}
    return Record(**{**entry, **lists})


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """The records whose fields equal all of ``wanted``."""
    return [record for record in records if all(getattr(record, name) == value for name, value in wanted.items())]


def over_seeds(records: Sequence[Record]) -> Record:
    """One record for several seeds of one model, metric and data: the mean over seeds, with Student's t interval.

    A single seed keeps its interval over images.
    Raises: InputError if the records are of different things, or none is given.
    """
    if not records:
        raise InputError("no record to average: measure first")
    if len({(record.metric, record.model, record.data, record.data_sha256) for record in records}) > 1:
        raise InputError("records of different metrics, models or data have no common mean: select one of each")
    if len(records) == 1:
        return records[0]
    interval = mean_over_seeds(np.array([record.value for record in records]))
    seeds = tuple(seed for record in records for seed in record.seeds)
    known = [record.values for record in records if record.values is not None]
    values = tuple(np.mean(known, axis=0).tolist()) if len(known) == len(records) else None
    return replace(
        records[0], value=interval.value, low=interval.low, high=interval.high, seeds=seeds, values=values, matches=None
    )


Verdict = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """Left minus right, and whether left is greater by at least a margin."""

    difference: Interval
    verdict: Verdict


def greater(left: Record, right: Record, *, margin: float = 0.0) -> Comparison:
    """Is ``left`` greater than ``right`` by ``margin``?  Undecided when the interval of the difference spans it,
    or when a record without an interval says nothing of the spread.

    Image by image where both records hold values or matches of the same images; else from the two intervals, taken as
    independent.
    Raises: InputError if the two are of different metrics or data.
    """
    if (left.metric, left.data, left.data_sha256) != (right.metric, right.data, right.data_sha256):
        raise InputError(
            f"{left.metric} on {left.data} and {right.metric} on {right.data} cannot be compared: "
            "only models on the same data can"
        )
    if left.values is not None and right.values is not None and len(left.values) == len(right.values):
        difference = paired_difference(np.array(left.values), np.array(right.values))
    elif left.matches is not None and right.matches is not None:
        scores = ap_difference(matches_from_lines(left.matches), matches_from_lines(right.matches))
        difference = scores._asdict()[left.metric.split("/")[1]]
    elif None in (left.low, left.high, right.low, right.high):
        difference = Interval(left.value - right.value, None, None, min(left.n, right.n))
    else:
        value = left.value - right.value
        below = np.hypot(_gap(left.value, left.low), _gap(right.high, right.value))
        above = np.hypot(_gap(left.high, left.value), _gap(right.value, right.low))
        difference = Interval(value, value - float(below), value + float(above), min(left.n, right.n))
    low, high = difference.low, difference.high
    if low is None or high is None:
        return Comparison(difference, "undecided")
    return Comparison(difference, "holds" if low > margin else "fails" if high < margin else "undecided")


def _gap(upper: float | None, lower: float | None) -> float:
    return 0.0 if upper is None or lower is None else upper - lower


def paper_values(table: str, folder: Path = PAPER) -> list[dict[str, str]]:
    """The rows of one table of a paper: model, metric, data, value (in the paper's unit), unit and source.

    Raises: InputError if there is no such table.
    """
    path = folder / f"{table}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.csv")))
        raise InputError(f"{path} is missing: the tables known are {known}")
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
