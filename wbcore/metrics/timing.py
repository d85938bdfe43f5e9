"""How fast something runs, by the clock."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from wbcore.errors import InputError


class Timing(NamedTuple):
    """Images per second: the median over the repeats, and the quartiles around it."""

    median: float
    low: float
    high: float


def throughput(run: Callable[[], int], *, device: str, warmup: int = 3, repeats: int = 9) -> Timing:
    """How many images per second ``run`` gets through; it returns how many it did.  With a batch of one this is FPS.

    ``warmup`` runs come first and do not count.  The clock stops when the device has finished.
    Raises: InputError if nothing is repeated.
    """
    if repeats < 1 or warmup < 0:
        raise InputError(f"warmup={warmup}, repeats={repeats}: give at least one repeat, after 0 or more to warm up")
    rates = [_rate(run, device) for _ in range(warmup + repeats)][warmup:]
    low, median, high = statistics.quantiles(rates, n=4, method="inclusive") if repeats > 1 else rates * 3
    return Timing(median, low, high)


def _rate(run: Callable[[], int], device: str) -> float:
    _finish(device)
    started = time.perf_counter()
    images = run()
    _finish(device)
    return images / (time.perf_counter() - started)


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
