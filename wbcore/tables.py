"""Records → tables: paper, recorded and this run side by side, and what the order of the models says."""

import itertools
from collections.abc import Mapping, Sequence

import pandas as pd

from wbcore.plots import data_label, label
from wbcore.records import Record, greater, over_seeds, paper_values, select

pd.set_option("display.width", 220, "display.max_columns", None)

METRIC_LABELS = {
    "maskcut_bbox/ap50": "det AP50",
    "maskcut_bbox/ap75": "det AP75",
    "maskcut_bbox/ap": "det AP",
    "maskcut_segm/ap50": "seg AP50",
    "maskcut_segm/ap75": "seg AP75",
    "maskcut_segm/ap": "seg AP",
    "attention_miou": "mIoU",
    "top1": "top-1",
}


LAYER_LABELS = {"layer-1": "last layer", "layer-2": "last but one"}


def metric_label(metric: str) -> str:
    """A metric's short name in a table's head; of an attention metric's rule and layer, the layer alone is shown."""
    if metric in METRIC_LABELS or "layer" not in metric:
        return METRIC_LABELS.get(metric, metric)
    family, *_, layer = metric.split("/")
    return f"{METRIC_LABELS.get(family, family)}, {LAYER_LABELS.get(layer, layer)}"


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
    """Measured numbers in percent, with half the width of the interval and, for several seeds, their number.

    ``columns`` are (data set, metric) pairs.  A model without a record gets a dash.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for name, metric in columns:
        found = [select(records, data=name, metric=metric, model=model) for model in models]
        cells[data_label(name), metric_label(metric)] = [_cell(over_seeds(one)) if one else "–" for one in found]
    return _frame(title, models, cells)


def _cell(record: Record) -> str:
    text = f"{100 * record.value:.1f}"  # no-break spaces below: a number and its interval stay on one line
    if record.low is not None and record.high is not None:
        text += f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{50 * (record.high - record.low):.1f}"
    return text + (f" ({len(record.seeds)} seeds)" if len(record.seeds) > 1 else "")


def _frame(title: str, models: Sequence[str], cells: Mapping[tuple[str, str], Sequence[str]]) -> pd.DataFrame:
    frame = pd.DataFrame(dict(cells), index=pd.Index([label(model) for model in models], name="model"))
    frame.columns = pd.MultiIndex.from_tuples([(title, *column) for column in cells])
    return frame


def order_table(
    records: Sequence[Record],
    chain: Sequence[str],
    columns: Sequence[tuple[str, str]],
    *,
    full_metric: bool = False,
) -> pd.DataFrame:
    """Does each model of ``chain`` beat the next?  The difference in points with its 95 % interval, and a verdict.

    Models without a record are passed over.  ``full_metric`` shows a metric with its rule and layer.
    *holds* when the whole interval is above zero, *fails* when it is below, *undecided* when it spans zero.  *seeds*
    says how many training runs stand behind the one and the other.
    """
    rows = []
    for name, metric in columns:
        found = {model: select(records, data=name, metric=metric, model=model) for model in chain}
        for better, worse in itertools.pairwise(model for model in chain if found[model]):
            comparison = greater(over_seeds(found[better]), over_seeds(found[worse]))
            value, low, high, n = comparison.difference
            interval = "" if low is None or high is None else f"[{100 * low:+.1f},\N{NO-BREAK SPACE}{100 * high:+.1f}]"
            rows.append(
                {
                    "data": data_label(name),
                    "metric": metric if full_metric else metric_label(metric),
                    "claim": f"{label(better)} > {label(worse)}",
                    "difference (points)": f"{100 * value:+.1f}",
                    "95 % interval": interval,
                    "images": n,
                    "seeds": f"{len(found[better])} / {len(found[worse])}",
                    "verdict": comparison.verdict,
                }
            )
    return pd.DataFrame(rows)
