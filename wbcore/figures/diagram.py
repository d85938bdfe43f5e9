"""One layer of CRATE, drawn from what it did to one image.  Nothing is computed here but where things are drawn."""

import math

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from wbcore.figures.drawing import ACCENT, INK, QUIET, Sheet, thousands
from wbcore.measuring.stages import LayerStages

WIDTH, HEIGHT = 10.0, 6.05
"""Inches; all places below are in inches from the lower left corner."""

_MSSA, _ISTA, _NORM = "#e8f1f8", "#fdf1e0", "#eceef1"
_MIDDLE, _TALL = 4.2, 2.1
"""Height of the line along which everything flows, and the height of a strip of tokens."""
_NUMBERS = 2.88
"""Height of the first line of numbers."""
_SIGNED = LinearSegmentedColormap.from_list(
    "signed", [(0, "#2166ac"), (0.5, "#d3e4f1"), (0.5, "#fbdccf"), (1, "#a50f20")]
).with_extremes(bad="white")

EQUATIONS = {
    "MSSA": (
        r"$\mathrm{MSSA}(Z\,|\,U)=\frac{p}{(N+1)\,\varepsilon^2}\,\sum_{k}\,U_k\,(U_k^*Z)\,"
        r"\mathrm{softmax}\left((U_k^*Z)^*(U_k^*Z)\right)$",
        r"$Z-\kappa\,\nabla R^c\approx\left(1-\frac{\kappa\,p}{(N+1)\varepsilon^2}\right)Z"
        r"+\frac{\kappa\,p}{(N+1)\varepsilon^2}\,\mathrm{MSSA}(Z\,|\,U)$",
        r"$Z'=Z+\mathrm{MSSA}(Z\,|\,U)$",
    ),
    "ISTA": (
        r"$\mathrm{ISTA}(Z'\,|\,D)=\mathrm{ReLU}\left(Z'+\eta\,D^*(Z'-DZ')-\eta\lambda\mathbf{1}\right)$",
        r"$Z''=\mathrm{ISTA}(Z'\,|\,D)$",
        r"$\mathrm{LASSO}\,(A)=\frac{1}{2}\Vert Y-DA\Vert^2+\lambda\Vert A\Vert_1,\;\;Y=\mathrm{LN}(Z')$",
    ),
}
"""The paper's equations (5), (6), (8) and (7), (8) below the two halves, and what a step of ISTA is to lower.  The sum
over k is Eq. (5)'s block matrix."""


def layer_diagram(image: UInt8[np.ndarray, "_h _w 3"], stages: LayerStages) -> Figure:
    """From left to right: the image on its token grid, Z, LayerNorm, MSSA, Z′, LayerNorm, ISTA, Z″, with their numbers.

    A strip has one row for each token, class token first, and one column for each channel; white is exactly
    zero, red above, blue below, darkest for the largest 2 % of its magnitudes.  Strips and maps have scales of their
    own.

    Source: CRATE, Fig. 2 (right), with LayerNorm as in Algorithm 1.
    """
    sheet = Sheet(WIDTH, HEIGHT)
    rows, cols = stages.attention.shape[1:]

    picture = sheet.inset(0.12, _MIDDLE - 0.65, 1.3, 1.3)
    picture.imshow(image, extent=(0, cols, rows, 0), interpolation="lanczos", aspect="auto")
    picture.vlines(range(1, cols), 0, rows, color="white", linewidth=0.6, alpha=0.75)
    picture.hlines(range(1, rows), 0, cols, color="white", linewidth=0.6, alpha=0.75)

    strips = {"$Z$": (1.8, stages.before), "$Z'$": (5.43, stages.between), "$Z''$": (8.75, stages.after)}
    for title, (left, tokens) in strips.items():
        _matrix(sheet.inset(left, _MIDDLE - _TALL / 2, 0.98, _TALL), tokens)
        sheet.write(left + 0.49, _MIDDLE + _TALL / 2 + 0.16, title, size=13)

    for left in (3.0, 6.63):
        sheet.box(left, _MIDDLE - 0.62, 0.26, 1.24, _NORM)
        sheet.write(left + 0.13, _MIDDLE, "LayerNorm", size=9, rotation=90, color=QUIET)
    for left, shade, name, note in (
        (3.44, _MSSA, "MSSA", "class token's maps"),
        (7.05, _ISTA, "ISTA", "dictionary $D$"),
    ):
        sheet.box(left, _MIDDLE - _TALL / 2, 1.34, _TALL, shade)
        sheet.write(left + 0.67, _MIDDLE + 0.88, name, size=12, weight="bold")
        sheet.write(left + 0.67, _MIDDLE + 0.63, note, size=9, color=QUIET)
    _maps(sheet, stages.attention, centre=(4.11, _MIDDLE - 0.26))
    _matrix(sheet.inset(7.12, _MIDDLE - 0.86, 1.2, 1.2), stages.dictionary)

    _flow(sheet, stages.layer)
    _numbers(sheet, stages)
    _equations(sheet)
    return sheet.figure


