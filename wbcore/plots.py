"""Records and arrays → figures in one style.  Nothing is computed here but where things are drawn."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import get_ipython
from jaxtyping import Bool, Float, Shaped, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wbcore.encoding import encode_small
from wbcore.labels import LABELS, label
from wbcore.labels import data_label as data_label  # notebooks ask their figures' module for it
from wbcore.metrics.intervals import Interval
from wbcore.records import Record

_PALETTE = sns.color_palette("colorblind").as_hex()
_BASELINE = "#8a8f98"
COLOURS = {
    "crate": _PALETTE[0],
    "crate_mlp": _PALETTE[2],
    "crate_mhsa": _PALETTE[1],
    "crate_sth": _PALETTE[9],
    "vit": _PALETTE[3],
    "vit_tiny_pretrained": _PALETTE[4],
    "vit_tiny_pretrained_ttr": "#6b3fa0",
    "vit_tiny_pretrained_empty": "#b58fd1",
    "crate_tied": "#1f8a8c",
    "crate_normalised": "#4a6fa5",
}
"""One colour per architecture through the whole book; baselines are grey."""

VARIANT_COLOURS = {
    "dense": "#333333",
    "dovit": "#0b7a75",
    "dyvit": _PALETTE[5],
    "tome": _PALETTE[6],
    "nomerge": "#5aa9a4",
    "nodistil": "#8fc4c1",
    "plain": "#c0dedc",
}
"""One colour for each way of saving tokens through the whole book."""

_GROUND = "#e9ebee"
"""Behind what is transparent."""

MASK_COLOURS = ("#ffd400", "#00d4ff", "#ff5db1")
"""First, second and third mask of MaskCut; bright, because they are drawn over photographs."""


def use_style() -> None:
    """Set the book's figure style for all figures that follow.

    In a notebook they are encoded as small as they can be, see :mod:`wbcore.encoding`.
    """
    if (shell := get_ipython()) is not None:
        encode_small(shell)
    sns.set_theme(
        context="notebook",
        style="ticks",
        rc={
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "font.size": 10,
        },
    )


def colour(model: str) -> str:
    """A model's colour; with registers a darker shade of what the same network has without them."""
    if registers := re.fullmatch(r"(.+)_reg\d+", model):
        red, green, blue = to_rgb(colour(registers[1]))
        return to_hex((0.6 * red, 0.6 * green, 0.6 * blue))
    return COLOURS.get(model, _BASELINE)


def ruled(axis: Axes, ticks: Literal["x", "y", "both"] = "both") -> None:
    """Fine lines behind what is drawn, at the ticks of an axis."""
    axis.grid(axis=ticks, color="#e3e5e8")
    axis.set_axisbelow(True)


