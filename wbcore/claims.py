"""The papers' checkable statements, and what our records say of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from wbcore.errors import InputError
from wbcore.files import DATA
from wbcore.records import Comparison, Record, Verdict, greater, greater_by_run, over_seeds, runs_of, select

CLAIMS = DATA / "claims.yaml"
RUNS = 3
"""From so many pairs of training runs on, a verdict must hold over them and not only over the images of one run."""


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
    over: Literal["images", "runs"] = "images"
    """What the interval of the comparison speaks of: other images, or other training runs."""


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
    """The verdict on a claim: *undecided* when the 95 % interval of the difference spans a margin.

    The interval is over images.  Where there are :data:`RUNS` pairs of training runs with one seed it is over these,
    and the verdict is *undecided* unless the images of the first run say the same.
    """
    check = claim.check
    if check is None:
        return Decision(claim, "not testable here")
    known, names = select(records, metric=check.metric, data=check.data), (check.left, check.right)
    left, right = (select(known, model=name) for name in names)
    if not left or not right:
        return Decision(claim, "not measured yet")
    runs = [runs_of(known, [name]) for name in names]
    pairs = {one.seeds for one in runs[0]} & {one.seeds for one in runs[1]}
    comparison = greater(over_seeds(left), over_seeds(right), margin=check.margin)
    verdict, over = _verdict(check, comparison), "images"
    if len(pairs) >= RUNS:
        (left, right), over = runs, "runs"
        comparison = greater_by_run(left, right, margin=check.margin)
        verdict = verdict if verdict == _verdict(check, comparison) else "undecided"
    seeds = [len({seed for one in records for seed in one.seeds}) for records in (left, right)]
    return Decision(claim, verdict, comparison, (seeds[0], seeds[1]), over)


def _verdict(check: Check, comparison: Comparison) -> Verdict:
    return comparison.verdict if check.relation == "greater" else _within(comparison, check.margin)


def _within(comparison: Comparison, margin: float) -> Verdict:
    low, high = comparison.difference.low, comparison.difference.high
    if low is None or high is None:
        return "undecided"
    if -margin < low and high < margin:
        return "holds"
    return "fails" if low > margin or high < -margin else "undecided"
