"""Tables of segmentation and outliers: what an intervention brings back, and how long tokens get."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from wbcore.errors import InputError
from wbcore.figures.outlier_plots import BLOBS, STYLES
from wbcore.labels import data_label, label
from wbcore.metric_labels import RULE_LABELS, unit_of
from wbcore.metrics.intervals import Interval, paired_ratio
from wbcore.records import Record, greater, over_seeds, select, step_of
from wbcore.tables.numbers import difference_cells, number_cell

NOT_TRAINED = "not trained yet"
"""Of a network without records."""
MISSING = "–"


def recovered(changed: Record, last: Record, best: Record) -> Interval | None:
    """How much of what a model loses from its ``best`` layer to its ``last`` an intervention brings back there.

    The gain in the last layer over the loss, both means over the same images, with its bootstrap interval: 0 where
    nothing comes back, 1 where all of it does.  None where the loss is not measurably above zero.
    Raises: InputError if the records are not of the same images, one by one.
    """
    values = [None if one.values is None else np.array(one.values) for one in (changed, last, best)]
    if (
        any(one is None or len(one) != last.n for one in values)
        or len({one.data_sha256 for one in (changed, last)}) > 1
    ):
        raise InputError(f"{changed.model} and {last.model} have no values of the same images: record both again")
    after, before, top = (np.asarray(one) for one in values)
    if greater(best, last).verdict != "holds":
        return None
    return paired_ratio(after - before, top - before)


def recovery_table(
    records: Sequence[Record], subjects: Sequence[tuple[str, str]], *, rules: Sequence[str], data: Sequence[str]
) -> pd.DataFrame:
    """What comes back in the last layer: a row per data set, rule, model and intervention.

    ``subjects`` are pairs of a model and the ending of an intervention's name
    (:data:`wbcore.figures.outlier_plots.STYLES`).
    *best* is the mIoU of the layer that was best on **other** images (its number in brackets), *last* the last layer's,
    *after* the last layer's with the intervention, all in percent; *brought back* is :func:`recovered`; *over the blob*
    is *after* minus the blob in the centre, in points.  Models without records are passed over.
    """
    rows = []
    for one in data:
        for rule in rules:
            for model, ending in subjects:
                row = _recovery(records, model, ending, f"attention_miou/{rule}", one)
                if row is not None:
                    rows.append({"data": data_label(one), "rule": RULE_LABELS.get(rule, "60 % of mass"), **row})
    names = ("data", "rule", "model", "intervention", "best", "last", "after", "brought back", "over the blob")
    return pd.DataFrame(rows, columns=list(names)).set_index(list(names[:4]))


def _recovery(
    records: Sequence[Record], model: str, ending: str, metric: str, data: str
) -> dict[str, str | int] | None:
    layers = by_layer(records, model, metric=metric, data=data)
    changed = by_layer(records, model + ending, metric=metric, data=data)
    if not layers or not changed:
        return None
    last, after = layers[max(layers)], changed[max(changed)]
    number = last.settings["best_layer"][metric.split("/")[1]]
    best = layers[number]
    share = recovered(after, last, best)
    unit = unit_of(metric)
    row: dict[str, str | int] = {
        "model": label(model),
        "intervention": STYLES[ending].name,
        "best": f"{number_cell(best.interval, unit)} ({number})",
        "last": number_cell(last.interval, unit),
        "after": number_cell(after.interval, unit),
        "brought back": "no loss" if share is None else _percent(share),
    }
    blobs = select(records, model=BLOBS.get(model, "centred_blob"), data=data, metric=metric)
    if blobs:
        over = difference_cells(greater(after, blobs[0]), "over", unit)
        row["over the blob"] = f"{over['over']} {over['95 % interval']}"
    return row


def loss_table(
    records: Sequence[Record], model: str, *, endings: Sequence[str], rules: Sequence[str], data: Sequence[str]
) -> pd.DataFrame:
    """How much a model loses from its best layer to its last, read in several ways: a row per data set, rule and map.

    The best layer is the one of :func:`recovery_table`, of the model as it is.  The loss is a difference of the same
    images, in points.  Maps without records are passed over.
    """
    rows = []
    for one in data:
        for rule in rules:
            metric = f"attention_miou/{rule}"
            own = by_layer(records, model, metric=metric, data=one)
            for ending in endings:
                layers = by_layer(records, model + ending, metric=metric, data=one)
                if own and layers:
                    number = own[max(own)].settings["best_layer"][rule]
                    best, last = layers[number], layers[max(layers)]
                    loss = difference_cells(greater(best, last), "loss (points)", unit_of(metric))
                    names = {"data": data_label(one), "rule": RULE_LABELS.get(rule, "60 % of mass")}
                    number_of = {"best": f"{number_cell(best.interval, unit_of(metric))} ({number})"}
                    last_of = {"last": number_cell(last.interval, unit_of(metric))}
                    rows.append({**names, "map": STYLES[ending].name, **number_of, **last_of, **loss})
    names = ["data", "rule", "map", "best", "last", "loss (points)", "95 % interval", "images"]
    return pd.DataFrame(rows, columns=names).set_index(names[:3])


def by_layer(records: Sequence[Record], model: str, *, metric: str, data: str) -> dict[int, Record]:
    """A model's records by layer, from 1; several seeds become one record."""
    known = select(records, metric=metric, data=data)
    names = {step_of(one.model).number: one.model for one in known if step_of(one.model)[:2] == (model, "layer")}
    return {number: over_seeds(select(known, model=name)) for number, name in sorted(names.items())}


def _percent(interval: Interval) -> str:
    value, low, high = (None if one is None else round(one) for one in interval.percent()[:3])
    bounds = "" if low is None or high is None else f" [{low},\N{NO-BREAK SPACE}{high}]"
    return f"{value} %{bounds}"


def family_table(
    records: Sequence[Record],
    variants: dict[str, tuple[str, str]],
    columns: Sequence[tuple[str, str]],
    *,
    data: str,
    registers: int = 4,
) -> pd.DataFrame:
    """The lab's networks by attention, feed-forward part and number of registers.

    ``variants`` says of which two parts each is made; ``columns`` are pairs of a metric and its name, of the network as
    a whole or else of its last layer.  A network without any record on ``data`` is said to be not trained yet.
    """
    rows = {}
    for variant, parts in variants.items():
        for number, model in ((0, variant), (registers, f"{variant}_reg{registers}")):
            found = [_of_last_layer(records, model, metric, data) for metric, _ in columns]
            cells = [MISSING if one is None else number_cell(one.interval, unit_of(one.metric)) for one in found]
            if not any(found):
                cells = [NOT_TRAINED, *[""] * (len(columns) - 1)]
            rows[(*parts, label(variant), number)] = cells
    index = pd.MultiIndex.from_tuples(list(rows), names=["attention", "feed-forward", "model", "registers"])
    return pd.DataFrame(list(rows.values()), index=index, columns=[name for _, name in columns])


def _of_last_layer(records: Sequence[Record], model: str, metric: str, data: str) -> Record | None:
    whole = select(records, model=model, metric=metric, data=data)
    if whole:
        return over_seeds(whole)
    layers = by_layer(records, model, metric=metric, data=data)
    return layers[max(layers)] if layers else None