def forest(panels: Mapping[str, Sequence[Record]], series: Mapping[str, str], *, unit: str) -> Figure:
    """One panel per title, all with the same rows: a model's values as dots and their intervals as lines, in percent.

    ``series`` names the metrics to show; the first is drawn as a disc, the second below it as a smaller diamond.
    Baselines (no colour of their own) are hollow, so that what has learned stands out from what has not.  Records of
    the same model and metric, such as training runs, stay apart by half-transparent dots with white edges.
    """
    present = dict.fromkeys(record.model for records in panels.values() for record in records)
    models = [*(model for model in LABELS if model in present), *(model for model in present if model not in LABELS)]
    height = 0.42 * len(models) + 1.6
    size = 3 * len(panels) + 1.6, height
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, sharey=True)
    markers = dict(zip(series, ("o", "D"), strict=False))
    for axis, (title, records) in zip(axes[0], panels.items(), strict=True):
        for record in records:
            row = models.index(record.model) + 0.26 * (list(series).index(record.metric) - (len(series) - 1) / 2)
            low = record.value if record.low is None else record.low
            high = record.value if record.high is None else record.high
            shade = colour(record.model)
            axis.plot([100 * low, 100 * high], [row, row], color=shade, linewidth=2, solid_capstyle="round")
            face = "white" if shade == _BASELINE else shade
            marker = markers[record.metric]
            size = 7 if marker == "o" else 5
            run = sum((one.model, one.metric) == (record.model, record.metric) for one in records) > 1
            edge, alpha = ("white", 0.6) if run else (shade, None)
            axis.plot(
                100 * record.value,
                row,
                marker,
                markeredgecolor=edge,
                markerfacecolor=face,
                markersize=size + run,
                alpha=alpha,
            )
        axis.set_yticks(range(len(models)), [label(model) for model in models])
        axis.set_ylim(len(models) - 0.5, -0.5)
        axis.set_xlim(left=0)
        axis.set_title(title)
        axis.set_xlabel(unit)
        ruled(axis, "x")
    if len(series) > 1:
        handles = [
            Line2D([], [], linestyle="", marker=markers[metric], color="#4a4f57", markersize=6, label=name)
            for metric, name in series.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


@dataclass(frozen=True)
class Overlay:
    """What is drawn over one picture: a heat map and the outlines of masks, both on the token grid."""

    heat: Float[np.ndarray, "rows cols"] | None = None
    masks: Bool[np.ndarray, "m rows cols"] | None = None
    caption: str = ""


def picture_grid(
    images: Sequence[UInt8[np.ndarray, "_h _w 3"]],
    columns: Mapping[str, Sequence[Overlay]],
    *,
    side: float = 1.7,
    alone: bool = False,
    fade: bool = False,
    rows: Sequence[str] = (),
) -> Figure:
    """The same pictures down the rows: first as they are, then once per column with that column's overlays.

    ``alone`` shows a heat map by itself, one block per token, from its least value (dark) to its greatest (bright), as
    DINO's code and CRATE's figures do; else it glows over the picture.  ``fade`` takes the colour from what no mask
    covers, for masks of many small pieces.  ``rows`` are the rows' names, written beside
    the first picture of each.
    """
    figure, axes = plt.subplots(
        len(images), 1 + len(columns), figsize=(side * (1 + len(columns)), side * len(images) + 0.3), squeeze=False
    )
    for row, image in enumerate(images):
        _show(axes[row, 0], image)
        for column, overlays in enumerate(columns.values(), start=1):
            _show(axes[row, column], image)
            _draw_overlay(axes[row, column], image, overlays[row], alone, 0.8 if fade else 2)
            if fade:
                _fade(axes[row, column], image, overlays[row])
    for axis, title in zip(axes[0], ["image", *columns], strict=True):
        axis.set_title(title, fontsize=10)
    for axis, name in zip(axes[:, 0], rows, strict=False):
        axis.annotate(name, (-0.06, 0.5), xycoords="axes fraction", rotation=90, ha="right", va="center", fontsize=10)
    return figure


def by_head(images: Sequence[Sequence[Overlay]]) -> dict[str, tuple[Overlay, ...]]:
    """Rows of overlays, one for each head, as the columns of :func:`picture_grid`."""
    return {f"head {number}": column for number, column in enumerate(zip(*images, strict=True))}


def _show(axis: Axes, image: UInt8[np.ndarray, "h w 3"]) -> None:
    axis.imshow(image, extent=(0, 1, 1, 0), interpolation="lanczos")
    axis.set_axis_off()


def _draw_overlay(axis: Axes, image: UInt8[np.ndarray, "h w 3"], overlay: Overlay, alone: bool, line: float) -> None:
    if overlay.heat is not None and alone:
        axis.images[0].remove()
        axis.imshow(overlay.heat, cmap="viridis", extent=(0, 1, 1, 0), interpolation="nearest")
    elif overlay.heat is not None:
        grey = image.mean(axis=2) / 255
        axis.images[0].set_data(np.repeat(grey[..., None], 3, axis=2))
        shown = overlay.heat / max(float(overlay.heat.max()), 1e-12)
        axis.imshow(
            shown,
            cmap="magma",
            extent=(0, 1, 1, 0),
            interpolation="bilinear",
            alpha=0.25 + 0.65 * shown,
            vmin=0,
            vmax=1,
        )
    if overlay.masks is not None:
        for mask, shade in zip(overlay.masks, MASK_COLOURS, strict=False):
            _outline(axis, mask, shade, line)
    if overlay.caption:
        axis.text(
            0.03,
            0.97,
            overlay.caption,
            fontsize=7.5,
            color="white",
            va="top",
            transform=axis.transAxes,
            bbox={"facecolor": "black", "alpha": 0.55, "pad": 1.5, "edgecolor": "none"},
        )


def _fade(axis: Axes, image: UInt8[np.ndarray, "h w 3"], overlay: Overlay) -> None:
    """Pale grey over all that is outside the masks."""
    if overlay.masks is None:
        return
    rows, cols = overlay.masks.shape[1:]
    height, width = image.shape[:2]
    row, col = np.arange(height) * rows // height, np.arange(width) * cols // width
    outside = np.logical_not(overlay.masks[:, row[:, None], col].any(axis=0))
    pale = np.repeat(0.55 + 0.45 * image.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    axis.imshow(np.dstack([pale, outside]), extent=(0, 1, 1, 0), interpolation="nearest")


def _outline(axis: Axes, mask: Bool[np.ndarray, "rows cols"], shade: str, width: float) -> None:
    """The border of a mask along the edges of its tokens, drawn as line segments."""
    rows, cols = mask.shape
    padded = np.pad(mask, 1)
    across, down = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    for row, col in zip(*np.nonzero(across), strict=True):
        axis.plot([col / cols] * 2, [(row - 1) / rows, row / rows], color=shade, linewidth=width, clip_on=False)
    for row, col in zip(*np.nonzero(down), strict=True):
        axis.plot([(col - 1) / cols, col / cols], [row / rows] * 2, color=shade, linewidth=width, clip_on=False)


def curves(
    panels: Mapping[str, Mapping[str, Mapping[int, Interval]]],
    *,
    units: Sequence[str],
    axes: Sequence[str],
    columns: int = 2,
) -> Figure:
    """One panel per title: a curve for each model, dots at its places along the axis with their intervals as a band.

    ``units`` name the panels' vertical axes and ``axes`` their horizontal ones; a panel that crosses zero shows where
    zero is.  Models without a colour of their own, which have learned nothing, are grey and hollow.
    """
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.9 * columns, 2.9 * rows), squeeze=False)
    for axis in grid.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, models), unit, name in zip(grid.flat, panels.items(), units, axes, strict=False):
        for model, intervals in models.items():
            places, shown = list(intervals), list(intervals.values())
            low = [one.value if one.low is None else one.low for one in shown]
            high = [one.value if one.high is None else one.high for one in shown]
            shade = colour(model)
            axis.fill_between(places, low, high, color=shade, alpha=0.25, linewidth=0)
            face = "white" if shade == _BASELINE else shade
            values = [one.value for one in shown]
            axis.plot(places, values, "o-", color=shade, markerfacecolor=face, markersize=6, label=label(model))
        axis.set_xticks(sorted({place for intervals in models.values() for place in intervals}))
        bottom, top = axis.get_ylim()
        if bottom < 0 < top:
            axis.axhline(0, color="#5b6068", linewidth=1, zorder=0)
        axis.set_title(title)
        axis.set_xlabel(name)
        axis.set_ylabel(unit)
        ruled(axis, "y")
    grid[0, 0].legend(frameon=False, fontsize=9)
    return figure


