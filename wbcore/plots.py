"""Records and arrays → figures in one style.  Nothing is computed here but where things are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from jaxtyping import Bool, Float, Shaped, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wbcore.metrics.intervals import Interval
from wbcore.records import Record

LABELS = {
    "crate": "CRATE",
    "crate_mlp": "CRATE-MLP",
    "crate_mhsa": "CRATE-MHSA",
    "crate_sth": "CRATE-sth",
    "vit": "ViT",
    "vit_tiny_pretrained": "ViT-Ti/16, ImageNet",
    "centred_blob": "centred blob",
    "random_heads": "random heads",
    "untrained_crate": "CRATE, untrained",
    "untrained_vit": "ViT, untrained",
}
"""What tables and figures call a model."""

DATA_LABELS = {
    "cutouts": "Cutouts",
    "cutouts_recognition": "Cutouts, names",
    "weizmann": "Weizmann horses",
    "coco200": "COCO-200",
    "voc2012": "VOC 2012 val",
    "coco2017": "COCO val2017",
}
"""What tables and figures call a data set."""

_PALETTE = sns.color_palette("colorblind").as_hex()
_BASELINE = "#8a8f98"
COLOURS = {
    "crate": _PALETTE[0],
    "crate_mlp": _PALETTE[2],
    "crate_mhsa": _PALETTE[1],
    "crate_sth": _PALETTE[9],
    "vit": _PALETTE[3],
    "vit_tiny_pretrained": _PALETTE[4],
}
"""One colour per architecture through the whole book; baselines are grey."""

_GROUND = "#e9ebee"
"""Behind what is transparent."""

MASK_COLOURS = ("#ffd400", "#00d4ff", "#ff5db1")
"""First, second and third mask of MaskCut; bright, because they are drawn over photographs."""


def use_style() -> None:
    """Set the book's figure style for all figures that follow."""
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


def label(model: str) -> str:
    return LABELS.get(model, model)


def data_label(data: str) -> str:
    return DATA_LABELS.get(data, data)


def colour(model: str) -> str:
    return COLOURS.get(model, _BASELINE)


def forest(panels: Mapping[str, Sequence[Record]], series: Mapping[str, str], *, unit: str) -> Figure:
    """One panel per title: a row for each model, its values as dots and their intervals as lines, in percent.

    ``series`` names the metrics to show; the first is drawn as a disc, the second below it as a smaller diamond.
    Baselines (no colour of their own) are hollow, so that what has learned stands out from what has not.
    """
    models = list(dict.fromkeys(record.model for records in panels.values() for record in records))
    height = 0.42 * len(models) + 1.6
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels) + 1, height), squeeze=False)
    markers = dict(zip(series, ("o", "D"), strict=False))
    for axis, (title, records) in zip(axes[0], panels.items(), strict=True):
        shown = [model for model in models if any(record.model == model for record in records)]
        for record in records:
            row = shown.index(record.model) + 0.26 * (list(series).index(record.metric) - (len(series) - 1) / 2)
            low = record.value if record.low is None else record.low
            high = record.value if record.high is None else record.high
            shade = colour(record.model)
            axis.plot([100 * low, 100 * high], [row, row], color=shade, linewidth=2, solid_capstyle="round")
            face = shade if record.model in COLOURS else "white"
            marker = markers[record.metric]
            size = 7 if marker == "o" else 5
            axis.plot(100 * record.value, row, marker, color=shade, markerfacecolor=face, markersize=size)
        axis.set_yticks(range(len(shown)), [label(model) for model in shown])
        axis.set_ylim(len(shown) - 0.5, -0.5)
        axis.set_xlim(left=0)
        axis.set_title(title)
        axis.set_xlabel(unit)
        axis.grid(axis="x", color="#e3e5e8")
        axis.set_axisbelow(True)
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
    images: Sequence[UInt8[np.ndarray, "_h _w 3"]], columns: Mapping[str, Sequence[Overlay]], *, side: float = 1.7
) -> Figure:
    """The same pictures down the rows: first as they are, then once per column with that column's overlays."""
    figure, axes = plt.subplots(
        len(images), 1 + len(columns), figsize=(side * (1 + len(columns)), side * len(images) + 0.3), squeeze=False
    )
    for row, image in enumerate(images):
        _show(axes[row, 0], image)
        for column, overlays in enumerate(columns.values(), start=1):
            _show(axes[row, column], image)
            _draw_overlay(axes[row, column], image, overlays[row])
    for axis, title in zip(axes[0], ["image", *columns], strict=True):
        axis.set_title(title, fontsize=10)
    return figure


