"""``papermill notebook.ipynb``, with no output path, does what its reader expects.

papermill 2.7 refuses that command on a terminal, and takes the path for the *output* when its input is a pipe.
It imports the entry points of the group ``papermill.io`` before it reads the command line, and this module is
one of them: it completes the command line, and registers nothing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from wbcore.files import ROOT

EXECUTED = ROOT / "results" / "executed"


def complete(arguments: Sequence[str], *, terminal: bool) -> list[str]:
    """The command line of papermill with an output path, where it names one existing notebook and no output.

    On a terminal the executed copy goes to ``results/executed/`` and what the notebook says is shown;
    with its output redirected, papermill writes the executed notebook there, as it always does.
    """
    arguments = list(arguments)
    notebooks = [position for position, argument in enumerate(arguments) if argument.endswith(".ipynb")]
    if len(notebooks) != 1 or not Path(arguments[notebooks[0]]).is_file():
        return arguments
    after = notebooks[0] + 1
    if after < len(arguments) and (arguments[after] == "-" or not arguments[after].startswith("-")):
        return arguments
    if not terminal:
        return [*arguments[:after], "-", *arguments[after:]]
    EXECUTED.mkdir(parents=True, exist_ok=True)
    output = EXECUTED / Path(arguments[notebooks[0]]).name
    return [*arguments[:after], str(output), *arguments[after:], "--log-output"]


if Path(sys.argv[0]).stem == "papermill":
    sys.argv[1:] = complete(sys.argv[1:], terminal=sys.stdout.isatty())
