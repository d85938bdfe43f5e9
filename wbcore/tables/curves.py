"""Numbers along an axis, such as layers: what :func:`wbcore.plots.curves` draws, and the same as a table."""

from collections.abc import Mapping, Sequence

import pandas as pd

from wbcore.labels import data_label, label
from wbcore.metric_labels import PERCENT
from wbcore.metrics.intervals import Interval
from wbcore.records import Record, by_step
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
