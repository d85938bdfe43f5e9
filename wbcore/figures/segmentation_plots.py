"""Figures of token-pass: pictures of what stops, how much of each class goes on, and what single images cost."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from jaxtyping import Bool, Float, Integer, Shaped, UInt8
from matplotlib.colorbar import Colorbar
from matplotlib.colors import FuncNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from wbcore.data.example import VOID
from wbcore.labels import class_label
from wbcore.measuring.segmentation import Segmented
from wbcore.measuring.token_use import layers_run
from wbcore.models.dovit import SegmenterConfig

Colour = tuple[float, float, float]
Picture = Shaped[np.ndarray, "_h _w *_c"]
STAGES = ("#9fd8d3", "#3aa39c", "#0b5753", "#062f2d")
"""From the first decision to the last, the further the darker."""
_MARK = "#d1345b"
_GROUND = ("#2f6b3c", "#8c8f94", "#a8b968", "#6f4a2c")
"""Quiet colours for the first classes, which are stuff and cover most of an image."""
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_FROM_CONES = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_DOUBT = 1e-3
"""The least doubt 1 − q that is told from less."""


def class_colours(count: int) -> Float[np.ndarray, "c 3"]:
    """A colour for each class: four quiet ones, then each as unlike those of all classes before it as can be.

    Unlike is distance in Oklab, over the colours of husl at six lightnesses and two saturations; white is none of them.
    """
    rows = np.array(
        [
            colour
            for lightness in (0.25, 0.4, 0.55, 0.68, 0.8, 0.9)
            for saturation in (0.8, 0.4)
            for colour in sns.husl_palette(18, s=saturation, l=lightness)
        ]
    )
    ground = np.array([to_rgb(shade) for shade in _GROUND])
    places, known = _oklab(rows), _oklab(np.vstack([np.ones(3), ground]))
    apart = np.linalg.norm(places[:, None] - known, axis=-1).min(axis=1)
    chosen: list[int] = []
    for _ in range(count - len(ground)):
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return np.vstack([ground, rows[chosen]])[:count]


def _oklab(colours: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """sRGB from 0 to 1 in a space where equal distances look equally large.  Source: Ottosson, Oklab (2020)."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _FROM_CONES.T


def class_picture(labels: UInt8[np.ndarray, "h w"], *, classes: int) -> Float[np.ndarray, "h w 3"]:
    """Labels in their classes' colours; white where the class is unknown."""
    table = np.ones((VOID + 1, 3))
    table[:classes] = class_colours(classes)
    return table[labels]


