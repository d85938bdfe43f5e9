"""Records: what was measured, on what, by what; and what a claim says of them."""

import base64
import csv
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from wbcore.errors import InputError
from wbcore.files import DATA, write_bytes
from wbcore.metrics.detection import (
    DetectionScores,
    Matches,
    ap_resamples,
    difference_of_resamples,
    matches_from_lines,
)
from wbcore.metrics.intervals import Interval, mean_over_seeds, paired_difference, paired_ratio
from wbcore.metrics.segmentation import SegmentationScores, score_difference, tallies_from_lines

RESULTS = DATA / "results"
PAPER = DATA / "paper"


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
    """Write records as JSON, one per line inside a list so that differences can be read.

    What they hold image by image is most of a file and nothing to read, so it stands there compressed: JSON, deflated,
    in the letters of base 85.
    Raises: InputError if the folder cannot be written or the disk is full; what was there stays.
    """
    lines = [json.dumps(_packed(asdict(record)), sort_keys=True) for record in records]
    write_bytes(path, ("[\n" + ",\n".join(lines) + "\n]\n").encode())


def _packed(entry: dict[str, Any]) -> dict[str, Any]:
    for name in _BY_IMAGE:
        if entry[name] is not None:
            text = json.dumps(entry[name], separators=(",", ":"))
            entry[name] = base64.b85encode(zlib.compress(text.encode(), level=9)).decode()
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
            entries = json.loads(file.read_text(encoding="utf-8"))
            found += [_record(entry) for entry in entries]
        except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
            raise InputError(f"{file} holds no records ({error}): write it again with `wbcore evaluate`") from error
    return found


def _record(entry: dict[str, Any]) -> Record:
    """A record as it was before :func:`save_records` packed it."""
    packed = {name: entry[name] for name in _BY_IMAGE if entry.get(name) is not None}
    by_image = {name: tuple(json.loads(zlib.decompress(base64.b85decode(text)))) for name, text in packed.items()}
    return Record(**{**entry, **by_image, "seeds": tuple(entry.get("seeds", ()))})


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """The records whose fields equal all of ``wanted``."""
    return [record for record in records if all(getattr(record, name) == value for name, value in wanted.items())]


class Step(NamedTuple):
    """Which layer, epoch or further training run of a model was measured."""

    model: str
    kind: str = ""
    """``layer``, ``epoch`` or ``seed``; empty for a model as a whole."""
    number: int = 0
    """From 1."""


def step_of(name: str) -> Step:
    """What a record's ``model`` names: ``crate_layer3`` is layer 3 of ``crate``."""
    found = re.fullmatch(r"(.+)_(layer|epoch|seed)(\d+)", name)
    return Step(found[1], found[2], int(found[3])) if found else Step(name)


class SegmenterName(NamedTuple):
    """What a record's ``model`` says of a segmentation model."""

    decoder: str
    backbone: str
    variant: str
    """``dense``, ``dovit``, ``dyvit``, ``tome``, or what is left out of DoViT: ``nomerge``, ``nodistil``, ``plain``."""
    setting: str = ""
    """With what it was run: ``xi950`` (ξ = 0.95), ``70`` (ρ = 0.7), ``50`` (half of the patches merged), or
    ``untuned``, dense weights with DoViT's decisions."""


_SEGMENTER = re.compile(
    r"(?P<decoder>setr|segmenter)_(?P<backbone>.+)_"
    r"(?:dense_(?P<tome>tome)|(?P<variant>dense|dovit|dyvit|nomerge|nodistil|plain))_?(?P<setting>[a-z]*\d*)"
)


def segmenter_of(model: str) -> SegmenterName | None:
    """What a record's ``model`` names, if it is a segmentation model: ``setr_vit_tiny_dovit_xi950``."""
    found = _SEGMENTER.fullmatch(model)
    if found is None:
        return None
    return SegmenterName(found["decoder"], found["backbone"], found["tome"] or found["variant"], found["setting"])


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


def along(records: Sequence[Record], models: Mapping[int, str], *, data: str, metric: str) -> dict[int, Record]:
    """What was measured at each place of an axis (layers, epochs, noise): the record of ``models[place]``.

    Several seeds become one record; a place without a record is passed over.  ``metric`` may hold a ``*``, as for
    ``attention_miou/mass60/layer*``, where a model's records have one such metric only.

    Raises: InputError if they have several.
    """
    known = [record for record in select(records, data=data) if fnmatchcase(record.metric, metric)]
    found = {place: select(known, model=name) for place, name in models.items()}
    return {place: over_seeds(seeds) for place, seeds in found.items() if seeds}


