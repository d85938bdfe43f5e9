"""Where models run."""

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
