"""Numbers as the cells of a table show them."""

from wbcore.metric_labels import Unit
from wbcore.metrics.intervals import Interval
from wbcore.records import Comparison


def number_cell(interval: Interval, unit: Unit) -> str:
    """A number in its unit, with half the width of its interval."""
    value, low, high, _ = interval
    half = "" if low is None or high is None else f" ± {unit.factor * (high - low) / 2:.{unit.digits}f}"
    number = f"{unit.factor * value:.{unit.digits}f}{half}"
    return number.replace(" ", "\N{NO-BREAK SPACE}")  # number and interval stay on one line


def difference_cells(comparison: Comparison, title: str, unit: Unit, *, over: str = "images") -> dict[str, str | int]:
    """A difference in its unit, below ``title``, with its interval and the number of images, or whatever, behind it."""
    value, low, high, n = comparison.difference
    shown = [None if one is None else f"{unit.factor * one:+.{unit.digits}f}" for one in (value, low, high)]
    interval = "" if None in shown else f"[{shown[1]},\N{NO-BREAK SPACE}{shown[2]}]"
    return {title: f"{shown[0]}", "95 % interval": interval, over: n}
