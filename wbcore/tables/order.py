"""What the order of the models is, and how sure it is."""

import itertools
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from wbcore.labels import data_label, label
from wbcore.metric_labels import POINTS, metric_label
from wbcore.metrics.detection import (
    DetectionScores,
    average_precision,
    by_rank,
    matches_from_lines,
    order_lead,
    order_range,
)
from wbcore.records import Record, greater, greater_by_run, over_seeds, select
from wbcore.tables.numbers import difference_cells

_PLACES = {name: place for place, name in enumerate(DetectionScores._fields)}


def order_table(
    records: Sequence[Record],
    chain: Sequence[str],
    columns: Sequence[tuple[str, str]],
    *,
    over: Literal["images", "runs"] = "images",
) -> pd.DataFrame:
    """Does each model of ``chain`` beat the next?  The difference in points with its 95 % interval, and a verdict.

    Models without a record are passed over.
    *holds* when the whole interval is above zero, *fails* when it is below, *undecided* when it spans zero.  *seeds*
    says how many training runs stand behind the one and the other.  The interval is ``over`` the images, of the mean
    over seeds, or over the pairs of training runs with one seed (:func:`wbcore.records.greater_by_run`).
    """
    rows = []
    for name, metric in columns:
        found = {model: select(records, data=name, metric=metric, model=model) for model in chain}
        for better, worse in itertools.pairwise(model for model in chain if found[model]):
            left, right = over_seeds(found[better]), over_seeds(found[worse])
            by_image = over == "images"
            comparison = greater(left, right) if by_image else greater_by_run(found[better], found[worse])
            rows.append(
                {
                    "data": data_label(name),
                    "metric": metric_label(metric),
                    "claim": f"{label(better)} > {label(worse)}",
                    **difference_cells(comparison, "difference (points)", POINTS, over=over),
                    "seeds": f"{len(left.seeds)} / {len(right.seeds)}",
                    "verdict": comparison.verdict,
                }
            )
    names = ["data", "metric", "claim", "difference (points)", "95 % interval", over, "seeds", "verdict"]
    return pd.DataFrame(rows, columns=names).set_index("data")


def pair_table(
    records: Sequence[Record],
    pairs: Sequence[tuple[str, str]],
    columns: Sequence[tuple[str, str]],
    *,
    over: Literal["images", "runs"] = "images",
) -> pd.DataFrame:
    """:func:`order_table` of several pairs."""
    tables = [order_table(records, pair, columns, over=over) for pair in pairs]
    return pd.concat(tables or [order_table(records, (), columns, over=over)])


def rank_table(records: Sequence[Record], models: Sequence[str], columns: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The models from best to worst under each metric, with their percent: a row per metric, a column per data set.

    Between neighbours ``>`` where the 95 % interval of their difference is above zero, else ``≈``.  Models without a
    record are passed over, and so is a data set that lacks a metric.
    """
    cells: dict[str, dict[str, str]] = {}
    for name, metric in columns:
        found = [select(records, data=name, metric=metric, model=model) for model in models]
        ranked = sorted((over_seeds(one) for one in found if one), key=lambda one: -one.value)
        places = [f"{label(one.model)} {100 * one.value:.1f}".replace(" ", "\N{NO-BREAK SPACE}") for one in ranked]
        signs = [">" if greater(*pair).verdict == "holds" else "≈" for pair in itertools.pairwise(ranked)]
        order = " ".join(itertools.chain(places[:1], *zip(signs, places[1:], strict=True)))
        cells.setdefault(data_label(name), {})[metric_label(metric)] = order or "–"
    return pd.DataFrame(cells).fillna("–")


def order_range_table(
    records: Sequence[Record], models: tuple[str, str], columns: Sequence[tuple[str, str]], *, orders: int = 100
) -> pd.DataFrame:
    """How the APs of two models, and the lead of the first, move with the order in which equal scores are ranked.

    For each model in percent: the recorded order (images by id), the least and the greatest over ``orders`` random
    orders of the images, and *by round*: the first masks of all images before all second ones.  Last, the share of
    the random orders in which the first model leads.  A column that lacks a model or its matches is passed over; of
    several seeds the first is shown, because an order belongs to one run.
    """
    rows: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for name, metric in columns:
        found = [select(records, data=name, metric=metric, model=model)[:1] for model in models]
        lines = [one.matches for seeds in found for one in seeds if one.matches is not None]
        if len(lines) == len(models):
            both, which = [matches_from_lines(each) for each in lines], metric.split("/")[1]
            row = rows.setdefault((data_label(name), metric_label(metric)), {})
            for model, matches in zip(models, both, strict=True):
                interval = getattr(order_range(matches, orders=orders), which)
                ranked = average_precision(by_rank(matches))[_PLACES[which]]
                row[label(model), "images by id"] = f"{100 * interval.value:.2f}"
                row[label(model), "in random orders"] = f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"
                row[label(model), "by round"] = f"{100 * ranked:.2f}"
            lead = order_lead(*both, orders=orders)[_PLACES[which]]
            row[f"{label(models[0])} leads", "in random orders"] = f"{100 * lead:.0f} %"
    frame = pd.DataFrame(rows.values())
    frame.columns = pd.MultiIndex.from_tuples(frame.columns, names=["model", "order"])
    frame.index = pd.MultiIndex.from_tuples(rows, names=["data", "metric"])
    return frame
