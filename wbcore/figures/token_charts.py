"""Charts of token-pass: how much of each class goes on, and what single images cost."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from wbcore.figures.segmentation_plots import STAGES, layer_legend, layer_picture
from wbcore.labels import class_label
from wbcore.measuring.segmentation import Segmented
from wbcore.measuring.token_use import gmacs_by_block, layers_run, tokens_by_block
from wbcore.metrics.segmentation_cost import dense_ledger
from wbcore.models.dovit import SegmenterConfig
from wbcore.plots import VARIANT_COLOURS, ruled
from wbcore.tables.token_records import TokenUse

_DENSE = "#c3c7cd"


def class_bars(uses: Sequence[TokenUse]) -> Figure:
    """How much of each class goes on after each decision, with 95 % intervals, one panel for each model and data set.

    Classes of which least goes on after the first decision are on top.
    """
    most = max((len(use.classes) for use in uses), default=1)
    figure, axes = plt.subplots(
        1, max(len(uses), 1), figsize=(4.6 * max(len(uses), 1), 0.3 * most + 1.5), squeeze=False
    )
    for axis, use in zip(axes[0], uses, strict=False):
        order = sorted(range(len(use.classes)), key=lambda place: use.kept_by_class[place][0].value)
        for row, place in enumerate(order):
            for stage, interval in enumerate(use.kept_by_class[place]):
                value, low, high, _ = interval.percent()
                if low is not None and high is not None:
                    axis.plot([low, high], [row, row], color=STAGES[stage], linewidth=2, solid_capstyle="round")
                axis.plot(value, row, "o", color=STAGES[stage], markersize=7, zorder=3)
        axis.set_yticks(range(len(order)), [class_label(use.classes[place]) for place in order])
        axis.set_ylim(len(order) - 0.5, -0.5)
        axis.set_xlim(0, 102)
        axis.set_title(use.title.replace(" on ", "\non "), fontsize=10)
        axis.set_xlabel("pixels that go on (%)")
        ruled(axis, "x")
    stages = max((len(use.kept_by_class[0]) for use in uses), default=0)
    handles = [
        Line2D([], [], linestyle="", marker="o", color=STAGES[stage], label=f"decision {stage + 1}")
        for stage in range(stages)
    ]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=stages, frameon=False, columnspacing=1.0, fontsize=10
        )
    return figure


def cost_bars(cases: Mapping[str, Segmented], config: SegmenterConfig) -> Figure:
    """Single images block by block: the image, where its patches stopped, tokens and GMACs of each block.

    A block is what lies between two decisions.  In outline: the dense model.
    Source: DoViT, Fig. 6.
    """
    size = 10.5, 2.3 * len(cases) + 0.6
    figure, axes = plt.subplots(len(cases), 4, figsize=size, squeeze=False, width_ratios=[1, 1, 1.6, 1.6])
    blocks = [f"$B_{number + 1}$" for number in range(len(config.decisions) + 1)]
    for row, (name, found) in zip(axes, cases.items(), strict=True):
        run = found.at_pixels(layers_run(found, config.decisions))
        for axis, picture in ((row[0], found.image), (row[1], layer_picture(run, config))):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(name, fontsize=11)
        tokens, gmacs = tokens_by_block(found, config.decisions), gmacs_by_block(found.cost, config.decisions)
        _bars(row[2], blocks, tokens, tokens[:1] * len(blocks), "{:.0f}")
        _bars(row[3], blocks, gmacs, gmacs_by_block(dense_ledger(config, found.grid), config.decisions), "{:.3f}")
    titles = ("image", "layers of each patch", "tokens in each block", "GMACs of each block")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    handles = [Patch(facecolor=shade, label=name) for name, shade in layer_legend(config).items()]
    handles.append(Patch(facecolor="none", edgecolor=_DENSE, label="dense"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def _bars(axis: Axes, names: Sequence[str], values: Sequence[float], dense: Sequence[float], form: str) -> None:
    axis.bar(names, dense, color="none", edgecolor=_DENSE, linewidth=1.2)
    axis.bar(names, values, color=VARIANT_COLOURS["dovit"], width=0.62)
    for place, value in enumerate(values):
        axis.annotate(form.format(value), (place, value), (0, 2), textcoords="offset points", ha="center", fontsize=8)
    axis.set_ylim(0, 1.15 * max(dense))


def cost_histograms(panels: Mapping[str, tuple[Float[np.ndarray, "_n"], float | None]]) -> Figure:
    """How the GMACs of single images are distributed, one panel for each title; a line where the dense model is."""
    figure, axes = plt.subplots(len(panels) or 1, 1, figsize=(7.2, 1.65 * (len(panels) or 1) + 0.5), squeeze=False)
    for axis, (title, (gmacs, dense)) in zip(axes[:, 0], panels.items(), strict=False):
        right = max(float(gmacs.max()), dense or 0)
        axis.hist(gmacs, bins=list(np.linspace(0, right, 61)), color=VARIANT_COLOURS["dovit"])
        axis.plot(np.median(gmacs), 0, marker=6, color="#23272e", markersize=9, clip_on=False, zorder=4)
        if dense is not None:
            axis.axvline(dense, color=VARIANT_COLOURS["dense"], linestyle="--", linewidth=1.5)
            style = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
            axis.annotate("dense", (dense, 0.96), (4, 0), **style)
        axis.set_xlim(0, 1.1 * right)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_ylabel("images")
    axes[-1, 0].set_xlabel("GMACs of an image (▲ median)")
    return figure
