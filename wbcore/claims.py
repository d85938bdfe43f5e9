"""The papers' checkable statements, and what our records say of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from wbcore.errors import InputError
from wbcore.files import DATA
from wbcore.records import Comparison, Record, greater, over_seeds, select

CLAIMS = DATA / "claims.yaml"


@dataclass(frozen=True)
class Check:
    """``left`` is greater than ``right`` by more than ``margin``, or within ``margin`` of it; in fractions."""

    metric: str
    data: str
    left: str
    relation: str
    """``greater`` or ``within``."""
    right: str
    margin: float


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, and the test that decides it or the reason why none can."""

    id: str
    paper: str
    place: str
    wording: str
    notebook: str
    check: Check | None = None
    not_testable: str | None = None
    known: bool = False
    """Whether the numbers were known to the author when the claim was written down."""


@dataclass(frozen=True)
class Decision:
    """What the records say of a claim."""

    claim: Claim
    verdict: Literal["holds", "fails", "undecided", "not testable here", "not measured yet"]
    comparison: Comparison | None = None
    seeds: tuple[int, int] = (0, 0)
    """Training runs behind left and right."""


def load_claims(path: Path | str = CLAIMS) -> list[Claim]:
    """The claims of a file, in its order.

    Raises: InputError if the file is missing or not YAML, or an entry is not a claim, naming the entry.
    """
    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: the claims come with the repository") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML ({' '.join(str(error).split())}): mend it there") from error
    return [_claim(entry, number, path) for number, entry in enumerate(entries, start=1)]


def _claim(entry: Any, number: int, path: Path | str) -> Claim:
    try:
        check = Check(**entry.pop("test")) if "test" in entry else None
        claim = Claim(**entry, check=check)
    except (TypeError, KeyError) as error:
        raise InputError(f"{path}, entry {number} is no claim: {error}") from error
    if (claim.check is None) == (claim.not_testable is None):
        raise InputError(f"{path}, {claim.id}: give either a test or the reason why it is not testable")
    if claim.check is not None and claim.check.relation not in ("greater", "within"):
        raise InputError(f"{path}, {claim.id}: relation is {claim.check.relation!r}, choose greater or within")
    return claim


def decide(claim: Claim, records: Sequence[Record]) -> Decision:
    """The verdict on a claim: *undecided* when the 95 % interval of the difference spans a margin."""
    check = claim.check
    if check is None:
        return Decision(claim, "not testable here")
    left, right = (
        select(records, metric=check.metric, data=check.data, model=name) for name in (check.left, check.right)
    )
    if not left or not right:
        return Decision(claim, "not measured yet")
    left, right = over_seeds(left), over_seeds(right)
    comparison = greater(left, right, margin=check.margin)
    verdict = comparison.verdict if check.relation == "greater" else _within(comparison, check.margin)
    return Decision(claim, verdict, comparison, (len(left.seeds), len(right.seeds)))


def _within(comparison: Comparison, margin: float) -> Literal["holds", "fails", "undecided"]:
    low, high = comparison.difference.low, comparison.difference.high
    if low is None or high is None:
        return "undecided"
    if -margin < low and high < margin:
        return "holds"
    return "fails" if low > margin or high < -margin else "undecided"
