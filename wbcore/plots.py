"""Records and arrays → figures in one style.  Nothing is computed here but where things are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def forest(panels: Mapping[str, Sequence[Record]], *, unit: str) -> Figure:
    """One panel per title: a row for each record, its value as a dot and its interval as a line, in percent.

    Baselines (no colour of their own) are hollow, so that what has learned stands out from what has not.
    """
    rows = max(len(records) for records in panels.values())
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels) + 1, 0.42 * rows + 1.3), squeeze=False)
    for axis, (title, records) in zip(axes[0], panels.items(), strict=True):
        for row, record in enumerate(records):
            low = record.value if record.low is None else record.low
            high = record.value if record.high is None else record.high
            shade = colour(record.model)
            axis.plot([100 * low, 100 * high], [row, row], color=shade, linewidth=2.5, solid_capstyle="round")
            face = shade if record.model in COLOURS else "white"
            axis.plot(100 * record.value, row, "o", color=shade, markerfacecolor=face, markersize=7)
        axis.set_yticks(range(len(records)), [label(record.model) for record in records])
        axis.set_ylim(len(records) - 0.5, -0.5)
        axis.set_xlim(left=0)
        axis.set_title(title)
        axis.set_xlabel(unit)
        axis.grid(axis="x", color="#e3e5e8")
        axis.set_axisbelow(True)
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
