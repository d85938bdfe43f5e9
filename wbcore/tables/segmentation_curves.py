"""Records of segmentation models along an axis: the threshold, time against multiply-accumulates, mIoU against cost."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from wbcore.errors import InputError
from wbcore.labels import data_label, label
from wbcore.metric_labels import Unit, unit_of
from wbcore.metrics.intervals import Interval
from wbcore.records import RESULTS, Record, SegmenterName, load_records, over_seeds, segmenter_of, select
from wbcore.tables.numbers import number_cell

MIOU, GMACS, MILLISECONDS = "segmentation/miou", "cost/gmacs", "cost/milliseconds"
THROUGHPUT, FPS = "speed/throughput", "speed/fps"
AXES = {
    MIOU: "mIoU (%)",
    GMACS: "GMACs per image",
    MILLISECONDS: "milliseconds per image",
    THROUGHPUT: "throughput (images/s)",
    FPS: "FPS (images/s)",
}
"""What an axis is called on which a metric is shown."""
WAYS = ("dense", "dovit", "dyvit", "tome")
"""The ways of saving tokens that stand in a plane of cost."""

Curve = dict[float, Interval]


def recorded(*artefacts: str, decoder: str = "", results: Path = RESULTS) -> list[Record]:
    """The records of those of ``artefacts`` that have any, where the models' names begin with ``decoder``."""
    found = [one for name in artefacts if (results / name).is_dir() for one in load_records(results / name)]
    return [one for one in found if one.model.startswith(decoder)]


def timed(
    records: Sequence[Record], *, device: str = "cpu", precision: str = "float32", enlarged: bool = False
) -> list[Record]:
    """The records of speed that were made on a device, at the size at which each data set's models were trained.

    ``enlarged``: at any larger size.
    """
    wanted = device, precision
    found = [one for one in records if (one.settings.get("device"), one.settings.get("precision")) == wanted]
    least = _least(found)
    return [one for one in found if (_area(one) > least[one.data]) == enlarged]


def _area(record: Record) -> int:
    rows, cols = record.settings["size"]
    return rows * cols


def _least(records: Sequence[Record]) -> dict[str, int]:
    """The pixels of the smallest images that were timed, by data set."""
    return {data: min(map(_area, select(records, data=data))) for data in {one.data for one in records}}


def milliseconds(records: Sequence[Record]) -> list[Record]:
    """What FPS say of one image, as a cost: records of milliseconds from those of FPS."""
    return [
        replace(
            one,
            metric=MILLISECONDS,
            value=1000 / one.value,
            low=None if one.high is None else 1000 / one.high,
            high=None if one.low is None else 1000 / one.low,
        )
        for one in records
        if one.metric == FPS
    ]


def by_threshold(records: Sequence[Record], metric: str, *, data: str) -> dict[str, Curve]:
    """A metric of every DoViT model against ξ, in the unit in which it is shown; a level curve for its dense model."""
    found: dict[str, Curve] = {}
    for record in select(records, metric=metric, data=data):
        name = segmenter_of(record.model)
        if name is not None and name.variant == "dovit" and (setting := re.fullmatch(r"xi(\d+)", name.setting)):
            model = record.model.removesuffix(f"_{name.setting}")
            found.setdefault(model, {})[int(setting[1]) / 1000] = _shown(record)
    for model in tuple(found):
        found[model] = dict(sorted(found[model].items()))
        dense = model.removesuffix("dovit") + "dense"
        if level := select(records, metric=metric, data=data, model=dense):
            found[dense] = dict.fromkeys(found[model], _shown(over_seeds(level)))
    return found


def threshold_panels(
    records: Sequence[Record], metrics: Sequence[str], data: Sequence[str]
) -> dict[tuple[str, str], dict[str, Curve]]:
    """:func:`by_threshold` by (data set, metric), where there are records."""
    found = {(one, metric): by_threshold(records, metric, data=one) for one in data for metric in metrics}
    return {place: curves for place, curves in found.items() if curves}


def threshold_table(panels: Mapping[tuple[str, str], Mapping[str, Curve]]) -> pd.DataFrame:
    """The numbers of :func:`threshold_panels`, with half the width of their intervals: a column for each ξ."""
    rows = {
        (data_label(data), AXES[metric], label(model)): (metric, curve)
        for (data, metric), curves in panels.items()
        for model, curve in curves.items()
    }
    thresholds = sorted({xi for _, curve in rows.values() for xi in curve})
    cells = {
        f"ξ = {xi:g}": [_cell(curve[xi], metric) if xi in curve else "–" for metric, curve in rows.values()]
        for xi in thresholds
    }
    index = pd.MultiIndex.from_tuples(rows, names=["data", "", "model"]) if rows else None
    return pd.DataFrame(cells, index=index)


class Saving(NamedTuple):
    """What one model saves of its dense counterpart, in percent."""

    model: str
    place: str
    """On which images it was timed."""
    macs: float
    time: Interval
    enlarged: bool = False
    """Whether these are larger than those that its kind was trained on."""


def saving_panels(records: Sequence[Record]) -> dict[str, list[Saving]]:
    """What was saved of time, and of multiply-accumulates on the same images: a panel for each device and way to time.

    A panel holds all data sets and sizes.
    """
    panels: dict[str, list[Saving]] = {}
    least = _least(records)
    for metric, at_once in (("speedup/throughput", "8 at once"), ("speedup/fps", "one by one")):
        for one in select(records, metric=metric):
            place, _, device = timed_on(one).rpartition(", ")
            enlarged = _area(one) > least[one.data]
            saving = Saving(one.model, place, 100 - 100 / one.settings["macs_ratio"], _saved(one.interval), enlarged)
            panels.setdefault(f"{device}, {at_once}", []).append(saving)
    return dict(sorted(panels.items()))


