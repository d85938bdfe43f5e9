"""A sheet to draw on, in inches from its lower left corner, and the pieces that the book's drawings are made of."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text

INK, QUIET, ACCENT = "#23272e", "#6a707a", "#0173b2"


class Sheet:
    """An empty figure of ``width`` × ``height`` inches; ``canvas`` covers it, pictures lie on top of it."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = plt.figure(figsize=(width, height), dpi=200, layout="none")
        self.canvas = self.figure.add_axes((0, 0, 1, 1))
        self.canvas.set(xlim=(0, width), ylim=(0, height))
        self.canvas.set_axis_off()

    def inset(self, left: float, low: float, width: float, height: float) -> Axes:
        """Framed axes without ticks."""
        place = (left / self.width, low / self.height, width / self.width, height / self.height)
        axis = self.figure.add_axes(place)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(visible=True, color=QUIET, linewidth=0.6)
        return axis

    def box(self, left: float, low: float, width: float, height: float, shade: str) -> None:
        """A filled rectangle with round corners."""
        style = "round,pad=0,rounding_size=0.06"
        patch = FancyBboxPatch((left, low), width, height, boxstyle=style, facecolor=shade, edgecolor="none")
        self.canvas.add_patch(patch)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], *, shade: str = INK) -> None:
        """A straight arrow from tip to tip."""
        style = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
        self.canvas.add_patch(FancyArrowPatch(start, end, color=shade, **style))

    def write(self, x: float, y: float, text: str, *, size: float, **style: Any) -> Text:
        """Text around a point."""
        return self.canvas.text(x, y, text, fontsize=size, **{"ha": "center", "va": "center", "color": INK, **style})


def thousands(value: float, digits: int = 0) -> str:
    """A number with thin spaces between its thousands."""
    return f"{value:,.{digits}f}".replace(",", "\N{THIN SPACE}")
