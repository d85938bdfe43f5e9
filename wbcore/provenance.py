"""Where and with what a number was made."""

import functools
import os
import platform
import subprocess
import sys
from typing import Any

import torch

from wbcore.files import ROOT


@functools.cache
def commit() -> str | None:
    """The repository's commit, with ``+`` where the library has uncommitted changes.

    Of a copy that is no checkout the environment variable ``WBCORE_COMMIT`` says it; ``None`` without either.
    """

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return result.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "wbcore") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("WBCORE_COMMIT")


def device_name(device: torch.device | str) -> str:
    """What a reader needs to know of a device: the GPU's name, or the processor's family."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def software() -> dict[str, str]:
    """Versions that numbers may depend on."""
    return {"python": ".".join(map(str, sys.version_info[:3])), "torch": torch.__version__}


def provenance(device: torch.device | str) -> dict[str, Any]:
    """Commit, device and software of a measurement made now."""
    return {"commit": commit(), "device": device_name(device), "software": software()}
