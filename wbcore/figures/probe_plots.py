"""Figures and tables of what single tokens hold: what is drawn is what the records say."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wbcore.figures.norm_plots import scaled
from wbcore.labels import TOKEN_LABELS, data_label, label
from wbcore.metric_labels import unit_of
from wbcore.metrics.intervals import Interval
from wbcore.plots import colour, ruled
from wbcore.records import Record, over_seeds, select
from wbcore.tables.numbers import number_cell

FILLED = ("outliers", "former", "register", "cls")
"""Kinds of tokens that are drawn filled: outliers and what they may be compared with, not ordinary patches."""


def token_names(records: Sequence[Record], models: Sequence[str], kinds: Sequence[str] = tuple(TOKEN_LABELS)) -> list:
    """The names in records of each model's kinds of tokens, as far as there are records of them, in this order."""
    known = {one.model for one in records}
    return [name for model in models for kind in kinds if (name := f"{model}_{kind}") in known]


def token_panels(
    records: Sequence[Record],
    names: Sequence[str],
    panels: Mapping[str, tuple[str, str, str]],
    *,
    beside: Mapping[str, str] | None = None,
) -> Figure:
    """Dots with 95 % intervals: a row for each model and kind of token, a panel for each title.

    ``panels`` maps a title to data, metric and the name of the axis, which begins at zero for shares; models that were
    not measured there have an empty place.  ``beside`` maps a metric to another one, to be held against it: a grey
    stroke in the same row.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(2.5 * len(panels) + 3.0, 0.27 * len(names) + 1.2), squeeze=False, sharey=True
    )
    for axis, (title, (data, metric, name_of_axis)) in zip(axes[0], panels.items(), strict=True):
        unit = unit_of(metric)
        for row, name in enumerate(names):
            for record in select(records, model=name, data=data, metric=metric)[:1]:
                model, kind = name.rsplit("_", 1)
                low, high = (record.value if bound is None else bound for bound in (record.low, record.high))
                shade = colour(model)
                axis.plot([unit.factor * low, unit.factor * high], [row, row], color=shade, linewidth=2)
                face = shade if kind in FILLED else "white"
                axis.plot(unit.factor * record.value, row, "o", color=shade, markerfacecolor=face, markersize=6)
            for other in select(records, model=name, data=data, metric=(beside or {}).get(metric))[:1]:
                axis.plot(unit.factor * other.value, row, "|", color="#4a4f57", markersize=11, markeredgewidth=1.5)
        axis.set(title=title, xlabel=name_of_axis)
        if unit.factor == 100:
            axis.set_xlim(left=0)
        ruled(axis, "x")
    _separate(list(axes[0]), names)
    axes[0, 0].set_yticks(range(len(names)), [label(name) for name in names])
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def _separate(axes: Sequence[Axes], names: Sequence[str]) -> None:
    """A line between the rows of one model and of the next."""
    models = [name.rsplit("_", 1)[0] for name in names]
    for row in range(1, len(models)):
        if models[row] != models[row - 1]:
            for axis in axes:
                axis.axhline(row - 0.5, color="#c8ccd2", linewidth=0.8)


def probe_maps(records: Sequence[Record], metrics: Mapping[str, str], *, data: str, models: Sequence[str]) -> Figure:
    """How well each position of a patch is told, over all images: a row for each metric, a column for each model.

    ``metrics`` maps a metric to what its colours mean.  Of a metric that is no share, maps of as many patches share a
    scale: those of models that see the same pixels.
    """
    found = {
        (metric, model): one
        for metric in metrics
        for model in models
        for one in select(records, metric=metric, model=model, data=data)
    }
    shown = [model for model in models if (next(iter(metrics)), model) in found]
    figure, axes = plt.subplots(
        len(metrics), len(shown), figsize=(2.5 * len(shown) + 0.4, 2.3 * len(metrics) + 0.3), squeeze=False
    )
    for row, (metric, meaning) in enumerate(metrics.items()):
        factor = unit_of(metric).factor
        maps = [factor * np.array(found[metric, model].settings["map"]) for model in shown]
        for column, (axis, values) in enumerate(zip(axes[row], maps, strict=True)):
            alike = np.stack([one for one in maps if one.shape == values.shape])
            low, high = (0, 100) if factor == 100 else (alike.min(), alike.max())
            image = axis.imshow(values, cmap="viridis", vmin=low, vmax=high)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            figure.colorbar(image, ax=axis, shrink=0.8)
            if row == 0:
                axis.set_title(label(shown[column]).replace(", ", "\n"), fontsize=10)
        axes[row, 0].set_ylabel(meaning)
    return figure


def by_kind(
    records: Sequence[Record], model: str, kinds: Sequence[str], layers: Sequence[int], *, data: str, metric: str
) -> dict[str, dict[int, Interval]]:
    """A metric of each kind of patch over a model's layers, in the metric's unit; the last one is ``model`` itself."""
    factor, found = unit_of(metric).factor, {}
    for kind in kinds:
        names = {layer: f"{model}_layer{layer}_{kind}" for layer in layers[:-1]} | {layers[-1]: f"{model}_{kind}"}
        for layer, name in names.items():
            for one in select(records, model=name, data=data, metric=metric):
                found.setdefault(f"{model}_{kind}", {})[layer] = scaled(one.interval, factor)
    return found


def layer_panels(panels: Mapping[str, tuple[str, Mapping[str, Mapping[int, Interval]]]]) -> Figure:
    """One panel per title, each with its axis' name: a curve over the layers for each kind of patch.

    Solid and filled are outliers and what were outliers, dashed and hollow all other kinds.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(4.3 * len(panels), 3.6), squeeze=False)
    for axis, (title, (unit, curves)) in zip(axes[0], panels.items(), strict=True):
        for name, places in curves.items():
            model, kind = name.rsplit("_", 1)
            marked, shade = kind in FILLED, colour(model)
            low, high = (
                [one.value if bound is None else bound for one, bound in zip(places.values(), bounds, strict=True)]
                for bounds in ([one.low for one in places.values()], [one.high for one in places.values()])
            )
            axis.fill_between(list(places), low, high, color=shade, alpha=0.2, linewidth=0)
            axis.plot(
                list(places),
                [one.value for one in places.values()],
                "o-" if marked else "o--",
                color=shade,
                markerfacecolor=shade if marked else "white",
                markersize=5,
                label=label(name),
            )
        axis.set(title=title, xlabel="layer", ylabel=unit, xticks=sorted({n for one in curves.values() for n in one}))
        ruled(axis, "y")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def spread_table(records: Sequence[Record], names: Sequence[str], *, data: str) -> pd.DataFrame:
    """Top-1 of one token by kind, its standard deviation over the choices of the token, and the choices' extremes.

    In percent and points; of the class token there is one choice.
    """
    rows = {}
    for name in names:
        for one in select(records, model=name, data=data, metric="global/top1")[:1]:
            spread = select(records, model=name, data=data, metric="global/spread")
            choices = one.settings["choices"]
            rows[label(name)] = {
                "top-1": number_cell(over_seeds([one]).interval, unit_of(one.metric)),
                "choices": len(choices),
                "deviation": number_cell(spread[0].interval, unit_of("global/spread")) if spread else "–",
                "least": f"{100 * min(choices):.1f}",
                "greatest": f"{100 * max(choices):.1f}",
                "images": one.n,
            }
    frame = pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name="token"))
    frame.columns = pd.MultiIndex.from_product([[data_label(data)], frame.columns])
    return frame
