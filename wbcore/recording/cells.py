"""One file of records, and where its models and its data are."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from wbcore.records import Record


@dataclass(frozen=True)
class Cell:
    """One file of records: a subject on one data set, measured only when the file is missing."""

    subject: str
    seed: int | None
    data: str
    measure: Callable[[str], Iterable[Record]]
    """From the command that the records name."""

    def file(self, folder: Path) -> Path:
        """Where its records stand."""
        run = "" if self.seed is None or self.subject.endswith(f"_seed{self.seed}") else f"-seed{self.seed}"
        return folder / f"records-{self.subject}{run}-{self.data}.json"


@dataclass(frozen=True)
class Place:
    """Where models and data are, and what measures them."""

    runs: Path
    data_root: Path | None
    device: str
