"""Pictures of what segmentation costs: curves over the threshold, speed, savings, and mIoU against cost.

One colour for each way of saving tokens, one marker for each backbone.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox, BboxBase

from wbcore.labels import VARIANT_LABELS, backbone_label, data_label, label, variant_label
from wbcore.metrics.intervals import Interval
from wbcore.plots import VARIANT_COLOURS, ruled
from wbcore.records import Record, SegmenterName, segmenter_of, select
from wbcore.tables.segmentation_curves import AXES, FPS, MIOU, THROUGHPUT, Curve, Point, Saving, pareto, timed_on

MARKERS = {
    "vit_tiny": "o",
    "vit": "s",
    "crate": "D",
    "vit_small": "^",
    "vit_base": "v",
    "vit_large": "P",
    "deit_small": "<",
    "deit_base": ">",
}
"""One for each backbone."""
_FAINT, _LINE = "#b9bec6", "#5b6068"
_OFFSETS = [
    (dx, dy) for radius in (7, 11, 16, 22, 30) for dx, dy in product((radius, -radius, 0), repeat=2) if dx or dy
]
"""Where a label may stand beside its point, nearest first, in typographical points; a line leads to one further off."""
_NEAR = 11


def _name(model: str) -> SegmenterName:
    found = segmenter_of(model)
    assert found is not None, f"{model} names no segmentation model"
    return found


def _look(name: SegmenterName) -> dict[str, Any]:
    """Colour and marker; hollow where dense weights do what they were not trained for."""
    shade = VARIANT_COLOURS["dovit" if name.setting == "untuned" else name.variant]
    marker = MARKERS.get(name.backbone, "X")
    return {"color": shade, "marker": marker, "markerfacecolor": "white" if name.setting == "untuned" else shade}


def _frame(axis: Axes, title: str, across: str, up: str) -> None:
    axis.set_title(title)
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    ruled(axis)


def _legend(figure: Figure, names: Sequence[SegmenterName]) -> None:
    """Below the panels: the ways of saving tokens that are shown, and the backbones."""
    ways = {_look(name)["color"]: name.variant for name in names if name.setting != "untuned"}
    handles: list[Artist] = [Patch(color=shade, label=VARIANT_LABELS.get(way, way)) for shade, way in ways.items()]
    if any(name.setting == "untuned" for name in names):
        look = _look(SegmenterName("setr", "vit_tiny", "dense", "untuned"))
        handles.append(Line2D([], [], linestyle="", label=variant_label("dense", "untuned"), **look))
    backbones = dict.fromkeys(name.backbone for name in names)
    handles += [
        Line2D([], [], linestyle="", marker=MARKERS.get(one, "X"), color=_FAINT, label=backbone_label(one))
        for one in backbones
        if len(backbones) > 1
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5), frameon=False)


def threshold_curves(panels: Mapping[tuple[str, str], Mapping[str, Curve]]) -> Figure:
    """Curves over ξ by (data set, metric): a row for each data set, intervals as bands, dense models as level lines."""
    data, metrics = (list(dict.fromkeys(place[axis] for place in panels)) for axis in (0, 1))
    size = 3.5 * max(len(metrics), 1), 2.9 * max(len(data), 1) + 0.4
    figure, grid = plt.subplots(max(len(data), 1), max(len(metrics), 1), figsize=size, squeeze=False)
    for row, column in product(range(grid.shape[0]), range(grid.shape[1])):
        axis, place = grid[row, column], (data[row], metrics[column]) if panels else ("", "")
        if place not in panels:
            axis.set_axis_off()
            continue
        for model, curve in panels[place].items():
            name, places, shown = _name(model), list(curve), list(curve.values())
            low, high = zip(*(_bounds(one) for one in shown), strict=True)
            look = _look(name)
            axis.fill_between(places, low, high, color=look["color"], alpha=0.14, linewidth=0)
            level = name.variant == "dense"
            line = {**look, "marker": "", "linestyle": "--"} if level else {**look, "linestyle": "-"}
            axis.plot(places, [one.value for one in shown], markersize=5, **line)
            if level:  # its backbone is said in the margin: inside, a marker would stand for a measurement at some ξ
                margin = axis.get_yaxis_transform()
                axis.plot(1.02, shown[-1].value, markersize=5, clip_on=False, transform=margin, **look)
        _frame(axis, data_label(place[0]), "ξ", AXES.get(place[1], place[1]))
    _legend(figure, [_name(model) for curves in panels.values() for model in curves])
    return figure


def run_differences(found: Mapping[str, tuple[Sequence[float], Interval]], *, unit: str) -> Figure:
    """What training again says of differences: a row for each model, a dot for each run, a bar for the 95 % interval of
    the mean over other runs.  ``found``: :func:`wbcore.tables.segmentation_tables.run_differences`."""
    figure, axis = plt.subplots(figsize=(7, 0.5 * len(found) + 1.3))
    for row, (model, (each, interval)) in enumerate(found.items()):
        shade = VARIANT_COLOURS["dense" if _name(model).variant == "dense" else "dovit"]
        axis.plot(_bounds(interval), [row, row], color=shade, alpha=0.25, linewidth=9, solid_capstyle="butt")
        axis.plot([interval.value] * 2, [row - 0.2, row + 0.2], color=shade, linewidth=2)
        axis.plot(each, [row] * len(each), "o", color=shade, markersize=7, markeredgecolor="white")
    axis.axvline(0, color=_LINE, linewidth=1)
    axis.set_yticks(range(len(found)), [label(model) for model in found])
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set_xlabel(unit)
    ruled(axis, "x")
    return figure


def speed_bars(records: Sequence[Record], models: Sequence[str]) -> Figure:
    """Images per second of ``models``: a row of panels wherever they were timed, eight at once and one by one.

    Lines are quartiles of the timings; upright, the same weights with all tokens, in turn with the bar; beside it, how
    many times faster the bar is.
    """
    timings = [one for model in models for one in select(records, model=model)]
    places = sorted({timed_on(one) for one in timings})
    shown = {place: [model for model in models if _timed(timings, model, place)] for place in places}
    heights = [max(len(found), 1) for found in shown.values()] or [1]
    figure, grid = plt.subplots(
        len(heights),
        2,
        figsize=(9, 0.34 * sum(heights) + 1.0 * len(heights) + 0.5),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for axes, place in zip(grid, places, strict=False):
        for axis, metric in zip(axes, (THROUGHPUT, FPS), strict=True):
            for row, model in enumerate(shown[place]):
                _bar(axis, row, model, [one for one in timings if (one.model, timed_on(one)) == (model, place)], metric)
            _frame(axis, "", AXES[metric], "")
            axis.set_ylim(len(shown[place]) - 0.4, -0.6)
            axis.margins(x=0.16)
            axis.grid(visible=False, axis="y")
            axis.set_yticks([])
        axes[0].set_title(place, loc="left")
        names = [_name(model) for model in shown[place]]
        labels = [f"{backbone_label(name.backbone)}, {variant_label(name.variant, name.setting)}" for name in names]
        if len({name.decoder for name in names}) > 1:
            labels = [label(model) for model in shown[place]]
        axes[0].set_yticks(range(len(labels)), labels)
    return figure


def _timed(records: Sequence[Record], model: str, place: str) -> bool:
    return any(one.model == model and timed_on(one) == place for one in records)


def _bar(axis: Axes, row: int, model: str, records: Sequence[Record], metric: str) -> None:
    for one in select(records, metric=metric):
        axis.barh(row, one.value, color=_look(_name(model))["color"], height=0.62)
        if "dense" in one.settings:
            axis.plot(
                [one.settings["dense"]] * 2, [row - 0.42, row + 0.42], color=VARIANT_COLOURS["dense"], linewidth=2
            )
        low, high = _bounds(one.interval)
        axis.plot([low, high], [row, row], color="#14171a", linewidth=1.2)
        for gain in select(records, metric=metric.replace("speed", "speedup")):
            axis.annotate(
                f"× {gain.value:.2f}",
                (max(high, one.settings.get("dense", 0)), row),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )


def saving_scatter(panels: Mapping[str, Sequence[Saving]]) -> Figure:
    """Time saved against multiply-accumulates saved: the solid line is what they promise, the dashed one 0.9 of it.

    Large markers are larger images than those of training.
    """
    columns = min(max(len(panels), 1), 3)
    rows = -(-max(len(panels), 1) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(4.1 * columns, 4.1 * rows + 0.2), squeeze=False)
    for axis in grid.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, found) in zip(grid.flat, sorted(panels.items()), strict=False):
        ends = [0.0, *(one.macs for one in found)]
        span = [min(ends), max(ends)]
        axis.plot(span, span, color=_LINE, linewidth=1)
        axis.plot(span, [0.9 * end for end in span], color=_LINE, linewidth=1, linestyle="--")
        for one in found:
            look = _look(_name(one.model))
            axis.plot([one.macs] * 2, _bounds(one.time), color=look["color"], alpha=0.45, linewidth=1.5)
            axis.plot(one.macs, one.time.value, linestyle="", markersize=10 if one.enlarged else 6, **look)
        axis.axhline(0, color=_FAINT, linewidth=1, zorder=0)
        _frame(axis, title, "MACs saved (%)", "time saved (%)")
    _legend(figure, [_name(one.model) for found in panels.values() for one in found])
    return figure


def cost_plane(panels: Mapping[tuple[str, str], Sequence[Point]]) -> Figure:
    """mIoU against cost by (title, metric): one way of saving tokens is a line, the grey steps are what no other
    model of the panel beats."""
    titles, costs = (list(dict.fromkeys(place[axis] for place in panels)) for axis in (0, 1))
    shape = max(len(titles), 1), max(len(costs), 1)
    size = 5.2 * shape[1], 4 * shape[0] + 0.5
    figure, grid = plt.subplots(*shape, figsize=size, squeeze=False)
    for (row, title), (column, cost) in product(enumerate(titles), enumerate(costs)):
        _frame(grid[row, column], title, AXES.get(cost, cost), AXES[MIOU])
        _draw_points(grid[row, column], panels.get((title, cost), ()))
    for axis in grid.flat if not panels else ():
        axis.set_axis_off()
    _legend(figure, [point.name for points in panels.values() for point in points])
    figure.draw_without_rendering()  # where panels end up decides where labels fit
    for (row, title), (column, cost) in product(enumerate(titles), enumerate(costs)):
        label_ends(grid[row, column], panels.get((title, cost), ()))
    return figure


def _draw_points(axis: Axes, points: Sequence[Point]) -> None:
    front, cheapest_first = pareto(points), sorted(points, key=lambda one: one.cost.value)
    if front:
        steps = [*front, front[-1]._replace(cost=cheapest_first[-1].cost)]
        costs, scores = zip(*map(_place, steps), strict=True)
        axis.step(costs, scores, where="post", color=_FAINT, zorder=1)
    for point in cheapest_first:
        look = _look(point.name)
        axis.plot([point.cost.value] * 2, _bounds(point.score), color=look["color"], alpha=0.25, zorder=2)
        axis.plot(*_place(point), linestyle="", markersize=6, zorder=4, **look)
    for family in _families(points):
        costs, scores = zip(*map(_place, family), strict=True)
        axis.plot(costs, scores, color=_look(family[0].name)["color"], linewidth=1, zorder=3)
    axis.margins(0.09)


def _families(points: Sequence[Point]) -> list[list[Point]]:
    """The points of one way of saving tokens with one backbone, in the order of ξ, ρ or the share that is merged.

    A model whose setting is not in its name ran with one that another point has, so it belongs to no line of several.
    """
    found: dict[tuple[str, ...], list[Point]] = {}
    for point in sorted(points, key=lambda one: float(_digits(one.name) or 0)):
        if point.name.setting != "untuned":
            found.setdefault(point.name[:3], []).append(point)
    return [[one for one in family if _digits(one.name)] or family[:1] for family in found.values()]


def _place(point: Point) -> tuple[float, float]:
    return point.cost.value, point.score.value


def label_ends(axis: Axes, points: Sequence[Point]) -> None:
    """Write beside both ends of each way of saving tokens with what its model was run there.

    A label stands where it covers no point, no other label and, if that can be, no line; a thin line leads to one that
    stands further off.  The figure must have been laid out.
    """
    centres = axis.transData.transform([_place(point) for point in points]) if points else ()
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    paths = [line.get_transform().transform_path(line.get_path()) for line in axis.lines]
    swept = [[point for point in family if _setting(point.name)] for family in _families(points)]
    for point in (end for family in swept if family for end in dict.fromkeys((family[0], family[-1]))):
        shade = [0.7 * part for part in to_rgb(_look(point.name)["color"])]
        lead = {"arrowstyle": "-", "color": shade, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
        note = axis.annotate(
            _setting(point.name), _place(point), (0, 0), textcoords="offset points", fontsize=8.5, arrowprops=lead
        )
        note.set(in_layout=False, va="center", color=shade, path_effects=[withStroke(linewidth=2, foreground="white")])
        boxes = [_moved(note, offset) for offset in _OFFSETS]
        covered = [
            8 * (sum(box.overlaps(other) for other in taken) + (not _within(box, axis.bbox)))
            + sum(path.intersects_bbox(box, filled=False) for path in paths)
            for box in boxes
        ]
        offset = _OFFSETS[covered.index(min(covered))]
        taken.append(_moved(note, offset))
        if note.arrow_patch is not None:
            note.arrow_patch.set_visible(max(map(abs, offset)) > _NEAR)


def _moved(note: Annotation, offset: tuple[float, float]) -> Bbox:
    """Where a label is when it stands at ``offset``."""
    across = offset[0]
    note.set(position=offset, ha="center" if across == 0 else "left" if across > 0 else "right")
    return text_box(note)


def text_box(note: Annotation) -> Bbox:
    """Where a note's text is, without the line that leads to it."""
    note.get_window_extent()  # brings its place up to date
    return Text.get_window_extent(note)


def _within(box: Bbox, other: BboxBase) -> bool:
    return bool(other.x0 <= box.x0 and box.x1 <= other.x1 and other.y0 <= box.y0 and box.y1 <= other.y1)


def _setting(name: SegmenterName) -> str:
    """ξ, ρ or the share that is merged; the colour says which."""
    digits = _digits(name)
    if not digits:
        return ""
    return f"{digits} %" if name.variant == "tome" else f"{int(digits) / 10 ** len(digits):g}"


def _digits(name: SegmenterName) -> str:
    return re.sub(r"\D", "", name.setting)


def _bounds(interval: Interval) -> tuple[float, float]:
    value, low, high, _ = interval
    return value if low is None else low, value if high is None else high
