"""DoViT's pipeline, drawn from what it did to one image.  Nothing is computed here but where things are drawn."""

import numpy as np
from jaxtyping import Shaped
from matplotlib.figure import Figure

from wbcore.figures.drawing import ACCENT, INK, QUIET, Sheet, thousands
from wbcore.figures.segmentation_plots import class_picture, faded, sureness_norm
from wbcore.measuring.segmentation import Segmented
from wbcore.measuring.token_use import gmacs_by_block, tokens_by_block
from wbcore.metrics.cost import Ledger
from wbcore.models.dovit import SegmenterConfig

WIDTH, HEIGHT = 10.6, 4.35
"""Inches; all places below are in inches from the lower left corner."""

_MIDDLE, _TALL = 1.98, 1.5
"""Height of the line along which the tokens flow, and of a block that works on all of them."""
_PROBE, _BUS = 3.32, 0.78
"""Height of the middle of the confidence maps, and of the way of what has stopped."""
_SIDE, _BLOCK, _GAP = 0.98, 0.68, 0.19
"""Side of a picture, width of a block, room for an arrow."""
_WORK, _LEFT_OUT, _PART = "#cfe8e5", "#eceef1", "#fdf1e0"


def pipeline_diagram(
    found: Segmented, config: SegmenterConfig, *, threshold: float, dense: Ledger, classes: int
) -> Figure:
    """From left to right: the image on its patches, blocks with a decision behind each but the last, the decoder.

    A block is as high as the share of the tokens that it works on.  Above, the early probes' confidence; along the
    bottom, the way of the patches that stopped.

    Source: DoViT, Fig. 2.
    """
    sheet = Sheet(WIDTH, HEIGHT)
    tokens, gmacs = tokens_by_block(found, config.decisions), gmacs_by_block(found.cost, config.decisions)
    ends = [0, *config.decisions, config.backbone.depth]
    whole, place = tokens[0], 0.12
    _picture(sheet, found.example.image, place, _MIDDLE, found)
    patches = f"{found.grid[0]} × {found.grid[1]} patches"
    sheet.write(place + _SIDE / 2, _MIDDLE - 0.68, patches, size=8.5, color=QUIET)
    sheet.write(place + _SIDE / 2, _MIDDLE + 0.68, "$x$", size=12)
    place += _SIDE
    bus_from = None
    for number, (count, cost) in enumerate(zip(tokens, gmacs, strict=True), start=1):
        sheet.arrow((place, _MIDDLE), (place + _GAP, _MIDDLE))
        place += _GAP
        first, last = ends[number - 1] + 1, ends[number]
        layers = f"layer {last}" if first == last else f"layers {first}\N{EN DASH}{last}"
        _block(sheet, place, count / whole, f"$B_{number}$", layers)
        lines = (f"{count} tokens", f"{cost:.3f} GMACs")
        for row, line in enumerate(lines):
            sheet.write(place + _BLOCK / 2, 0.42 - 0.19 * row, line, size=8.5, color=INK if row == 0 else ACCENT)
        place += _BLOCK
        if number == len(tokens):
            break
        sure, keep = found.sure[number - 1], found.keep[number - 1]
        before = found.keep[number - 2] if number > 1 else np.ones_like(keep)
        middle = place + _GAP + _SIDE / 2
        # from the block up to the probe, down to the mask
        sheet.canvas.plot([place + _GAP / 2] * 2, [_MIDDLE, _PROBE], color=INK, linewidth=1.3)
        sheet.arrow((place + _GAP / 2, _PROBE), (place + _GAP, _PROBE))
        sheet.arrow((place, _MIDDLE), (place + _GAP, _MIDDLE))
        place += _GAP
        _picture(sheet, found.at_pixels(sure), place, _PROBE, found)
        _picture(sheet, faded(found.picture, found.at_pixels(keep)), place, _MIDDLE, found)
        sheet.write(middle, _PROBE + 0.64, f"$q^{number}=\\max_c\\,$softmax$(H_{number})$", size=8.5)
        sheet.arrow((middle, _PROBE - 0.51), (middle, _MIDDLE + 0.51))
        sheet.write(middle + 0.06, _PROBE - 0.67, f"$q^{number}\\leq\\xi$", size=9, ha="left")
        stopped = int(before.sum() - keep.sum())
        sheet.arrow((middle, _MIDDLE - 0.51), (middle, _BUS + 0.01), shade=QUIET)
        sheet.write(middle + 0.07, _BUS + 0.36, f"{stopped} stop", size=8.5, ha="left", color=QUIET)
        bus_from = middle if bus_from is None else bus_from
        place += _SIDE
    sheet.arrow((place, _MIDDLE), (place + _GAP, _MIDDLE))
    place += _GAP
    sheet.box(place, _MIDDLE - _TALL / 2, 0.62, _TALL, _PART)
    for height, line in ((0.36, "$R$"), (0.12, "restore"), (-0.2, "decoder")):
        sheet.write(place + 0.31, _MIDDLE + height, line, size=12 if line.startswith("$") else 9)
    if bus_from is not None:
        for row, line in enumerate(("What stops waits for the decoder;", "its mean joins the class token, Eq. (8).")):
            sheet.write(0.12, 0.94 - 0.19 * row, line, size=8.5, ha="left", color=QUIET)
        sheet.canvas.plot([bus_from, place + 0.31], [_BUS, _BUS], color=QUIET, linewidth=1.3)
        sheet.arrow((place + 0.31, _BUS), (place + 0.31, _MIDDLE - _TALL / 2), shade=QUIET)
    place += 0.62
    sheet.arrow((place, _MIDDLE), (place + _GAP, _MIDDLE))
    _picture(sheet, class_picture(found.prediction, classes=classes), place + _GAP, _MIDDLE, found)
    sheet.write(place + _GAP + _SIDE / 2, _MIDDLE + 0.68, "$y$", size=12)
    _header(sheet, found, dense, threshold)
    return sheet.figure


