"""Figures and tables of outlier tokens, from records and from what was read just now."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from wbcore.labels import data_label, label
from wbcore.metric_labels import unit_of
from wbcore.metrics.intervals import Interval
from wbcore.plots import Overlay, colour, ruled
from wbcore.records import Record, over_seeds, select, step_of
from wbcore.tables.numbers import number_cell

SUBJECTS = ("vit_tiny_pretrained", "vit_tiny_pretrained_ttr", "vit", "crate")
"""In the order in which they are shown."""


def histograms(records: Sequence[Record], *, data: str, models: Sequence[str] = SUBJECTS) -> Figure:
    """How many patches have which norm after the last layer: one panel a model, on the same logarithmic axes.

    A dashed line where the model's outliers begin, if it has a threshold.
    """
    shown = [
        record
        for model in models
        for record in select(records, model=model, data=data, metric="norms/outlier_share")
        if "histogram" in record.settings
    ]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    size = 3.1 * columns, 3.0 * rows
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    for axis, record in zip(axes.flat, shown, strict=False):
        histogram, threshold = record.settings["histogram"], record.settings["threshold"]
        axis.stairs(histogram["counts"], histogram["edges"], fill=True, color=colour(record.model))
        axis.set(xscale="log", yscale="log", xlabel="norm of a patch (log)", ylim=(0.7, None))
        text = "one mode:\nno threshold, no outliers"
        if threshold is not None:
            axis.axvline(threshold, color="#333333", linestyle="--", linewidth=1)
            text = f"{100 * record.value:.2f} % of the patches\nare above {threshold:.0f}"
        axis.text(0.97, 0.97, text, transform=axis.transAxes, ha="right", va="top", fontsize=9, backgroundcolor="white")
        axis.set_title(label(record.model))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
    for axis in axes[:, 0]:
        axis.set_ylabel("patches (log)")
    axes[0, 0].set_ylim(0.7, 40 * axes[0, 0].get_ylim()[1])
    return figure


def curves_over_layers(
    records: Sequence[Record], *, data: str, metric: str, models: Sequence[str] = SUBJECTS
) -> dict[str, dict[int, Interval]]:
    """A metric over the layers of each model, in the metric's own unit, as :func:`wbcore.plots.curves` draws it."""
    factor = unit_of(metric).factor
    known = select(records, data=data, metric=metric)
    found = {}
    for model in models:
        steps = sorted((step_of(one.model).number, one) for one in known if step_of(one.model)[:2] == (model, "layer"))
        if steps:
            found[model] = {number: scaled(over_seeds([one]).interval, factor) for number, one in steps}
    return found


def norm_table(
    records: Sequence[Record], metrics: Sequence[tuple[str, str]], *, models: Sequence[str] = SUBJECTS
) -> pd.DataFrame:
    """Metrics after the last layer; ``metrics`` are pairs of metric and its name, rows are models on data sets.

    Of the metrics by layer, the last layer is shown.
    """
    from_layers = {
        (step_of(one.model).model, one.data, one.metric): one  # the last one stays
        for one in sorted(records, key=lambda one: step_of(one.model).number)
        if step_of(one.model).kind == "layer"
    }
    rows = {}
    for model in models:
        for data in dict.fromkeys(one.data for one in select(records, model=model)):
            found = [
                (select(records, model=model, data=data, metric=metric) or [from_layers[model, data, metric]])[0]
                for metric, _ in metrics
            ]
            rows[label(model), data_label(data)] = [number_cell(one.interval, unit_of(one.metric)) for one in found]
    index = pd.MultiIndex.from_tuples(list(rows), names=["model", "data"])
    return pd.DataFrame(list(rows.values()), index=index, columns=[name for _, name in metrics])


def position_maps(records: Sequence[Record], *, data: str, models: Sequence[str] = SUBJECTS) -> Figure:
    """For each position of a patch, the share of images in which it is an outlier; one panel a model."""
    shown = [one for model in models for one in select(records, model=model, data=data, metric="norms/position_share")]
    figure, axes = plt.subplots(1, len(shown), figsize=(2.6 * len(shown) + 0.8, 2.8), squeeze=False)
    image = None
    for axis, record in zip(axes[0], shown, strict=True):
        share = 100 * np.array(record.settings["map"])
        image = axis.imshow(share, cmap="magma", vmin=0, vmax=100)
        axis.set(xticks=[], yticks=[], title=label(record.model).replace(", ", "\n"))
        axis.set_xlabel(f"{share.shape[0]} × {share.shape[1]} patches,\nat most {share.max():.0f} %")
    if image is not None:
        figure.colorbar(image, ax=axes, label="images with an outlier here (%)", shrink=0.8)
    return figure


def token_intervals(records: Sequence[Record], models: Sequence[str], *, data: str, metric: str) -> Figure:
    """A metric of outliers and of patches to compare them with: a dot with its interval for each kind, by model."""
    kinds = ("outliers", "normal", "border", "corners")
    shown = [
        one
        for model in models
        for kind in kinds
        for one in select(records, model=f"{model}_{kind}", metric=metric)
        if one.data == data
    ]
    figure, axis = plt.subplots(figsize=(7.2, 0.36 * len(shown) + 1.1))
    for row, record in enumerate(shown):
        model, kind = record.model.rsplit("_", 1)
        low, high = (record.value if bound is None else bound for bound in (record.low, record.high))
        axis.plot([low, high], [row, row], color=colour(model), linewidth=2, solid_capstyle="round")
        axis.plot(
            record.value,
            row,
            "o",
            color=colour(model),
            markerfacecolor=colour(model) if kind == "outliers" else "white",
        )
    axis.set_yticks(range(len(shown)), [label(record.model) for record in shown])
    axis.set_ylim(len(shown) - 0.5, -0.5)
    ruled(axis, "x")
    return figure


def norm_overlays(norms: Float[np.ndarray, "n rows cols"]) -> list[Overlay]:
    """Maps of norms to be drawn beside a picture, with the least and the greatest norm of each as its caption."""
    return [Overlay(one, caption=f"{one.min():.1f} to {one.max():.1f}") for one in norms]


def scaled(interval: Interval, factor: float) -> Interval:
    """An interval in another unit."""
    value, low, high, n = interval
    return Interval(factor * value, None if low is None else factor * low, None if high is None else factor * high, n)