def timed_on(record: Record) -> str:
    """Data set, size and device of a record of speed, as a title."""
    rows, cols = record.settings["size"]
    device = record.settings["device"].upper() + (" bf16" if record.settings["precision"] == "bfloat16" else "")
    return f"{data_label(record.data)}, {cols} × {rows}, {device}"


def benchmarked(folder: Path = RESULTS / "benchmarks") -> dict[str, list[Saving]]:
    """What the token-pass benchmark found on images of many tokens, where it was run: a panel for each device.

    Its models are untrained and are told which tokens to stop; records' names of DoViT stand for them.

    Raises: InputError if a file does not hold what the benchmark writes.
    """
    panels: dict[str, list[Saving]] = {}
    for path in sorted(folder.glob("token_pass*.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            cases = {case: found for case, found in report.items() if isinstance(found, dict) and "time_saved" in found}
            model = f"setr_{report['model'].split('_patch')[0]}_dovit"
            panels.setdefault(f"{report['device'].upper()}, benchmark", []).extend(
                Saving(model, case, 100 * found["macs_saved"], Interval(100 * found["time_saved"], None, None, 1))
                for case, found in cases.items()
            )
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{path} is no report ({error!r}): run `python -m benchmarks.token_pass` again") from error
    return panels


def saving_table(panels: Mapping[str, Sequence[Saving]]) -> pd.DataFrame:
    """The numbers of such panels in percent, and the time as a share of the multiply-accumulates."""
    rows = {
        (title, one.place, label(one.model)): {
            "MACs saved (%)": f"{one.macs:.1f}",
            "time saved (%)": number_cell(one.time, Unit("")),
            "time / MACs": f"{one.time.value / one.macs:.2f}" if one.macs > 0 else "–",
        }
        for title, found in panels.items()
        for one in found
    }
    index = pd.MultiIndex.from_tuples(rows, names=["", "images", "model"]) if rows else None
    return pd.DataFrame(rows.values(), index=index)


def speed_table(records: Sequence[Record], models: Sequence[str]) -> pd.DataFrame:
    """Images per second (half the distance of the quartiles), and how many times faster than dense (95 %).

    A row for each of ``models`` wherever it was timed.
    """
    metrics = {"throughput": "throughput", "fps": "FPS"}
    found: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for one in sorted((one for one in records if one.model in models), key=timed_on):
        kind, _, mode = one.metric.partition("/")
        title = "images/s" if kind == "speed" else "× dense"
        row = found.setdefault((timed_on(one), label(one.model)), {})
        row[metrics[mode], title] = _cell(_shown(one), one.metric)
    index = pd.MultiIndex.from_tuples(found, names=["timed on", "model"]) if found else None
    frame = pd.DataFrame(found.values(), index=index).fillna("–")
    frame.columns = pd.MultiIndex.from_tuples(frame.columns) if found else frame.columns
    return frame


class Point(NamedTuple):
    """A model in a plane of cost, in the units in which both are shown."""

    model: str
    cost: Interval
    score: Interval

    @property
    def name(self) -> SegmenterName:
        found = segmenter_of(self.model)
        assert found is not None
        return found


def plane(
    records: Sequence[Record], cost: str, *, data: str, backbones: Sequence[str] = (), score: str = MIOU
) -> list[Point]:
    """Every model with a record of both metrics, the cheapest first; what leaves a part of DoViT out is passed over.

    ``backbones``: only models with one of these.
    """
    known = {
        metric: {one.model: _shown(one) for one in select(records, metric=metric, data=data)}
        for metric in (cost, score)
    }
    names = {model: segmenter_of(model) for model in known[cost].keys() & known[score].keys()}
    chosen = sorted(
        model
        for model, name in names.items()
        if name is not None and name.variant in WAYS and name.backbone in (backbones or {name.backbone})
    )
    return sorted((Point(model, known[cost][model], known[score][model]) for model in chosen), key=lambda one: one.cost)


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: each is better than everything that costs no more."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost.value, -one.score.value)):
        if not front or point.score.value > front[-1].score.value:
            front.append(point)
    return front


def plane_table(records: Sequence[Record], costs: Sequence[str], *, data: str) -> pd.DataFrame:
    """mIoU and costs of the models of :func:`plane`; ● marks those that no other beats at that cost."""
    planes = {cost: plane(records, cost, data=data) for cost in costs}
    scores = {one.model: one.score for points in planes.values() for one in points}
    ranked = sorted(scores, key=lambda model: -scores[model].value)
    frame = pd.DataFrame(
        {AXES[MIOU]: [_cell(scores[model], MIOU) for model in ranked]},
        index=pd.Index([label(model) for model in ranked], name="model"),
    )
    for cost, points in planes.items():
        front, found = {one.model for one in pareto(points)}, {one.model: one.cost for one in points}
        frame[AXES[cost]] = [
            _cell(found[model], cost) + (" ●" if model in front else "") if model in found else "–" for model in ranked
        ]
    return frame


def _shown(record: Record) -> Interval:
    """In the unit in which a metric is shown."""
    factor = unit_of(record.metric).factor
    low, high = (None if bound is None else factor * bound for bound in (record.low, record.high))
    return Interval(factor * record.value, low, high, record.n)


def _cell(interval: Interval, metric: str) -> str:
    """Of what is in its unit already."""
    return number_cell(interval, unit_of(metric)._replace(factor=1))


def _saved(speedup: Interval) -> Interval:
    """A speed-up as the time it saves, in percent."""
    value, low, high = (None if one is None else 100 - 100 / one for one in speedup[:3])
    assert value is not None
    return Interval(value, low, high, speedup.n)
