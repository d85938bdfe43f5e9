"""Figures and tables of how far coarse segmentation depends on its reading; drawn from records, nothing is computed."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wbcore.errors import InputError
from wbcore.labels import data_label, label
from wbcore.plots import colour, ruled
from wbcore.records import Record, select

LEARNED = ("crate", "crate_mlp", "crate_mhsa", "vit", "vit_tiny_pretrained", "vit_tiny_pretrained_clean")
BANDED = ("crate", "vit", "vit_tiny_pretrained")
BASELINES = ("centred_blob", "untrained_crate", "untrained_vit", "random_heads")
"""What has learned nothing: in every figure."""
_OTHER_LINES = {
    "vit_tiny_pretrained_clean": ("vit_tiny_pretrained", (0, (4, 1.5))),
    "untrained_crate": ("crate", (0, (1, 1.5))),
    "untrained_vit": ("vit", (0, (1, 1.5))),
    "centred_blob": ("centred_blob", "-"),
    "random_heads": ("random_heads", (0, (1, 1.5))),
}
"""Whose colour they have, and how their lines are broken."""
STEP_LABELS = {
    "paper": "the paper's reading",
    "pixels": "at pixels",
    "fixed_head": "one fixed head",
    "own_layer": "own layer",
    "own_share": "own share of mass",
    "own_rule": "own rule",
}
CHANGE_LABELS = {
    "pixels": "60 % of mass, last layer but one, best head",
    "mass10": "10 % of mass",
    "mass90": "90 % of mass",
    "entries20": "20 % of entries",
    "entries60": "60 % of entries",
    "last_layer": "last layer",
    "best_layer": "own layer",
    "fixed_head": "one fixed head",
    "mean_of_heads": "mean of heads",
    "grid12": "12 × 12 tokens",
    "grid18": "18 × 18 tokens",
}
"""The reading at pixels, and one change of it each."""


class Line(NamedTuple):
    """How a subject is drawn."""

    colour: str
    style: Any
    width: float


def line(model: str) -> Line:
    """Learned subjects have a full, wide line; what a subject shares with another has its colour and a broken line."""
    whose, style = _OTHER_LINES.get(model, (model, "-"))
    return Line(colour(whose), style, 2.0 if model in LEARNED else 1.5)


def overview(records: Sequence[Record], data: str) -> dict[str, dict[str, Any]]:
    """What the records of the paper's reading hold of all readings, by subject, in the order of the figures.

    Raises: InputError if nothing was recorded on these data.
    """
    found = {one.model: one.settings for one in select(records, metric="reading/paper", data=data)}
    if not found:
        raise InputError(f"no reading is recorded on {data}: record it with `wbcore study sensitivity`")
    return {model: found[model] for model in (*LEARNED, *BASELINES) if model in found}


def steps(records: Sequence[Record], data: Sequence[str]) -> Figure:
    """IoU from the paper's reading to each subject's own, one freedom more at each step; a panel for each data set."""
    figure, axes = plt.subplots(1, len(data), figsize=(2.9 * len(data), 3.6), squeeze=False)
    for axis, name in zip(axes[0], data, strict=True):
        for model, settings in overview(records, name).items():
            intervals = [settings["readings"][step]["value"] for step in STEP_LABELS]
            _band(axis, range(len(intervals)), intervals, model)
        _whole_image(axis, records, name)
        axis.set_xticks(range(len(STEP_LABELS)), STEP_LABELS.values(), fontsize=8, rotation=60, ha="right")
        axis.tick_params(axis="x", pad=1)
        axis.axvspan(-0.35, 0.35, color="#f1f2f4", zorder=-2, linewidth=0)
        _finish(axis, data_label(name), "")
    axes[0, 0].set_ylabel("IoU (%)")
    _legend(figure, records, data)
    return figure


def dials(records: Sequence[Record], data: Sequence[str], *, own: bool = False) -> Figure:
    """IoU over the share of the mass, over the share of the entries, and over the layers (60 % of the mass).

    At pixels, best head, and for the shares in the last layer but one, or (``own``) with each subject's own layer and
    fixed head; a column for each data set.
    """
    kind = "by_share_own" if own else "by_share"
    rows = {"mass": "share of the mass kept (%)", "entries": "share of the entries kept (%)"}
    figure, axes = plt.subplots(3, len(data), figsize=(3.0 * len(data), 5.6), squeeze=False)
    for column, name in enumerate(data):
        shown = overview(records, name)
        for row, (rule, called) in enumerate(rows.items()):
            for model, settings in shown.items():
                _band(axes[row, column], [100 * share for share in settings["shares"]], settings[kind][rule], model)
            axes[row, column].axvline(60, color="#333333", linewidth=0.8, linestyle=":", zorder=0)
            axes[row, column].set_xticks(range(10, 100, 20))
            _whole_image(axes[row, column], records, name)
            _finish(axes[row, column], "" if row else data_label(name), called)
        for model, settings in shown.items():
            intervals = settings["by_layer"]["mass60"]
            places = [100 * layer / len(intervals) for layer in range(1, len(intervals) + 1)]
            if len(intervals) == 1:  # what has no layers is a level line
                places, intervals = [100 / 12, 100], 2 * intervals
            _band(axes[2, column], places, intervals, model)
        _whole_image(axes[2, column], records, name)
        _finish(axes[2, column], "", "layer (% of the depth)")
    for row in axes:
        row[0].set_ylabel("IoU (%)")
    _legend(figure, records, data)
    return figure


def surfaces(records: Sequence[Record], *, data: str) -> Figure:
    """IoU of each subject over layer and share with one fixed head, by mass above and by entries below.

    All on one scale.  A square is the paper's place, a star the subject's own best one by this rule, both as chosen on
    other images; a white line runs where the centred blob is at its own best.
    """
    shown = overview(records, data)
    level = 100 * shown["centred_blob"]["readings"]["own_rule"]["value"][0]
    models = [model for model in (*LEARNED, "untrained_crate") if model in shown]
    top = max(np.max(shown[model]["surface"][rule]) for model in models for rule in ("mass", "entries")) / 10
    figure, axes = plt.subplots(2, len(models), figsize=(1.08 * len(models) + 1.0, 3.2), squeeze=False)
    image = None
    for column, model in enumerate(models):
        settings = shown[model]
        for row, rule in enumerate(("mass", "entries")):
            axis, values = axes[row, column], np.array(settings["surface"][rule]) / 10
            image = axis.imshow(values, cmap="viridis", vmin=0, vmax=top, aspect="auto", origin="lower")
            axis.contour(values, levels=[level], colors="white", linewidths=1.4)
            _mark_places(axis, settings, rule)
            axis.set_xticks(range(1, 10, 4), [f"{100 * share:.0f}" for share in settings["shares"][1::4]], fontsize=8)
            step = 1 if len(values) <= 6 else 3
            axis.set_yticks(range(step - 1, len(values), step), range(step, len(values) + 1, step), fontsize=8)
            if row == 0:
                axis.set_title(label(model).replace(", ImageNet", "").replace(", ", ",\n"), fontsize=8)
        axes[1, column].set_xlabel("share kept (%)", fontsize=9)
    for row, called in enumerate(("by mass", "by entries")):
        axes[row, 0].set_ylabel(f"layer, {called}", fontsize=9)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, label="IoU (%)", shrink=0.8)
        bar.ax.axhline(level, color="white", linewidth=1.4)
    return figure


def _mark_places(axis: Axes, settings: Mapping[str, Any], rule: str) -> None:
    shares = settings["shares"]
    paper, own = settings["readings"]["pixels"], settings["readings"]["own_rule"]
    if rule == paper["rule"]:
        place = shares.index(paper["share"]), paper["layer"] - 1
        axis.plot(*place, "s", markersize=6, markerfacecolor="none", markeredgecolor="white", markeredgewidth=1.5)
    if rule == own["rule"]:
        place = shares.index(own["share"]), own["layer"] - 1
        axis.plot(*place, "*", markersize=9, markerfacecolor="#ff4fa3", markeredgecolor="white", markeredgewidth=0.8)


def lead_table(records: Sequence[Record], data: Sequence[str]) -> pd.DataFrame:
    """In how many percent of the readings one subject is ahead of another by its whole 95 % interval / neither is / the
    other is; in brackets the least, the median and the greatest lead in points.
    """
    rows: dict[str, dict[str, str]] = {}
    for name in data:
        for one in _leads(records, name):
            ahead, behind = one.model.split("_over_")
            leads = one.settings["quantiles"]
            least, median, greatest = (f"{leads[place] / 10:+.1f}" for place in (0, len(leads) // 2, -1))
            cell = f"{_verdicts(one.settings['decided'])} ({least}, {median}, {greatest})"
            rows.setdefault(f"{label(ahead)} > {label(behind)}", {})[data_label(name)] = cell
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–")


def choice_table(records: Sequence[Record], pair: str, data: Sequence[str]) -> pd.DataFrame:
    """The same of one pair, ``crate_over_vit``, for each value of each choice."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for name in data:
        for one in select(_leads(records, name), model=pair):
            for axis, values in one.settings["by_choice"].items():
                for value, counts in sorted(values.items(), key=lambda one: _number(one[0])):
                    rows.setdefault((axis, value.replace("_", " ")), {})[data_label(name)] = _verdicts(counts)
    index = pd.MultiIndex.from_tuples(rows, names=["choice", "value"])
    return pd.DataFrame(list(rows.values()), index=index)