def faded(image: UInt8[np.ndarray, "h w 3"], keep: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """An image with its colour where patches go on and a pale grey of itself where they have stopped."""
    colour = image / 255
    pale = 0.72 + 0.28 * colour.mean(axis=2, keepdims=True)
    return np.where(keep[..., None], colour, pale)


def sureness_norm() -> FuncNorm:
    """Confidences by how little doubt they leave, so that 0.9, 0.99 and 0.999 are as far apart as each other."""
    return FuncNorm((_certainty, _sureness), vmin=0.0, vmax=1 - _DOUBT)


def _certainty(sure: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    return -np.log10(np.clip(1 - np.asarray(sure, float), _DOUBT, 1))


def _sureness(certainty: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    return 1 - 10 ** -np.asarray(certainty, float)


def class_columns(predictions: Mapping[str, Sequence[Segmented]], *, classes: int) -> dict[str, list[Picture]]:
    """For :func:`scene_grid`: what models make of the same images, by title, and the truth.  White: unknown."""
    found = {
        title: [class_picture(one.prediction, classes=classes) for one in column]
        for title, column in predictions.items()
    }
    truth = [class_picture(_truth(one), classes=classes) for one in next(iter(predictions.values()))]
    return {**found, "truth": truth}


def class_legend(classes: Sequence[str], found: Sequence[Segmented]) -> dict[str, Colour]:
    """The names and colours of the classes that some prediction or some truth has."""
    colours = class_colours(len(classes))
    present = np.unique(np.concatenate([labels.ravel() for one in found for labels in (one.prediction, _truth(one))]))
    return {class_label(classes[int(number)]): tuple(colours[number]) for number in present if number != VOID}


def _truth(found: Segmented) -> UInt8[np.ndarray, "h w"]:
    known = found.example.semantic
    return np.full_like(found.prediction, VOID) if known is None else known


def decision_columns(found: Sequence[Segmented]) -> tuple[dict[str, list[Picture]], dict[str, list[str]]]:
    """For :func:`scene_grid`: the confidence at each decision, and the image with what has stopped by then faded; as
    notes, the share of the patches that goes on.  Source: DoViT, Fig. 5."""
    columns, notes = {}, {}
    for number in range(len(found[0].keep)):
        kept = f"kept $M^{number + 1}$"
        columns[f"confidence $q^{number + 1}$"] = [one.sure[number] for one in found]
        columns[kept] = [faded(one.picture, one.at_pixels(one.keep[number])) for one in found]
        notes[kept] = [f"{100 * one.keep[number].mean():.0f} %" for one in found]
    return columns, notes


def layer_picture(run: Integer[np.ndarray, "h w"], config: SegmenterConfig) -> Float[np.ndarray, "h w 3"]:
    """How many layers each place went through, the more the darker."""
    return np.array([to_rgb(shade) for shade in STAGES])[np.searchsorted(_ends(config), run)]


def layer_columns(
    found: Mapping[str, Sequence[Segmented]], config: SegmenterConfig
) -> tuple[dict[str, list[Picture]], dict[str, list[str]]]:
    """For :func:`scene_grid`: how many layers each patch went through, by title; as notes, what the image cost."""
    pictures = {
        title: [layer_picture(one.at_pixels(layers_run(one, config.decisions)), config) for one in column]
        for title, column in found.items()
    }
    notes = {title: [f"{one.cost.whole.total / 1e9:.3f} GMACs" for one in column] for title, column in found.items()}
    return pictures, notes


def layer_legend(config: SegmenterConfig) -> dict[str, Colour]:
    """The colours of :func:`layer_picture`."""
    *some, whole = _ends(config)
    return dict(
        zip(
            [*(f"{end} layer{'s' * (end > 1)}" for end in some), f"all {whole} layers"],
            map(to_rgb, STAGES),
            strict=True,
        )
    )


def _ends(config: SegmenterConfig) -> list[int]:
    return [*config.decisions, config.backbone.depth]


def scene_grid(
    columns: Mapping[str, Sequence[Picture]],
    *,
    rows: Sequence[str] = (),
    notes: Mapping[str, Sequence[str]] | None = None,
    threshold: float | None = None,
    legend: Mapping[str, Colour] | None = None,
    side: float = 1.3,
) -> Figure:
    """Pictures of the same scenes along the rows, one column for each title, each in its true proportions.

    Pictures are RGB, or maps of confidence (one number for each patch), which share one colour bar on which
    ``threshold`` is marked.  ``notes`` stand under the pictures of a column, the names of the ``rows`` beside the first
    picture of each; ``legend`` names colours below.
    """
    first = next(iter(columns.values()))
    height = max(0.94 * side * len(picture) / picture.shape[1] for picture in first) + (0.22 if notes else 0.06)
    beside = 0.75 if any(picture.ndim == 2 for pictures in columns.values() for picture in pictures) else 0.0
    size = side * len(columns) + beside + (0.25 if rows else 0), len(first) * height + (0.3 if legend is None else 0.65)
    figure, axes = plt.subplots(len(first), len(columns), figsize=size, squeeze=False)
    maps = None
    for column, (title, pictures) in enumerate(columns.items()):
        axes[0, column].set_title(title, fontsize=9)
        for row, (axis, picture) in enumerate(zip(axes[:, column], pictures, strict=True)):
            axis.set(xticks=[], yticks=[], anchor="N")
            axis.spines[:].set_visible(False)
            if picture.ndim == 2:
                maps = axis.imshow(picture, cmap="viridis", norm=sureness_norm(), interpolation="nearest")
            else:
                axis.imshow(picture, interpolation="nearest" if len(picture) < 64 else "lanczos")
            if notes and title in notes:
                axis.set_xlabel(notes[title][row], fontsize=8, labelpad=2)
    for axis, name in zip(axes[:, 0], rows, strict=False):
        axis.set_ylabel(name, fontsize=9)
    if maps is not None:
        high = min(1, 2.6 / size[1])
        bar = figure.colorbar(
            maps, ax=axes, fraction=0.3 / size[0], pad=0.1 / size[0], shrink=high, aspect=16, panchor=False
        )
        _mark_sureness(bar, threshold)
    if legend:
        handles = [Patch(facecolor=shade, label=name) for name, shade in legend.items()]
        columns_of_legend = min(len(handles), max(3, int(size[0] / 1.2)))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns_of_legend, frameon=False, fontsize=8)
    return figure


def _mark_sureness(bar: Colorbar, threshold: float | None) -> None:
    marks = [0.0, 0.5, 0.9, 0.99, 0.999]
    bar.set_ticks(marks, labels=[f"{mark:g}" for mark in marks])
    bar.ax.tick_params(labelsize=8)
    bar.set_label("confidence $q$", fontsize=9)
    if threshold is not None and threshold < 1:
        bar.ax.axhline(threshold, color=_MARK, linewidth=2)
        style = {"textcoords": "offset points", "ha": "right", "va": "center", "color": _MARK, "fontsize": 11}
        bar.ax.annotate("ξ", (0, threshold), (-3, 0), **style)
