"""Figures of segmentation and outliers by layer: what is drawn is what the records say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from wbcore.figures.norm_plots import curves_over_layers
from wbcore.labels import data_label, label
from wbcore.metrics.intervals import Interval
from wbcore.plots import colour, ruled
from wbcore.records import Record, select


@dataclass(frozen=True)
class Style:
    """How the curve of a subject is drawn."""

    name: str
    line: Literal["-", "--", ":"]
    marker: str
    filled: bool = False
    shade: str | None = None
    """In place of the architecture's colour."""


STYLES = {
    "": Style("as it is", "-", "o", filled=True),
    "_clean": Style("outliers left out of the map", "--", "o"),
    "_ttr": Style("outliers moved into a test-time register", "-", "s"),
    "_ttr_clean": Style("moved, and their places left out", "--", "s"),
    "_reg4": Style("trained with 4 registers", "--", "s"),
    "_clean_edge": Style("control: as many border patches left out", ":", "", shade="#5b6068"),
    "_clean_rand": Style("control: as many random patches left out", ":", "", shade="#a3a9b1"),
    "_empty": Style("control: a register into which nothing is moved", ":", "", shade="#5b6068"),
}
"""By the ending of a subject's name, in the order of the legend; the last are drawn below the first."""
BLOBS = {"vit_tiny_pretrained": "centred_blob_grid14"}
"""The blob on a model's own grid, where that is not the lab's."""

PARTS = {
    "class_token": ("class token itself", "#6b7280"),
    "registers": ("registers", "#7aa6c2"),
    "outliers": ("outliers", "#a4133c"),
    "object": ("object", "#f2b705"),
    "background": ("other patches", "#e3e6ea"),
}
"""Of the class token's attention, from below."""


@dataclass(frozen=True)
class Row:
    """One metric by layer, in every column."""

    metric: str
    title: str
    symlog: float | None = None
    """Up to which number a logarithmic axis is linear; None: linear all along."""
    blob: bool = False
    """Whether the row is a tall one, in which the centred blob is shown too."""


