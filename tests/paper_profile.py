"""A notebook of the paper's profile, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

import nbformat

from wbcore.files import ROOT


def run_notebook(name: str, data_root: Path, folder: Path) -> None:
    """Execute a notebook on two images of the data sets below ``data_root``; it must show what it measured."""
    executed = folder / "executed.ipynb"
    papermill = str(Path(sys.executable).with_name("papermill"))
    options = ["-p", "profile", "paper", "-p", "data_root", str(data_root), "-p", "limit", "2", "--no-progress-bar"]
    source = str(ROOT / "notebooks" / f"{name}.ipynb")
    done = subprocess.run([papermill, source, str(executed), *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    cells = nbformat.read(executed, as_version=4).cells
    *live, _ = [cell for cell in cells if "nbval-ignore-output" in cell.metadata.get("tags", [])]  # last: versions
    shown = [output.get("data", {}) for cell in live for output in cell.outputs]
    assert any({"text/html", "image/png", "image/jpeg"} & data.keys() for data in shown)
