"""Figures and tables of LOST: CorLoc over the bias, and boxes over pictures."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from wbcore.labels import label
from wbcore.measuring.lost_sweep import TREATMENTS, Picture
from wbcore.plots import colour, ruled
from wbcore.records import Record, select
from wbcore.tables import order_table

TREATMENT_TITLES = {"scaled": "scaled", "unit": "length one", "centred": "mean off, length one"}
TRUTH, RIGHT, WRONG = "#ffffff", "#ffd400", "#ff3b5c"
"""The boxes of objects, and LOST's box where it is right and where it is not; bright, over photographs."""


def bias_curves(records: Sequence[Record], rows: Mapping[str, Sequence[tuple[str, str]]], *, data: str) -> Figure:
    """CorLoc over the bias: a panel for each treatment of the features, a row for each of ``rows``.

    A row is a title and its (model, facet) pairs.  Bands are 95 % intervals over images; a ring marks the bias that
    other images chose, a cross LOST's own code, which has none.  Dashed: a box in the centre of the image; dotted: the
    image as a whole.
    """
    size = (2.8 * len(TREATMENTS) + 2.4, 2.4 * len(rows) + 0.5)
    figure, grid = plt.subplots(len(rows), len(TREATMENTS), figsize=size, squeeze=False, sharex=True, sharey="row")
    blind = {"--": "centred_box", ":": "whole_image"}
    boxes = [(style, one) for style, name in blind.items() for one in select(records, model=name, metric="corloc")]
    levels = [(style, one) for style, one in boxes if one.data == data]
    for (title, pairs), axes in zip(rows.items(), grid, strict=True):
        for axis, treatment in zip(axes, TREATMENTS, strict=True):
            for style, one in levels:
                axis.axhline(100 * one.value, color="#5b6068", linestyle=style, linewidth=1)
            for model, facet in pairs:
                for one in select(records, model=f"{model}_{facet}", data=data, metric=f"corloc/{treatment}"):
                    _curve(axis, one, model)
            ruled(axis, "y")
        axes[0].set_ylabel("CorLoc (%)")
        axes[0].set_ylim(bottom=0)  # shared by the row
        handles, names = axes[0].get_legend_handles_labels()
        axes[-1].legend(
            handles,
            names,
            title=title,
            frameon=False,
            fontsize=9,
            title_fontsize=9,
            alignment="left",
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
        )
    for axis, treatment in zip(grid[0], TREATMENTS, strict=True):
        axis.set_title(TREATMENT_TITLES[treatment])
    for axis in grid[-1]:
        axis.set_xlabel("bias on the Gram matrix")
    return figure


def _curve(axis: Axes, record: Record, model: str) -> None:
    places = record.settings["places"]
    value, low, high = 100 * np.array(record.settings["curve"], float).T
    shade = colour(model)
    style = ":" if model.startswith("untrained") else "-"
    axis.fill_between(places, low, high, color=shade, alpha=0.15, linewidth=0)
    axis.plot(places, value, style, color=shade, linewidth=1.8, label=label(model))
    axis.plot(record.settings["bias"], 100 * record.value, "o", color=shade, markerfacecolor="white", markersize=7)
    if "/scaled" in record.metric:
        axis.plot(0, value[places.index(0.0)], "x", color=shade, markersize=7, markeredgewidth=2)


def pair_table(
    records: Sequence[Record], pairs: Sequence[tuple[str, str]], columns: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """:func:`wbcore.tables.order_table` of several pairs, in their order, on the images that both were measured on.

    The same scenes composed in another size are other images.
    """
    found = [
        order_table(records, pair, [one for one in columns if _share_images(records, pair, one)]) for pair in pairs
    ]
    return pd.concat([table for table in found if len(table)])


def _share_images(records: Sequence[Record], pair: tuple[str, str], column: tuple[str, str]) -> bool:
    data, metric = column
    left, right = ({one.data_sha256 for one in select(records, model=name, data=data, metric=metric)} for name in pair)
    return bool(left) and left == right


def box_grid(
    images: Sequence[UInt8[np.ndarray, "_h _w 3"]], columns: Mapping[str, Sequence[Picture]], *, side: float = 1.6
) -> Figure:
    """The same pictures down the rows, and over them what LOST made of them with the features of each column.

    White: the objects' boxes, where they are annotated.  Yellow: LOST's box where it is right, or where nothing is
    annotated; red: where it is wrong.  A dot: the patch from which it was grown.
    """
    figure, axes = plt.subplots(
        len(images), len(columns), figsize=(side * len(columns), side * len(images) + 0.4), squeeze=False
    )
    for column, (title, pictures) in enumerate(columns.items()):
        axes[0, column].set_title(title, fontsize=9)
        for axis, image, found in zip(axes[:, column], images, pictures, strict=True):
            axis.imshow(image, extent=(0, 1, 1, 0), interpolation="lanczos")
            axis.set_axis_off()
            for place in found.objects:
                _outline(axis, place, TRUTH, 1.2)
            shade = WRONG if found.right is False else RIGHT
            _outline(axis, found.box, shade, 2.2)
            axis.plot(*found.seed, "o", color=shade, markeredgecolor="black", markersize=5)
    return figure


def _outline(axis: Axes, place: tuple[float, float, float, float], shade: str, width: float) -> None:
    left, upper, right, lower = place
    box = Rectangle((left, upper), right - left, lower - upper, fill=False, edgecolor=shade, linewidth=width)
    box.set_clip_on(False)
    axis.add_patch(box)