def _show(axis: Axes, image: UInt8[np.ndarray, "h w 3"]) -> None:
    axis.imshow(image, extent=(0, 1, 1, 0), interpolation="lanczos")
    axis.set_axis_off()


def _draw_overlay(axis: Axes, image: UInt8[np.ndarray, "h w 3"], overlay: Overlay) -> None:
    if overlay.heat is not None:
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
            _outline(axis, mask, shade)
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


def _outline(axis: Axes, mask: Bool[np.ndarray, "rows cols"], shade: str) -> None:
    """The border of a mask along the edges of its tokens, drawn as line segments."""
    rows, cols = mask.shape
    padded = np.pad(mask, 1)
    across, down = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    for row, col in zip(*np.nonzero(across), strict=True):
        axis.plot([col / cols] * 2, [(row - 1) / rows, row / rows], color=shade, linewidth=2, clip_on=False)
    for row, col in zip(*np.nonzero(down), strict=True):
        axis.plot([(col - 1) / cols, col / cols], [row / rows] * 2, color=shade, linewidth=2, clip_on=False)


def by_layer(
    panels: Mapping[str, Mapping[str, Sequence[Interval]]], *, units: Sequence[str], columns: int = 2
) -> Figure:
    """One panel per title: a curve over the layers for each model, dots with their intervals as a band.

    Layers count from 1.  ``units`` are the panels' vertical axes; a panel that crosses zero shows where zero is.
    Models without a colour of their own, which have learned nothing, are grey and hollow.
    """
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.9 * columns, 2.9 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, curves), unit in zip(axes.flat, panels.items(), units, strict=False):
        for model, intervals in curves.items():
            layers, values = range(1, len(intervals) + 1), [interval.value for interval in intervals]
            low = [one.value if one.low is None else one.low for one in intervals]
            high = [one.value if one.high is None else one.high for one in intervals]
            shade = colour(model)
            axis.fill_between(layers, low, high, color=shade, alpha=0.25, linewidth=0)
            face = shade if model in COLOURS else "white"
            axis.plot(layers, values, "o-", color=shade, markerfacecolor=face, markersize=6, label=label(model))
            axis.set_xticks(layers)
        bottom, top = axis.get_ylim()
        if bottom < 0 < top:
            axis.axhline(0, color="#5b6068", linewidth=1, zorder=0)
        axis.set_title(title)
        axis.set_xlabel("layer")
        axis.set_ylabel(unit)
        axis.grid(axis="y", color="#e3e5e8")
        axis.set_axisbelow(True)
    axes[0, 0].legend(frameon=False, fontsize=9)
    return figure


def image_grid(columns: Mapping[str, Sequence[Shaped[np.ndarray, "_h _w _c"]]], *, side: float = 1.7) -> Figure:
    """Pictures side by side: one column for each title, the same subjects down the rows, all drawn equally large.

    Pictures are RGB or RGBA, in 8 bits or from 0 to 1.  Photographs are smoothed when they are resized, pictures of
    tokens (fewer than 64 rows) keep their blocks, and what is transparent shows a light ground.
    """
    rows = max(len(pictures) for pictures in columns.values())
    size = side * len(columns), side * rows + 0.45
    figure, axes = plt.subplots(rows, len(columns), figsize=size, squeeze=False)
    for column, (title, pictures) in enumerate(columns.items()):
        axes[0, column].set_title(title, fontsize=10)
        for axis, picture in zip(axes[:, column], pictures, strict=True):
            smooth = "nearest" if len(picture) < 64 else "lanczos"
            axis.imshow(picture, extent=(0, 1, 1, 0), interpolation=smooth)
            axis.set(xticks=[], yticks=[], facecolor=_GROUND)
            axis.spines[:].set_visible(False)
    return figure
