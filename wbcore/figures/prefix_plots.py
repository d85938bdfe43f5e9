"""Figures and tables of the class token and the registers, from records and from what was read just now."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from wbcore.labels import data_label, label
from wbcore.measuring.prefix_records import PrefixReading
from wbcore.metric_labels import metric_label, unit_of
from wbcore.metrics.cost import classification_ledger
from wbcore.metrics.shapes import BackboneShape
from wbcore.plots import Overlay, colour
from wbcore.records import Record, select
from wbcore.tables.numbers import number_cell

SUBJECTS = ("vit_tiny_pretrained", "vit_tiny_pretrained_ttr", "vit", "vit_reg4", "crate", "crate_reg4")
"""In the order in which they are shown: each before what it is with registers."""
GAP = 2.0
"""Norms beyond an empty stretch from some norm to this many times of it are marked as outlying."""


def token_label(token: str) -> str:
    """``cls`` is "class token", ``register2`` is "register 2"."""
    return {"cls": "class token"}.get(token, token.replace("register", "register "))


def norm_ridges(records: Sequence[Record], *, data: str, models: Sequence[str] = SUBJECTS) -> Figure:
    """How long patches, class token and registers are: a panel for each model, a histogram for each kind of token.

    All panels have the same logarithmic axis; each histogram has its own height.  An arrow says how many tokens lie far
    beyond all others (:data:`GAP`), because few of many are hardly seen.
    """
    shown = {model: found for model in models if (found := _tokens(records, model, data, "prefix/norm"))}
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.5 * columns, 2.9 * rows), squeeze=False, sharex=True)
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    for axis, (model, found) in zip(axes.flat, shown.items(), strict=False):
        order = ["patches", *(token for token in found if token != "patches")]
        for row, token in enumerate(order):
            histogram = found[token].settings["histogram"]
            counts = np.array(histogram["counts"])
            axis.stairs(
                0.85 * counts / counts.max() - row,
                histogram["edges"],
                baseline=-row,
                fill=True,
                color=colour(model),
                alpha=0.55 if token == "patches" else 1.0,
            )
            axis.axhline(-row, color="#c9cdd3", linewidth=0.8, zorder=0)
            if (outlying := _apart(counts, np.array(histogram["edges"]))) is not None:
                place, share = outlying
                axis.annotate(
                    f"{100 * share:.0f} % of\nthe {token_label(token)}",
                    (place, 0.06 - row),
                    (6, 24),
                    textcoords="offset points",
                    ha="right",
                    va="bottom",
                    fontsize=9,
                    arrowprops={"arrowstyle": "->", "color": "#4a4f57"},
                )
        axis.set(xscale="log", ylim=(0.2 - len(order), 1.05))
        axis.set_yticks([-row for row in range(len(order))], [token_label(token) for token in order])
        axis.tick_params(axis="y", length=0)
        axis.set_title(label(model))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
    for axis in axes.flat[max(0, len(shown) - columns) : len(shown)]:
        axis.set_xlabel("norm after the last layer (log)")
        axis.tick_params(axis="x", labelbottom=True)
    return figure


def _apart(counts: Integer[np.ndarray, "bins"], edges: Float[np.ndarray, "ends"]) -> tuple[float, float] | None:
    """Where most of the tokens lie that an empty stretch parts from all shorter ones, and their share; None if none do.

    The stretch must reach to :data:`GAP` times where it begins.
    """
    filled = np.flatnonzero(counts)
    gaps = [place for place in range(1, len(filled)) if edges[filled[place]] >= GAP * edges[filled[place - 1] + 1]]
    if not gaps:
        return None
    beyond = filled[gaps[-1] :]
    most = beyond[counts[beyond].argmax()]
    return float(np.sqrt(edges[most] * edges[most + 1])), float(counts[beyond].sum() / counts.sum())


def prefix_table(records: Sequence[Record], *, models: Sequence[str] = SUBJECTS) -> pd.DataFrame:
    """Each token's norm, what it pays to objects, and how alike its attention is to the class token's, by data set."""
    metrics = ("prefix/norm", "prefix/on_objects", "prefix/like_cls")
    rows = {}
    for model in models:
        for data in dict.fromkeys(record.data for record in records):
            by_metric = {metric: _tokens(records, model, data, metric) for metric in metrics}
            for token in by_metric["prefix/norm"]:
                found = [by_metric[metric].get(token) for metric in metrics]
                cells = ["–" if one is None else number_cell(one.interval, unit_of(one.metric)) for one in found]
                rows[label(model), data_label(data), token_label(token)] = cells
    index = pd.MultiIndex.from_tuples(list(rows), names=["model", "data", "token"])
    return pd.DataFrame(list(rows.values()), index=index, columns=[metric_label(metric) for metric in metrics])


def _tokens(records: Sequence[Record], model: str, data: str, metric: str) -> dict[str, Record]:
    """By token, class token first, then registers, then all patches."""
    found = {one.model.removeprefix(f"{model}_"): one for one in select(records, data=data, metric=metric)}
    tokens = ["cls", *(f"register{number}" for number in range(1, 17)), "patches"]
    return {token: found[token] for token in tokens if token in found}


def prefix_overlays(found: PrefixReading) -> dict[str, list[Overlay]]:
    """Where each prefix token looks, to be drawn beside the pictures: a column for each token."""
    maps = found.attention.unflatten(-1, found.grid).numpy()
    return {token_label(token): [Overlay(one) for one in maps[:, place]] for place, token in enumerate(found.names)}


def overhead_table(shapes: Mapping[str, Mapping[int, BackboneShape]]) -> pd.DataFrame:
    """What registers add to the multiply-accumulates of one image, in percent, at each model's native size.

    ``shapes`` has each model by its number of registers, 0 among them.
    Source: Registers, Fig. 12 (right).
    """
    rows = {}
    for name, by_number in shapes.items():
        total = {number: classification_ledger(shape, shape.grid).whole.total for number, shape in by_number.items()}
        rows[name] = {
            "patches": by_number[0].grid[0] * by_number[0].grid[1],
            "GMACs": f"{total[0] / 1e9:.2f}",
            **{
                f"{number} registers": f"+{100 * (macs / total[0] - 1):.2f} %"
                for number, macs in total.items()
                if number
            },
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