def _number(value: str) -> float:
    """The number that a choice's value begins with, "5 %" before "10 %"; words, which have none, stay as they are."""
    found = re.match(r"[\d.]+", value)
    return float(found[0]) if found else 0.0


def _leads(records: Sequence[Record], data: str) -> list[Record]:
    return select(records, metric="reading/lead", data=data)


def _verdicts(counts: Sequence[int]) -> str:
    shares = (100 * count / sum(counts) for count in counts)
    return " / ".join(f"{share:.0f}" for share in shares).replace(" ", "\N{NO-BREAK SPACE}")


def own_table(records: Sequence[Record], data: Sequence[str], models: Sequence[str] = ()) -> pd.DataFrame:
    """Each subject's own best reading, as other images chose it, and its IoU beside that of the paper's reading.

    In percent, with half the width of the 95 % interval; *best head* is the same freedom with the best head.
    """
    rows = {}
    for name in data:
        found = {one.model: one.settings for one in select(records, metric="reading/paper", data=name)}
        order = models or [model for model in (*LEARNED, *BASELINES, "centred_blob_grid14") if model in found]
        for model in (model for model in order if model in found):
            readings = found[model]["readings"]
            own, layers = readings["own_rule"], len(found[model]["surface"]["mass"])
            rows[data_label(name), label(model)] = {
                "at pixels": _cell(readings["pixels"]["value"]),
                "own reading": _cell(own["value"]),
                "layer": f"{own['layer']} of {layers}" if layers > 1 else "–",
                "kept": f"{100 * own['share']:.0f} % of {own['rule']}",
                "head": f"{own['head']}",
                "with best head": _cell(readings["best_head"]["value"]),
                "with mean of heads": _cell(readings["mean_head"]["value"]),
            }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(rows, names=["data", "model"])
    return frame


