"""Where models run."""

import os

import torch

from wbcore.errors import InputError


def choose_device(wanted: str | None = None) -> str:
    """``cpu`` or ``cuda``, by default ``cuda`` where there is one.

    Raises: InputError for another name, or ``cuda`` where there is none.
    """
    found = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted not in (None, "cpu", found):
        raise InputError(f"device={wanted!r} is not to be had: choose {' or '.join(dict.fromkeys(['cpu', found]))}")
    return wanted or found


def loading_workers(device: str) -> int:
    """How many processes should decode photographs: this process's share of the cores.

    None for a CPU, where training itself is what takes the time, and every core.
    """
    return 0 if device == "cpu" else len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
