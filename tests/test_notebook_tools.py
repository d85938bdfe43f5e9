"""Executing notebooks and laying out the book: what is kept, what is redone, what is refused."""

from pathlib import Path

import build_book
import nbformat
import pytest
import run_notebooks

SOURCE = """# %% [markdown]
# # A claim

# %% tags=["parameters"]
seed = 3

# %% tags=["nbval-ignore-output"]
print({expression})
"""


@pytest.fixture
def write_source(tmp_path):
    def write(expression: str) -> Path:
        path = tmp_path / "probe.py"
        path.write_text(SOURCE.replace("{expression}", expression))
        return path

    return write


def test_executed_notebook_is_the_source_with_outputs_alone(write_source):
    source = write_source("seed * 5")
    notebook, seconds = run_notebooks.execute(source)
    expected = run_notebooks.read(source)
    assert seconds > 0
    assert [(cell.id, cell.source, cell.metadata) for cell in notebook.cells] == [
        (cell.id, cell.source, cell.metadata) for cell in expected.cells
    ]
    assert notebook.cells[2].outputs == [{"output_type": "stream", "name": "stdout", "text": "15\n"}]
    assert dict(notebook.metadata) == run_notebooks.METADATA
    nbformat.validate(notebook)


def test_notebook_that_fails_is_named(write_source):
    with pytest.raises(SystemExit, match=r"(?s)probe\.py failed.*ZeroDivisionError"):
        run_notebooks.execute(write_source("1 / 0"))


@pytest.mark.parametrize(
    ("text", "found"),
    [("read /home/x/data", "/home/x"), ("3/tmp, and/or", None), ("in /tmp/y", "/tmp/y")],
)
def test_paths_in_outputs_are_found(text, found):
    output = nbformat.v4.new_output("execute_result", {"text/plain": text, "image/png": "/home/png"})
    assert run_notebooks.paths_in(nbformat.v4.new_code_cell(outputs=[output])) == found


def test_unknown_name_lists_the_known():
    with pytest.raises(SystemExit, match="no notebook called nothing"):
        run_notebooks.sources(["nothing"])


def test_only_what_changed_is_executed_again(write_source, tmp_path, monkeypatch):
    runs = []

    def execute(source):
        runs.append(source.read_text())
        return run_notebooks.read(source), 7.0

    monkeypatch.setattr(run_notebooks, "execute", execute)
    monkeypatch.setattr(build_book, "library_hash", lambda: "library")
    cache = tmp_path / "executed"
    first = build_book.executed(write_source("1"), cache)
    assert build_book.executed(write_source("1"), cache) == first
    build_book.executed(write_source("2"), cache)
    monkeypatch.setattr(build_book, "library_hash", lambda: "another library")
    build_book.executed(write_source("2"), cache)
    assert [text.count("print(1)") for text in runs] == [1, 0, 0]


def test_mirror_touches_only_what_differs(tmp_path):
    same, changed, gone = Path("same.md"), Path("folder/changed.md"), Path("folder/gone.md")
    build_book.mirror({same: b"2", changed: b"3", gone: b"5"}, tmp_path)
    before = (tmp_path / same).stat().st_mtime_ns
    build_book.mirror({same: b"2", changed: b"7"}, tmp_path)
    assert (tmp_path / same).stat().st_mtime_ns == before
    assert (tmp_path / changed).read_bytes() == b"7"
    assert not (tmp_path / gone).exists()


def test_status_table_tells_run_from_stored():
    notebook = nbformat.v4.new_notebook()
    stored = nbformat.writes(notebook).encode()
    notebook.metadata |= {"seconds": 11.0, "device": "CPU"}
    table = build_book.status_table({"stored": stored, "run": nbformat.writes(notebook).encode()}).decode()
    assert "| [stored](/notebooks/stored.ipynb) | not run for this build | – |" in table
    assert "| [run](/notebooks/run.ipynb) | 11.0 | CPU |" in table