def layer_columns(
    records: Sequence[Record],
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    *,
    endings: Sequence[str] = tuple(STYLES),
    size: float = 2.9,
) -> Figure:
    """One column per (model, data set), one row per metric, over the same layers: the model as it is and under every
    intervention of ``endings`` that was recorded, with 95 % intervals as bands.

    Dashed from top to bottom: the first layer whose attention sees outliers, where the model has some
    (``tail/triple_share``).  Colours are the architectures', as everywhere.
    """
    figure, axes = plt.subplots(
        len(rows),
        len(columns),
        figsize=(size * len(columns) + 0.6, 1.6 * len(rows) + 1.2),
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=[1.7 if row.blob else 1.0 for row in rows],
    )
    used: dict[str, str] = {}
    blob = False
    for column, (model, data) in enumerate(columns):
        seen = outliers_seen_from(records, model, data=data)
        layers: set[int] = set()
        for axis, row in zip(axes[:, column], rows, strict=True):
            for ending, style in ((one, STYLES[one]) for one in reversed(endings)):
                name = model + ending
                curve = curves_over_layers(records, data=data, metric=row.metric, models=[name]).get(name)
                if curve:
                    used[ending] = style.name
                    layers |= set(curve)
                    _draw(axis, curve, style, style.shade or colour(_of_colour(model, ending)))
            for one in select(records, data=data, metric=row.metric, model=BLOBS.get(model, "centred_blob")):
                axis.axhline(100 * one.value, color="#8a8f98", linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=0)
                blob = True
            if seen is not None:
                axis.axvline(seen - 0.5, color="#a4133c", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
            if row.symlog is not None:
                axis.set_yscale("symlog", linthresh=row.symlog)
                axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ruled(axis, "y")
        axes[0, column].set_title(f"{label(model)}\n{data_label(data)}")
        axes[-1, column].set(xlabel="layer", xticks=_ticks(layers))
        if seen is not None:
            _point_out(axes[0, column], seen - 0.5)
    for axis, row in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(row.title)
        axis.set_ylim(bottom=0)
    _legend(figure, used, blob=blob, outliers=any(outliers_seen_from(records, *one) for one in columns))
    return figure


def outliers_seen_from(records: Sequence[Record], model: str, data: str) -> int | None:
    """The first layer (from 1) from which on attention reads tokens of which a hundredth is above three medians."""
    curve = curves_over_layers(records, data=data, metric="tail/triple_share", models=[model]).get(model, {})
    below = [layer for layer, share in curve.items() if share.value <= 1]
    first = max(below, default=0) + 2
    return first if first <= max(curve, default=0) else None


def _of_colour(model: str, ending: str) -> str:
    """The network whose colour it is: one that was changed has its own, a map that is read otherwise has not."""
    return model + ending.removesuffix("_clean")


def _draw(axis: Axes, curve: Mapping[int, Interval], style: Style, shade: str) -> None:
    layers, found = list(curve), list(curve.values())
    control = not style.marker
    if not control:
        low, high = ([_bound(one, side) for one in found] for side in ("low", "high"))
        axis.fill_between(layers, low, high, color=shade, alpha=0.16, linewidth=0)
    axis.plot(
        layers,
        [one.value for one in found],
        linestyle=style.line,
        marker=style.marker,
        color=shade,
        markerfacecolor=shade if style.filled else "white",
        markersize=5,
        linewidth=1.8,
    )


def _bound(interval: Interval, side: str) -> float:
    bound = getattr(interval, side)
    return interval.value if bound is None else bound


def _ticks(layers: Iterable[int]) -> list[int]:
    """Every layer, or every second one of many, the last one always."""
    known = sorted(layers)
    return known[:: -1 - (len(known) > 8)][::-1]


def _point_out(axis: Axes, place: float) -> None:
    axis.annotate(
        "outliers\nfrom here",
        (place, 0),
        xytext=(3, 3),
        textcoords="offset points",
        xycoords=("data", "axes fraction"),
        va="bottom",
        fontsize=8,
        color="#a4133c",
    )


def _legend(figure: Figure, used: Mapping[str, str], *, blob: bool, outliers: bool) -> None:
    handles = [
        Line2D(
            [],
            [],
            linestyle=style.line,
            marker=style.marker,
            color=style.shade or "#4a4f57",
            markerfacecolor="#4a4f57" if style.filled else "white",
            markersize=5,
            label=style.name,
        )
        for ending, style in STYLES.items()
        if ending in used
    ]
    if blob:
        handles.append(Line2D([], [], color="#8a8f98", linestyle=(0, (1, 1.5)), label="blob in the centre"))
    if outliers:
        handles.append(Line2D([], [], color="#a4133c", linestyle=(0, (4, 3)), label="attention sees outliers"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)), frameon=False, fontsize=9)


def spending(
    records: Sequence[Record], columns: Sequence[tuple[str, str]], *, size: float = 2.7, height: float = 3.2
) -> Figure:
    """What the class token's attention is spent on, by layer: stacked shares, one panel per (model, data set).

    A dashed line: the share of the normal patches that are object, of the attention that falls on normal patches; where
    the object's band ends above it, the class token looks at the object more than at the rest.
    """
    figure, axes = plt.subplots(
        1, len(columns), figsize=(size * len(columns) + 0.6, height), sharey=True, squeeze=False
    )
    same = len({data for _, data in columns}) == 1  # then the caption says which
    for axis, (model, data) in zip(axes[0], columns, strict=True):
        parts = {
            part: curves_over_layers(records, data=data, metric=f"attention_to/{part}", models=[model])[model]
            for part in PARTS
            if part != "background"
        }
        layers = list(parts["object"])
        shares = np.array([[curve[layer].value for layer in layers] for curve in parts.values()])
        shares = np.vstack([shares, 100 - shares.sum(axis=0)])
        axis.stackplot(layers, shares, colors=[shade for _, shade in PARTS.values()], linewidth=0)
        for one in select(records, data=data, metric="object_share", model=model):
            below, patches = shares[:3].sum(axis=0), shares[3:].sum(axis=0)
            axis.plot(layers, below + one.value * patches, color="black", linestyle="--", linewidth=1.2)
        title = label(model).replace(", ", ",\n")
        axis.set_title(title if same else f"{title}\n{data_label(data)}")
        axis.set(xlabel="layer", xticks=_ticks(layers), ylim=(0, 100))
        axis.margins(x=0)
        axis.tick_params(axis="x", labelsize=9)
    axes[0, 0].set_ylabel("class token's attention (%)")
    handles = [
        *(Patch(color=shade, label=name) for name, shade in reversed(PARTS.values())),
        Line2D([], [], color="black", linestyle="--", label="object, if it looked evenly"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