def by_step(records: Sequence[Record], step: str, *, data: str, metric: str) -> dict[str, dict[int, Interval]]:
    """A metric over the steps (``layer`` or ``epoch``) of every model, in percent: a curve for each model.

    A model that was measured as a whole is a level line; ``metric`` is that of :func:`along`.
    """
    records = select(records, data=data)
    steps = [step_of(record.model) for record in records]
    numbers = sorted({number for _, kind, number in steps if kind == step})
    stepped = {model: {n: f"{model}_{step}{n}" for n in numbers} for model, kind, _ in steps if kind == step}
    level = {model: dict.fromkeys(numbers, model) for model, kind, _ in steps if not kind and model not in stepped}
    names = stepped | level
    found = {model: along(records, places, data=data, metric=metric) for model, places in names.items()}
    return {
        name: {number: one.interval.percent() for number, one in places.items()}
        for name, places in found.items()
        if places
    }


def by_noise(
    records: Sequence[Record],
    models: Sequence[str],
    ending: str,
    levels: Sequence[int],
    *,
    data: str,
    metric: str,
    blind: Sequence[str] = (),
    own: bool = False,
) -> dict[str, dict[int, Interval]]:
    """A metric over levels of noise, in percent: a curve for each model, from its clean value at level 0.

    ``ending`` is that of a noisy subject's name, with ``{}`` for the level, as in ``_sigma{}_share50``.  ``blind`` are
    baselines that do not look and so were measured once: level lines.  ``own`` shows what is kept of the model's own
    clean value.
    """
    found = {}
    for model in (*models, *blind):
        names = {0: model, **{level: model + ("" if model in blind else ending.format(level)) for level in levels}}
        curve = along(records, names, data=data, metric=metric)
        if 0 in curve:
            found[model] = {
                level: (kept(one, curve[0]) if own else one.interval).percent() for level, one in curve.items()
            }
    return found


Verdict = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """Left minus right, and whether left is greater by at least a margin."""

    difference: Interval
    verdict: Verdict


def greater(left: Record, right: Record, *, margin: float = 0.0) -> Comparison:
    """Is ``left`` greater than ``right`` by ``margin``?  Undecided when the interval of the difference spans it,
    or when a record without an interval says nothing of the spread.

    Image by image where both records hold values, matches or tallies of the same images; else from the two intervals,
    taken as independent.
    Raises: InputError if the two are of different metrics or data.
    """
    _check_comparable(left, right)
    if left.values is not None and right.values is not None and len(left.values) == len(right.values):
        difference = paired_difference(np.array(left.values), np.array(right.values))
    elif left.matches is not None and right.matches is not None:
        difference = _ap_difference(left.matches, right.matches)._asdict()[left.metric.split("/")[1]]
    elif left.tallies is not None and right.tallies is not None:
        difference = _segmentation_difference(left.tallies, right.tallies)._asdict()[left.metric.split("/")[1]]
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


def require_near(live: Iterable[Record], recorded: Sequence[Record], tolerances: Mapping[str, float]) -> None:
    """Are the metrics named in ``tolerances`` within them of what was recorded of the same model on the same data?

    What was not recorded is passed over.
    Raises: AssertionError naming the first that is not.
    """
    for one in live:
        for same in select(recorded, model=one.model, data=one.data, metric=one.metric):
            away = abs(one.value - same.value)
            if away > tolerances.get(one.metric, np.inf):
                raise AssertionError(
                    f"{one.metric} of {one.model} is {one.value:.4f} now, {same.value:.4f} in the records"
                )


def kept(left: Record, right: Record) -> Interval:
    """``left`` as a share of ``right``, with the interval over the images that both were measured on.

    Raises: InputError if the two are of different metrics or data, or one has no values image by image.
    """
    _check_comparable(left, right)
    if left.values is None or right.values is None or len(left.values) != len(right.values):
        raise InputError(f"{left.model} and {right.model} have no {left.metric} of the same images: record both again")
    return paired_ratio(np.array(left.values), np.array(right.values))


@lru_cache(maxsize=64)
def _ap_difference(left: tuple[str, ...], right: tuple[str, ...]) -> DetectionScores:
    """Kept, because one bootstrap gives the differences of AP, AP50 and AP75, which are records of their own."""
    (one, one_drawn), (other, other_drawn) = _ap_resamples(left), _ap_resamples(right)
    return difference_of_resamples(one, other, one_drawn, other_drawn)


@lru_cache(maxsize=512)
def _ap_resamples(lines: tuple[str, ...]) -> tuple[Matches, Float[np.ndarray, "r 3"]]:
    """Kept, because a model is compared with several others on the same resamples."""
    matches = matches_from_lines(lines)
    return matches, ap_resamples(matches)


@lru_cache(maxsize=64)
def _segmentation_difference(left: tuple[str, ...], right: tuple[str, ...]) -> SegmentationScores:
    """Kept, because one bootstrap gives the differences of mIoU, PA and mPA."""
    return score_difference(tallies_from_lines(left), tallies_from_lines(right))


def _check_comparable(left: Record, right: Record) -> None:
    if (left.metric, left.data, left.data_sha256) != (right.metric, right.data, right.data_sha256):
        raise InputError(
            f"{left.metric} on {left.data} and {right.metric} on {right.data} cannot be compared: "
            "only models on the same data can"
        )


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
