"""Photographs of several sizes, each with a bright rectangle that is its object.  For tests only."""

import numpy as np

from tests.tiny import Photographs
from wbcore.data.example import Example
from wbcore.metrics.lost import Box


def rectangles() -> Photographs:
    """Seven; the third has no object."""
    rng = np.random.default_rng(0)
    found = Photographs()
    for number in range(7):
        height, width = (19, 23) if number % 2 else (29, 17)
        image = rng.integers(90, size=(height, width, 3), dtype=np.uint8)
        mask = np.zeros((1, height, width), bool)
        mask[0, 3 : 3 + height // 2, 2 : 2 + width // 2 + number] = True
        image[mask[0]] = 200
        instances = mask if number != 2 else mask[:0]
        found.append(Example(f"{number}", image, instances=instances, crowd=np.zeros(len(instances), bool)))
    return found


def by_floats(box: Box, truth: np.ndarray, scale: tuple[float, float]) -> bool:
    """IoU of at least one half, the box in pixels of the photograph."""
    left, right = box.left * scale[0], box.right * scale[0]
    top, bottom = box.top * scale[1], box.bottom * scale[1]
    best = 0.0
    for x0, y0, x1, y1 in truth:
        both = max(0.0, min(right, x1) - max(left, x0)) * max(0.0, min(bottom, y1) - max(top, y0))
        best = max(best, both / ((right - left) * (bottom - top) + (x1 - x0) * (y1 - y0) - both))
    return best >= 0.5
