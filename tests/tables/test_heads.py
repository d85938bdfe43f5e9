"""What heads prefer, with a mark where it is sure."""

from wbcore import tables
from wbcore.metrics.intervals import Interval

PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"


def test_preferences_of_heads():
    sure, open_ = Interval(0.05, 0.03, 0.07, 11), Interval(-0.01, -0.03, 0.01, 11)
    heads = [[sure] + [open_] * 4, [open_] * 4 + [Interval(-0.05, -0.07, -0.03, 11)]]
    table = tables.preference_table({"animals": heads, "others": heads[::-1]})
    assert list(table.index) == [
        (f"head {head}", f"{group} (11)") for head in (0, 1) for group in ("animals", "others")
    ]
    assert table.loc[("head 0", "animals (11)"), "upper third"] == f"5.0{PLUS_MINUS}2.0 *"
    assert table.loc[("head 1", "animals (11)"), "upper third"] == f"-1.0{PLUS_MINUS}2.0"
    assert table.loc[("head 0", "others (11)"), "outline"] == f"-5.0{PLUS_MINUS}2.0 *"