def by_layer(
    panels: Mapping[str, Mapping[str, Sequence[Interval]]], *, units: Sequence[str], columns: int = 2
) -> Figure:
    """:func:`curves` over the layers, which count from 1."""
    counted = {
        title: {model: dict(enumerate(intervals, start=1)) for model, intervals in models.items()}
        for title, models in panels.items()
    }
    return curves(counted, units=units, axes=["layer"] * len(panels), columns=columns)


def image_grid(columns: Mapping[str, Sequence[Shaped[np.ndarray, "_h _w _c"] | None]], *, side: float = 1.7) -> Figure:
    """Pictures side by side: one column for each title, the same subjects down the rows, all drawn equally large.

    Pictures are RGB or RGBA, in 8 bits or from 0 to 1.  Photographs are smoothed when they are resized, pictures of
    tokens (fewer than 64 rows) keep their blocks, and what is transparent shows a light ground.  None leaves a place
    empty.
    """
    rows = max(len(pictures) for pictures in columns.values())
    size = side * len(columns), side * rows + 0.45
    figure, axes = plt.subplots(rows, len(columns), figsize=size, squeeze=False)
    for column, (title, pictures) in enumerate(columns.items()):
        axes[0, column].set_title(title, fontsize=10)
        for axis, picture in zip(axes[:, column], pictures, strict=True):
            if picture is None:
                axis.set_axis_off()
                continue
            smooth = "nearest" if len(picture) < 64 else "lanczos"
            axis.imshow(picture, extent=(0, 1, 1, 0), interpolation=smooth)
            axis.set(xticks=[], yticks=[], facecolor=_GROUND)
            axis.spines[:].set_visible(False)
    return figure
