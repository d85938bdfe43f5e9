"""The papers' claims beside what decides them."""

from collections.abc import Sequence

import pandas as pd

from wbcore.claims import Claim, Decision, decide, load_claims
from wbcore.labels import data_label, label
from wbcore.metric_labels import metric_label, unit_of
from wbcore.records import Record
from wbcore.tables.numbers import difference_cells


def claims_table(records: Sequence[Record], notebook: str) -> pd.DataFrame:
    """The claims that belong to a notebook, each with its test, what was measured and the verdict.

    ○ marks a claim whose outcome its author knew when it was written down.
    """
    decisions = [decide(claim, records) for claim in load_claims() if claim.notebook == notebook]
    names = ["claim", "verdict", "test", "difference", "95 % interval", "over", "seeds"]  # a phone shows two columns
    return pd.DataFrame([claim_row(decision) for decision in decisions], columns=names).set_index("claim")


def claim_row(decision: Decision) -> dict[str, str | int]:
    """A claim as the row of a table: its wording, its test, what was measured and the verdict."""
    claim = decision.claim
    row: dict[str, str | int] = {
        "claim": f"{claim.wording[:-1]} ({claim.place})" + (" ○" if claim.known else ""),
        "test": _test(claim),
        **dict.fromkeys(("difference", "95 % interval", "over", "seeds"), "–"),
    }
    if claim.check is not None and decision.comparison is not None:
        unit = unit_of(claim.check.metric)
        row |= difference_cells(decision.comparison, "difference", unit, over="over")
        row["over"] = f"{row['over']}\N{NO-BREAK SPACE}{decision.over}"
        row["difference"] = f"{row['difference']} {unit.name}"
        row["seeds"] = f"{decision.seeds[0]} / {decision.seeds[1]}"
    return {**row, "verdict": decision.verdict}


def _test(claim: Claim) -> str:
    check = claim.check
    if check is None:
        return f"{claim.not_testable}"
    unit = unit_of(check.metric)
    margin = f"{unit.factor * abs(check.margin):g} {unit.name}"
    if check.relation == "within":
        relation = f"= {label(check.right)} ± {margin}"
    else:
        sign = "+" if check.margin > 0 else "−"
        relation = f"> {label(check.right)}" + (f" {sign} {margin}" if check.margin else "")
    return f"{metric_label(check.metric)} on {data_label(check.data)}: {label(check.left)} {relation}"