def _maps(sheet: Sheet, maps: Float[np.ndarray, "heads rows cols"], *, centre: tuple[float, float]) -> None:
    """One small map for each head, row by row, in a space that is a little higher than wide."""
    across = math.ceil(math.sqrt(len(maps) * 2 / 3))
    down = math.ceil(len(maps) / across)
    side, gap = min(1.26 / across, 1.44 / down), 0.05
    for head, heat in enumerate(maps):
        row, col = divmod(head, across)
        left, low = centre[0] + side * (col - across / 2), centre[1] + side * (down / 2 - row - 1)
        axis = sheet.inset(left + gap / 2, low + gap / 2, side - gap, side - gap)
        axis.imshow(heat, cmap="viridis", interpolation="nearest", aspect="auto")


def _flow(sheet: Sheet, layer: int) -> None:
    """The arrows, the skip around MSSA and the sum behind it."""
    plus, top = 5.08, _MIDDLE + 1.24
    for start, end in ((1.45, 1.78), (2.8, 2.99), (3.27, 3.43), (4.8, plus - 0.11), (plus + 0.11, 5.41)):
        sheet.arrow((start, _MIDDLE), (end, _MIDDLE))
    for start, end in ((6.43, 6.62), (6.9, 7.04), (8.41, 8.73)):
        sheet.arrow((start, _MIDDLE), (end, _MIDDLE))
    sheet.canvas.plot(plus, _MIDDLE, "o", markersize=14, markerfacecolor="white", markeredgecolor=INK)
    sheet.write(plus, _MIDDLE, "+", size=12)
    sheet.canvas.plot([2.88, 2.88, plus], [_MIDDLE, top, top], color=INK, linewidth=1.3, solid_joinstyle="round")
    sheet.arrow((plus, top + 0.008), (plus, _MIDDLE + 0.11))
    sheet.write(4.11, top + 0.13, "skip", size=9.5, color=QUIET)
    sheet.write(0.12, HEIGHT - 0.25, f"CRATE, layer {layer}", size=13, weight="bold", ha="left")


def _numbers(sheet: Sheet, stages: LayerStages) -> None:
    """What was measured, in columns under what it was measured of; in bold what each half has changed."""
    (heads, rows, cols), (n, dim) = stages.attention.shape, stages.before.shape
    first, second, third = (f"non-zero {100 * share:.1f} %" for share in stages.nonzeros)
    start, end, feasible = (thousands(value) for value in (*stages.lasso, stages.lasso_feasible))
    way = {1: "embedding", 2: "layer 1"}.get(stages.layer, f"layers 1\N{EN DASH}{stages.layer - 1}")
    columns = {
        0.77: (f"{rows} × {cols} patches", "+ class token", f"→ {way}"),
        2.29: (f"{n} tokens × {dim}", first, f"$R^c$ = {stages.rate[0]:.1f} nats"),
        4.11: (f"{heads} subspaces of {stages.width}", "", f"{_signed(stages.rate[1] - stages.rate[0], 1)} nats"),
        5.92: (
            f"{n} × {dim}",
            second,
            f"$R^c$ = {stages.rate[1]:.1f} nats",
            f"LASSO$(Y)$ {start}",
            f"LASSO$(Y_{{+}})$ {feasible}",
        ),
        7.72: (
            f"{dim} × {dim}",
            f"{_signed(100 * (stages.nonzeros[2] - stages.nonzeros[1]), 1)} points",
            "",
            _signed(stages.lasso[1] - stages.lasso[0], 0),
            _signed(stages.lasso[1] - stages.lasso_feasible, 0),
        ),
        9.24: (f"{n} × {dim}", third, "", f"LASSO$(Z'')$ {end}"),
    }
    for centre, lines in columns.items():
        for row, line in enumerate(lines):
            change = line[:1] in ("+", "\N{MINUS SIGN}") and centre != 0.77
            style = {"color": ACCENT, "weight": "bold"} if change else {"color": INK if row else QUIET}
            sheet.write(centre, _NUMBERS - 0.235 * row, line, size=10, **style)


def _signed(value: float, digits: int) -> str:
    return ("+" if value > 0 else "\N{MINUS SIGN}") + thousands(abs(value), digits)


def _equations(sheet: Sheet) -> None:
    """The paper's equations under the half that they belong to."""
    for left, width, shade, half, numbers in (
        (0.12, 5.0, _MSSA, "MSSA", ("(5)", "(6)", "(8)")),
        (5.26, 4.62, _ISTA, "ISTA", ("(7)", "(8)", "")),
    ):
        sheet.box(left, 0.1, width, 1.6, shade)
        for row, (line, number) in enumerate(zip(EQUATIONS[half], numbers, strict=True)):
            height = 1.4 - 0.5 * row
            sheet.write(left + 0.12, height, line, size=11.5, ha="left", math_fontfamily="cm")
            sheet.write(left + width - 0.1, height, number, size=10, ha="right", color=QUIET)


def _matrix(axis: Axes, values: Float[np.ndarray, "n d"]) -> None:
    """White is zero and nothing else is; every entry is a block, so that no zero is coloured by its neighbours."""
    limit = float(np.quantile(np.abs(values), 0.98)) or 1.0
    axis.imshow(
        np.ma.masked_equal(values, 0), cmap=_SIGNED, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )
