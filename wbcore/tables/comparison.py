"""Paper, recorded and this run, side by side: a row for each model."""

from collections.abc import Mapping, Sequence

import pandas as pd

from wbcore.labels import data_label, label
from wbcore.metric_labels import metric_label, unit_of
from wbcore.records import Record, over_seeds, paper_values, select
from wbcore.tables.numbers import number_cell


def paper_table(table: str, models: Sequence[str]) -> pd.DataFrame:
    """A paper's table as printed: a row per model, columns (``paper``, data set, metric), in the paper's unit."""
    rows = [row for row in paper_values(table) if row["model"] in models]
    columns = list(dict.fromkeys((row["data"], row["metric"]) for row in rows))
    cells = {(row["model"], row["data"], row["metric"]): row["value"] for row in rows}
    return _frame(
        "paper",
        models,
        {
            (data, metric_label(metric)): [cells.get((model, data, metric), "–") for model in models]
            for data, metric in columns
        },
    )


def record_table(
    title: str, records: Sequence[Record], models: Sequence[str], columns: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Measured numbers in their units, with half the width of the interval and, for several seeds, their number.

    ``columns`` are (data set, metric) pairs.  A model without a record gets a dash.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for name, metric in columns:
        found = [select(records, data=name, metric=metric, model=model) for model in models]
        cells[data_label(name), metric_label(metric)] = [_cell(over_seeds(one)) if one else "–" for one in found]
    return _frame(title, models, cells)


def _cell(record: Record) -> str:
    number = number_cell(record.interval, unit_of(record.metric))
    return number + (f" ({len(record.seeds)} seeds)" if len(record.seeds) > 1 else "")


def _frame(title: str, models: Sequence[str], cells: Mapping[tuple[str, str], Sequence[str]]) -> pd.DataFrame:
    frame = pd.DataFrame(dict(cells), index=pd.Index([label(model) for model in models], name="model"))
    frame.columns = pd.MultiIndex.from_tuples([(title, *column) for column in cells])
    return frame
