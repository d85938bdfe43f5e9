"""What curves and forest plots show: numbers along an axis, such as layers, also as a table, and runs side by side."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from wbcore.labels import data_label, label
from wbcore.metric_labels import PERCENT
from wbcore.metrics.intervals import Interval
from wbcore.records import Record, by_step, over_seeds, select
from wbcore.tables.numbers import number_cell


def step_panels(
    records: Sequence[Record], step: str, *, metrics: Mapping[str, str], data: Sequence[str]
) -> dict[str, dict[str, dict[int, Interval]]]:
    """Panels for :func:`wbcore.plots.curves`: each metric by its name, on each data set that has records of it."""
    found = {
        f"{name}, {data_label(one)}": by_step(records, step, data=one, metric=metric)
        for name, metric in metrics.items()
        for one in data
    }
    return {title: curves for title, curves in found.items() if curves}


def curve_table(panels: Mapping[str, Mapping[str, Mapping[int, Interval]]], *, step: str) -> pd.DataFrame:
    """The numbers that :func:`wbcore.plots.curves` draws, with half the width of the interval.

    A row for each panel and model, a column for each ``step``, such as a layer.  What is missing gets a dash.
    """
    rows = {(title, model): places for title, models in panels.items() for model, places in models.items()}
    steps = sorted({place for places in rows.values() for place in places})
    cells = {
        f"{step} {place}": [number_cell(row[place], PERCENT) if place in row else "–" for row in rows.values()]
        for place in steps
    }
    index = pd.MultiIndex.from_tuples([(title, label(model)) for title, model in rows], names=["", "model"])
    return pd.DataFrame(cells, index=index)


def forest_panels(
    records: Sequence[Record],
    models: Iterable[str],
    data: Iterable[str],
    metrics: Iterable[str],
    *,
    each_run: bool = False,
) -> dict[str, list[Record]]:
    """What :func:`wbcore.plots.forest` shows of some models: a panel for each data set, several runs of a model as one.

    ``each_run`` shows every run instead, without the interval over its images.
    """
    found: dict[str, list[Record]] = {}
    for name, model, metric in itertools.product(data, models, metrics):
        runs = select(records, data=name, model=model, metric=metric)
        shown = [replace(run, low=None, high=None) for run in runs] if each_run else [over_seeds(runs)] if runs else []
        found.setdefault(data_label(name), []).extend(shown)
    return found
