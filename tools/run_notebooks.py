"""Execute the notebooks: in place (this script), or into the staging folder of the book (build_book.py).

The source of a notebook is its ``.py`` file in jupytext's percent format; the ``.ipynb`` beside it holds the same
cells with the outputs that the tests compare.  Usage: python tools/run_notebooks.py [name ...]
"""

import argparse
import re
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import papermill
from nbformat import NotebookNode

from wbcore.files import ROOT, write_bytes

NOTEBOOKS = ROOT / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|Users|tmp|var|usr|opt)/[\w.-]+")


def sources(names: list[str] | None = None) -> list[Path]:
    """The notebooks' sources, all or those named, in alphabetical order."""
    every = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.py")) if path.stem != "conftest"}
    unknown = sorted(set(names or ()) - every.keys())
    if unknown:
        raise SystemExit(f"no notebook called {', '.join(unknown)}; there are {', '.join(every)}")
    return [every[name] for name in names or every]


def read(source: Path) -> NotebookNode:
    """The notebook of a source: its cells without outputs, and nothing that depends on the machine."""
    notebook = jupytext.read(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = {key: cell.metadata[key] for key in ("tags", "mystnb", "table") if key in cell.metadata}
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(source: Path) -> tuple[NotebookNode, float]:
    """Run a notebook with its default parameters; the notebook with its outputs, and the seconds it took.

    Raises: SystemExit, saying where, if a cell fails or an output names a path of this machine.
    """
    notebook = read(source)
    start = time.perf_counter()
    try:
        executed = papermill.execute_notebook(
            notebook,
            None,
            kernel_name="python3",
            cwd=source.parent,
            start_timeout=300,
            progress_bar=sys.stderr.isatty(),
        )
    except papermill.PapermillExecutionError as error:
        raise SystemExit(f"{source.name} failed: {error}") from error
    seconds = time.perf_counter() - start
    for cell, clean in zip(executed.cells, notebook.cells, strict=True):
        cell.metadata = clean.metadata
        if found := paths_in(cell):
            raise SystemExit(
                f"{source.name}, {cell.id}: the output shows a path of this machine, {found}: {cell.source}"
            )
    executed.metadata = notebook.metadata
    return executed, seconds


def paths_in(cell: NotebookNode) -> str | None:
    """The first path of a machine that the outputs of a cell show, if any."""
    for output in cell.get("outputs", ()):
        texts = [text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")]
        for text in [output.get("text", ""), *texts]:
            if found := MACHINE_PATH.search(str(text)):
                return found[0]
    return None


def write(notebook: NotebookNode, path: Path) -> None:
    write_bytes(path, (nbformat.writes(notebook, indent=1) + "\n").encode())


def main() -> int:
    parser = argparse.ArgumentParser(description="Rewrite the stored outputs of the notebooks.")
    parser.add_argument("names", nargs="*", help="which notebooks; all, if none is named")
    for source in sources(parser.parse_args().names):
        notebook, seconds = execute(source)
        write(notebook, source.with_suffix(".ipynb"))
        print(f"{source.stem}: {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
