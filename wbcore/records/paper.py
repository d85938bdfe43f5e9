"""What the papers print."""

import csv
from pathlib import Path

from wbcore.errors import InputError
from wbcore.files import DATA

PAPER = DATA / "paper"


def paper_values(table: str, folder: Path = PAPER) -> list[dict[str, str]]:
    """The rows of one table of a paper: model, metric, data, value (in the paper's unit), unit and source.

    Raises: InputError if there is no such table.
    """
    path = folder / f"{table}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.csv")))
        raise InputError(f"{path} is missing: the tables known are {known}")
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
