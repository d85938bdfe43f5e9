"""Render the book.  Usage: python tools/build_book.py [--stored]

Everything that the book is made of is laid out as in the repository under ``book/_build/<kind>/stage`` and rendered
from there: notebooks executed just now (those only whose inputs changed), or with ``--stored`` as they are committed.
"""

import argparse
import functools
import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path

import nbformat
import run_notebooks

from wbcore.files import ROOT, sha256, write_bytes

BUILD = ROOT / "book" / "_build"
INPUTS = ("wbcore", "data", "constraints.txt")
SHOWN_VERSIONS = ("torch", "timm", "numpy")


def folders(*, stored: bool) -> tuple[Path, Path]:
    """Where the book is staged, and where its pages are."""
    output = BUILD / "stored" if stored else BUILD.parent
    return (BUILD / "stored" if stored else BUILD) / "stage", output / "_build" / "html"


def mirror(files: dict[Path, bytes], folder: Path) -> None:
    """Make ``folder`` hold exactly ``files``, and touch only what differs, so that only that is rendered again."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder) not in files:
            path.unlink()
    for name, content in files.items():
        target = folder / name
        if not target.is_file() or target.read_bytes() != content:
            write_bytes(target, content)


@functools.cache
def library_hash() -> str:
    """A hash of everything besides its source that the outputs of a notebook depend on."""
    digest = hashlib.sha256(platform.python_version().encode())
    for name in INPUTS:
        path = ROOT / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)} {sha256(file)}\n".encode())
    return digest.hexdigest()


def executed(source: Path, cache: Path) -> bytes:
    """The executed notebook, from the cache unless one of its inputs changed."""
    path = cache / f"{source.stem}.ipynb"
    inputs = f"{sha256(source)} {library_hash()}"
    if path.is_file() and nbformat.read(path, as_version=4).metadata.get("inputs") == inputs:
        return path.read_bytes()
    notebook, seconds = run_notebooks.execute(source)
    import torch  # here, because it takes seconds and a second build executes nothing

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    notebook.metadata |= {"inputs": inputs, "seconds": round(seconds, 1), "device": device}
    run_notebooks.write(notebook, path)
    print(f"executed {source.stem} in {seconds:.0f} s", flush=True)
    return path.read_bytes()


def status_table(notebooks: dict[str, bytes]) -> bytes:
    """What the status page includes: when run for this build, the seconds and the device of each notebook."""
    rows = ["| notebook | seconds | device |", "|:--|--:|:--|"]
    for name, content in notebooks.items():
        metadata = nbformat.reads(content.decode(), as_version=4).metadata
        seconds = f"{metadata['seconds']:.1f}" if "seconds" in metadata else "not run for this build"
        rows.append(f"| [{name}](/notebooks/{name}.ipynb) | {seconds} | {metadata.get('device', '–')} |")
    versions = ", ".join(f"{name} {version(name)}" for name in SHOWN_VERSIONS)
    return "\n".join([*rows, "", f"Python {platform.python_version()}, {versions}.", ""]).encode()


def claims_tables(chapters: Collection[str]) -> bytes:
    """What the claims page includes: a table for each paper; a claim's place links to its chapter, if there is one."""
    from wbcore.claims import decide, load_claims  # here, because they load torch
    from wbcore.records import load_records
    from wbcore.tables import claim_row

    records, claims, lines = load_records(), load_claims(), []
    for paper in dict.fromkeys(claim.paper for claim in claims):
        lines += [f"## {paper}", "", ":::{list-table} What the records say", ":header-rows: 1"]
        lines += [f":name: tab-claims-{paper.lower()}", ":class: claims", ""]
        lines += ["* - claim", "  - verdict", "  - test", "  - difference"]
        for claim in (one for one in claims if one.paper == paper):
            row = claim_row(decide(claim, records))
            wording = str(row["claim"])
            if claim.notebook in chapters:
                wording = wording.replace(f"({claim.place})", f"([{claim.place}](/notebooks/{claim.notebook}.ipynb))")
            counts = f"{row['over']}; seeds: {row['seeds']}"
            measured = f"{row['difference']} {row['95 % interval']}; {counts}" if row["over"] != "–" else "–"
            lines += [f"* - {wording}", f"  - **{row['verdict']}**", f"  - {row['test']}", f"  - {measured}"]
        lines += [":::", ""]
    return "\n".join(lines).encode()


def stage(folder: Path, *, stored: bool) -> None:
    sources = run_notebooks.sources()
    if stored:
        notebooks = {source.stem: source.with_suffix(".ipynb").read_bytes() for source in sources}
    else:
        notebooks = {source.stem: executed(source, folder.parent / "executed") for source in sources}
    files = {Path("notebooks") / f"{name}.ipynb": content for name, content in notebooks.items()}
    files[Path("book/_generated/status.md")] = status_table(notebooks)
    contents = (ROOT / "book" / "_toc.yml").read_text()
    files[Path("book/_generated/claims.md")] = claims_tables({name for name in notebooks if f"/{name}\n" in contents})
    for path in sorted((ROOT / "book").rglob("*")):
        if path.is_file() and BUILD not in path.parents:
            files[path.relative_to(ROOT)] = path.read_bytes()
    mirror(files, folder)


def render(folder: Path, html: Path) -> int:
    """Run Jupyter Book with warnings as errors; after a failure nothing is kept that could hide one next time."""
    command = [
        "jupyter-book", "build", folder, "--config", ROOT / "_config.yml", "--toc", folder / "book" / "_toc.yml",
        "--path-output", html.parent.parent, "--warningiserror", "--nitpick", "--quiet",
    ]  # fmt: skip
    command[0] = str(Path(sys.executable).parent / command[0])
    status = subprocess.call([str(part) for part in command], cwd=ROOT)
    if status:
        shutil.rmtree(html.parent / ".doctrees", ignore_errors=True)
    else:  # Sphinx copies them only when a page changed too
        shutil.copytree(folder / "book" / "_static", html / "_static", dirs_exist_ok=True)
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description="Render the book.")
    parser.add_argument("--stored", action="store_true", help="with the committed outputs of the notebooks")
    stored = parser.parse_args().stored
    folder, html = folders(stored=stored)
    stage(folder, stored=stored)
    status = render(folder, html)
    if status == 0:
        print(f"The book: {html / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