def orders(records: Sequence[Record], data: Sequence[str]) -> pd.DataFrame:
    """The subjects from the highest IoU to the lowest under each change of the reading, with their percent."""
    cells: dict[str, dict[str, str]] = {data_label(name): {} for name in data}
    for name in data:
        shown = overview(records, name)
        for change, called in {**CHANGE_LABELS, "own_rule": "own layer, share, rule and head"}.items():
            found = [(interval[0], model) for model in shown if (interval := _changed(shown[model], change))]
            ranked = sorted(found, key=lambda one: -one[0])
            places = [f"{label(model)} {100 * value:.0f}".replace(" ", "\N{NO-BREAK SPACE}") for value, model in ranked]
            cells[data_label(name)][called] = " · ".join(places)
    return pd.DataFrame(cells)


def _changed(settings: Mapping[str, Any], change: str) -> Sequence[float] | None:
    """The interval of one change; None where a subject was not shown on that token grid."""
    if change.startswith("grid"):
        side = int(change.removeprefix("grid"))
        known = settings["grids"]
        return settings["by_grid"]["pixels"][known.index(side)] if side in known else None
    return settings["readings"][change]["value"]


def _cell(interval: Sequence[float]) -> str:
    value, low, high = (100 * bound for bound in interval)
    return f"{value:.1f} ± {(high - low) / 2:.1f}".replace(" ", "\N{NO-BREAK SPACE}")


def _band(axis: Axes, places: Sequence[float] | range, intervals: Sequence[Sequence[float]], model: str) -> None:
    """A curve in percent, of :data:`BANDED` with its intervals as a band: bands of all would cover each other."""
    values, low, high = (100 * np.array(bound) for bound in zip(*intervals, strict=True))
    drawn = line(model)
    if model in BANDED:
        axis.fill_between(places, low, high, color=drawn.colour, alpha=0.15, linewidth=0)
    axis.plot(places, values, color=drawn.colour, linestyle=drawn.style, linewidth=drawn.width)


def _whole_image(axis: Axes, records: Sequence[Record], data: str) -> None:
    """A level line where a mask of the whole image is."""
    for one in select(records, model="whole_image", metric="reading/own_rule", data=data):
        axis.axhline(100 * one.value, color="#333333", linewidth=0.9, linestyle=(0, (6, 3)), zorder=0)


def _finish(axis: Axes, title: str, name: str) -> None:
    axis.set(title=title, xlabel=name)
    axis.set_ylim(bottom=0)
    ruled(axis, "y")


def _legend(figure: Figure, records: Sequence[Record], data: Sequence[str]) -> None:
    models = dict.fromkeys(model for name in data for model in overview(records, name))
    handles = []
    for model in models:
        drawn = line(model)
        handles.append(
            Line2D([], [], color=drawn.colour, linestyle=drawn.style, linewidth=drawn.width, label=label(model))
        )
    handles.append(Line2D([], [], color="#333333", linestyle=(0, (6, 3)), linewidth=0.9, label=label("whole_image")))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4 if len(data) > 2 else 3, frameon=False, fontsize=8
    )
