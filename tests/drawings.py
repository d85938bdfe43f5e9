"""What drawings show, and that it can be read.  For tests only."""

import itertools

from matplotlib.figure import Figure
from matplotlib.text import Text


def texts(figure: Figure) -> list[Text]:
    return [text for axis in figure.axes for text in axis.texts]


def assert_readable(figure: Figure) -> None:
    """No label or picture covers another, and none leaves the sheet, which is the first axis."""
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in texts(figure) if text.get_text()]
    pictures = [axis.get_window_extent() for axis in figure.axes[1:]]
    for first, second in itertools.combinations((*boxes, *pictures), 2):
        assert not first.overlaps(second)
    for box in (*boxes, *pictures):
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
