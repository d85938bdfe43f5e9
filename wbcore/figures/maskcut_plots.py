"""Figures of MaskCut's settings: AP along each of them, and one model's lead over another under all of them."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from wbcore.labels import label
from wbcore.metrics.intervals import Interval
from wbcore.plots import colour, ruled
from wbcore.records import Comparison
from wbcore.tables.maskcut_tables import AXES, setting_label

AXIS_LABELS = {"tau": "threshold τ", "masks": "masks N", "size": "side of the image (px)", "layer": "layer"}
_BASELINES = {
    "untrained_crate": ("s", "--"),
    "untrained_vit": ("D", ":"),
    "random_heads": ("x", "-."),
    "centred_blob": ("o", "-"),
}
"""Marker and line of each, as all of them are grey."""


def setting_figure(rows: Mapping[str, Mapping[str, Mapping[str, Mapping[int, Interval]]]], *, unit: str) -> Figure:
    """AP along each setting: a row of panels for each title, in it a panel for each of its axes.

    ``rows`` hold :func:`wbcore.tables.maskcut_tables.setting_curves` by title and axis.  A dotted line marks what
    Table 1 has.  Intervals are drawn of what was trained.
    """
    axes = list(next(iter(rows.values())))
    figure, grid = plt.subplots(
        len(rows), len(axes), figsize=(2.6 * len(axes), 2.35 * len(rows) + 0.7), squeeze=False, sharey="row"
    )
    handles = {}
    for line, (title, panels) in zip(grid, rows.items(), strict=True):
        for panel, axis in zip(line, axes, strict=True):
            scale = 100 if axis == "tau" else 1
            panel.axvline(AXES[axis] / scale, color="#b9bec6", linestyle=":", linewidth=1.2, zorder=0)
            for model, curve in panels[axis].items():
                places = [place / scale for place in curve]
                marker, style = _BASELINES.get(model, ("o", "-"))
                shade, trained = colour(model), model not in _BASELINES
                if trained:
                    bounds = [
                        [getattr(one, side) if getattr(one, side) is not None else one.value for one in curve.values()]
                        for side in ("low", "high")
                    ]
                    panel.fill_between(places, *bounds, color=shade, alpha=0.16, linewidth=0)
                (handles[model],) = panel.plot(
                    places,
                    [one.value for one in curve.values()],
                    marker + style,
                    color=shade,
                    markerfacecolor=shade if trained else "white",
                    markersize=5 if trained else 4,
                    linewidth=1.8 if trained else 1.1,
                    zorder=3 if trained else 2,
                    label=label(model),
                )
            if axis != "tau":
                panel.xaxis.set_major_locator(
                    FixedLocator(sorted({p for curve in panels[axis].values() for p in curve}))
                )
                panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:g}"))
            ruled(panel, "y")
            panel.set_xlabel(AXIS_LABELS[axis])
        line[0].set_ylim(bottom=0)  # shared, and only now, when everything is drawn
        line[0].set_ylabel(f"{title}: {unit}")
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def lead_figure(panels: Mapping[str, Mapping[str, Mapping[str, Comparison]]], *, unit: str) -> Figure:
    """Differences under every setting: a panel for each title, a row for each setting, a dot for each rival.

    ``panels`` hold :func:`wbcore.tables.maskcut_tables.leads` by title and by the model that is subtracted, whose
    colour the dot has; it is filled where the whole interval lies on one side of zero.
    """
    endings = list(dict.fromkeys(ending for rivals in panels.values() for found in rivals.values() for ending in found))
    size = 3.7 * len(panels) + 1.4, 0.31 * len(endings) + 1.5
    figure, grid = plt.subplots(1, len(panels), figsize=size, squeeze=False, sharey=True)
    handles = {}
    for axis, (title, rivals) in zip(grid[0], panels.items(), strict=True):
        axis.axvline(0, color="#5b6068", linewidth=1, zorder=0)
        for number, (rival, found) in enumerate(rivals.items()):
            shift = 0.72 / len(rivals) * (number - (len(rivals) - 1) / 2)
            for ending, comparison in found.items():
                value, low, high, _ = comparison.difference
                row = endings.index(ending) + shift
                low, high = (value if bound is None else bound for bound in (low, high))
                axis.plot([100 * low, 100 * high], [row, row], color=colour(rival), linewidth=1.6)
                (handles[rival],) = axis.plot(
                    100 * value,
                    row,
                    "o",
                    color=colour(rival),
                    markersize=4.5,
                    markerfacecolor=colour(rival) if low > 0 or high < 0 else "white",
                    label=f"less {label(rival)}",
                )
        for row in range(1, len(endings), 2):
            axis.axhspan(row - 0.5, row + 0.5, color="#f4f5f7", zorder=-1)
        axis.set_title(title)
        axis.set_xlabel(unit)
        ruled(axis, "x")
    grid[0, 0].set_yticks(range(len(endings)), [setting_label(ending) for ending in endings])
    grid[0, 0].set_ylim(len(endings) - 0.5, -0.5)
    solid = [
        Line2D([], [], marker="o", linestyle="-", color=colour(rival), label=handle.get_label())
        for rival, handle in handles.items()
    ]
    figure.legend(handles=solid, loc="outside lower center", ncols=len(solid), frameon=False, fontsize=9)
    return figure