def _picture(
    sheet: Sheet, picture: Shaped[np.ndarray, "_h _w *_c"], left: float, middle: float, found: Segmented
) -> None:
    """A picture in its proportions, in the middle of a square."""
    height, width = found.image.shape[:2]
    scale = _SIDE / max(height, width)
    wide, high = scale * width, scale * height
    axis = sheet.inset(left + (_SIDE - wide) / 2, middle - high / 2, wide, high)
    options = {"cmap": "viridis", "norm": sureness_norm()} if picture.ndim == 2 else {}
    axis.imshow(picture, aspect="auto", interpolation="nearest", **options)


def _block(sheet: Sheet, left: float, share: float, name: str, layers: str) -> None:
    sheet.box(left, _MIDDLE - _TALL / 2, _BLOCK, _TALL, _LEFT_OUT)
    height = max(share * _TALL, 0.06)
    sheet.box(left, _MIDDLE - height / 2, _BLOCK, height, _WORK)
    sheet.write(left + _BLOCK / 2, _MIDDLE + 0.1, name, size=13)
    sheet.write(left + _BLOCK / 2, _MIDDLE - 0.14, layers, size=8, color=QUIET)


def _header(sheet: Sheet, found: Segmented, dense: Ledger, threshold: float) -> None:
    cost, all_of_it = found.cost.whole.total / 1e9, dense.whole.total / 1e9
    sheet.write(0.12, HEIGHT - 0.25, f"DoViT, ξ = {threshold:g}", size=13, weight="bold", ha="left")
    lines = (f"{thousands(cost, 3)} GMACs in all,", f"dense {thousands(all_of_it, 3)}: {100 * cost / all_of_it:.0f} %")
    for row, line in enumerate(lines):
        sheet.write(0.12, HEIGHT - 0.55 - 0.2 * row, line, size=9.5, ha="left", color=ACCENT)
