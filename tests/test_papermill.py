"""The literal command ``papermill notebook.ipynb`` in a terminal, with its output redirected, and fed by a pipe."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from wbcore import _papermill

PAPERMILL = str(Path(sys.executable).with_name("papermill"))


@pytest.fixture
def notebook(tmp_path):
    cells = [
        nbformat.v4.new_code_cell("word = 'default'", metadata={"tags": ["parameters"]}, id="parameters"),
        nbformat.v4.new_code_cell("print(f'the word is {word}')", id="answer"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "probe_of_papermill.ipynb"
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=kernel)))
    return path


def printed(content: str | bytes) -> str:
    code = [cell for cell in json.loads(content)["cells"] if cell["cell_type"] == "code"]
    return "".join(code[-1]["outputs"][0]["text"])


def in_terminal(command: list[str]) -> tuple[int, str]:
    """Run a command with a terminal as its input and output; its exit status and what the terminal showed."""
    leader, follower = pty.openpty()
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower) as process:
        os.close(follower)
        shown = b""
        try:
            while block := os.read(leader, 4096):
                shown += block
        except OSError:  # Linux reports the end of a terminal as an error
            pass
        os.close(leader)
    return process.returncode, shown.decode()


def test_terminal(notebook):
    before = notebook.read_bytes()
    output = _papermill.EXECUTED / notebook.name
    try:
        status, shown = in_terminal([PAPERMILL, str(notebook)])
        assert status == 0, shown
        assert "the word is default" in shown
        assert printed(output.read_text()) == "the word is default\n"
    finally:
        output.unlink(missing_ok=True)
    assert notebook.read_bytes() == before


def test_redirected_output_is_the_executed_notebook(notebook):
    """Also where the input is a pipe, for which papermill alone would take the path for the output's."""
    before = notebook.read_bytes()
    command = [PAPERMILL, str(notebook), "-p", "word", "other"]
    result = subprocess.run(command, check=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert printed(result.stdout) == "the word is other\n"
    assert notebook.read_bytes() == before


def test_completed_command_lines(notebook):
    existing, output = str(notebook), str(_papermill.EXECUTED / notebook.name)
    options = ["-p", "word", "other"]
    assert _papermill.complete([existing], terminal=True) == [existing, output, "--log-output"]
    assert _papermill.complete([existing, *options], terminal=True) == [existing, output, *options, "--log-output"]
    assert _papermill.complete([*options, existing], terminal=False) == [*options, existing, "-"]


@pytest.mark.parametrize("terminal", [True, False])
def test_other_command_lines_are_left_alone(notebook, terminal):
    existing = str(notebook)
    for arguments in (
        [],
        ["--version"],
        ["missing.ipynb"],
        [existing, "output.ipynb"],
        [existing, "-p", "word", "other", "output.ipynb"],
        [existing, "output.json"],
        [existing, "-"],
    ):
        assert _papermill.complete(arguments, terminal=terminal) == arguments
