"""The house's own rules: who imports whom, what a notebook looks like, what is shipped."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
import run_notebooks
import yaml

from wbcore.files import ROOT

MODULES = sorted((ROOT / "wbcore").rglob("*.py"))
NOTEBOOKS = run_notebooks.sources()
PARAMETERS = {"profile", "data_root", "device", "seed", "limit"}
MEBIBYTE = 2**20

# Part of the library → the parts that it must not know.  Everything that is left out may know everything.
NETWORKS = {
    "models",
    "checkpoints",
    "conversion",
    "subjects",
    "showing",
    "train",
    "study",
    "segmentation_study",
    "transfer",
    "evaluate",
    "measuring",
    "recording",
    "cli",
}
PICTURES = {"plots", "figures", "encoding"}
FORBIDDEN = {
    "tokens": NETWORKS | PICTURES | {"metrics", "data", "records", "tables", "losses", "profile", "profiles"},
    "models": NETWORKS - {"models", "checkpoints", "conversion"}
    | PICTURES
    | {"data", "metrics", "records", "tables", "profile", "profiles"},
    "checkpoints": {"data", "metrics", "train", "study", "evaluate", "measuring", "recording"} | PICTURES,
    "metrics": NETWORKS | PICTURES | {"records", "tables", "losses", "profile", "profiles"},
    "data": NETWORKS | PICTURES | {"metrics", "records", "tables", "losses"},
    "records": NETWORKS | PICTURES | {"tables"},
    "plots": NETWORKS | {"figures", "tables", "losses"},
    "figures": {"checkpoints", "conversion", "train", "study", "evaluate", "recording", "profile", "profiles", "cli"},
    "measuring": PICTURES - {"plots"} | {"tables", "recording", "profile", "profiles", "study", "cli"},
}


def imported(tree: ast.AST) -> set[str]:
    """The full names of all modules that a piece of code imports, at its top or inside its functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: name the module in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(name: str) -> str | None:
    """``wbcore.metrics.pca.fit`` → ``metrics``; None for what is not ours."""
    package, *rest = name.split(".")
    return rest[0] if package == "wbcore" and rest else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_who_imports_whom(path):
    own = path.relative_to(ROOT / "wbcore").with_suffix("").parts[0]
    used = {part(name) for name in imported(ast.parse(path.read_text()))}
    assert not used & FORBIDDEN.get(own, set())


def test_import_is_light():
    code = "import sys, wbcore; print(*{'timm', 'torchvision', 'matplotlib', 'pandas'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == []


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def source(request):
    return request.param


def stored(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def code_cells(source: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]


def test_every_stored_notebook_has_a_source():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == {path.stem for path in NOTEBOOKS}


def test_pair_says_the_same(source):
    """The stored notebook has the cells of its source; if not: ``make notebooks``."""
    expected = [(cell.cell_type, cell.source, cell.metadata) for cell in run_notebooks.read(source).cells]
    assert [(cell.cell_type, cell.source, cell.metadata) for cell in stored(source).cells] == expected


def test_stored_notebook_is_executed_and_clean(source):
    notebook = stored(source)
    assert dict(notebook.metadata) == run_notebooks.METADATA
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert [run_notebooks.paths_in(cell) for cell in code] == [None] * len(code)
    assert not [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    shown = [output.get("data", {}).keys() for cell in code for output in cell.outputs]
    assert not [kinds for kinds in shown if {"image/png", "image/jpeg"} <= kinds]  # a figure is kept once


def test_anatomy(source):
    cells = code_cells(source)
    trees = [ast.parse(cell.source) for cell in cells]
    assert not [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    lines = [line for cell in cells for line in cell.source.splitlines()]
    assert sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines) <= 80
    strangers = {name.split(".")[0] for tree in trees for name in imported(tree)} - {"wbcore"}
    assert strangers <= set(sys.stdlib_module_names)


def test_parameters_are_literals(source):
    tagged = [cell for cell in code_cells(source) if "parameters" in cell.metadata.get("tags", ())]
    assert len(tagged) == 1
    values = {}
    for statement in ast.parse(tagged[0].source).body:
        assert isinstance(statement, ast.Assign)
        assert isinstance(statement.targets[0], ast.Name)
        values[statement.targets[0].id] = ast.literal_eval(statement.value)
    assert values.keys() >= PARAMETERS


def test_book_has_every_notebook_and_page():
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    pages = set(re.findall(r"'(?:file|root)': '([^']+)'", str(contents)))
    assert pages >= {f"notebooks/{path.stem}" for path in NOTEBOOKS}
    assert not {page for page in pages if not list(ROOT.glob(f"{page}.*"))}


def tracked() -> list[Path]:
    """What is committed or would be: everything that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for path in (ROOT / name for name in names if name) if path.is_file()]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an export without its history cannot say what is tracked")
def test_what_is_shipped_is_small():
    assert sum(path.stat().st_size for path in tracked()) <= 40 * MEBIBYTE


@pytest.mark.parametrize(("folder", "limit"), [("cutouts", 10), ("weights", 20)])
def test_shipped_data_is_small(folder, limit):
    files = (path for path in (ROOT / "data" / folder).rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in files) <= limit * MEBIBYTE
