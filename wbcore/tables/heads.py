"""What the heads of a model prefer."""

from collections.abc import Mapping, Sequence

import pandas as pd

from wbcore.metric_labels import POINTS
from wbcore.metrics.intervals import Interval
from wbcore.metrics.parts import PARTS
from wbcore.tables.numbers import number_cell


def preference_table(found: Mapping[str, Sequence[Sequence[Interval]]]) -> pd.DataFrame:
    """What each head prefers (:func:`wbcore.metrics.parts.preferences`) in points: a row per head and title.

    ``*`` marks an interval that does not span zero.
    """
    rows = {}
    for head in range(max(len(heads) for heads in found.values())):
        for title, heads in found.items():
            cells = [
                number_cell(one, POINTS) + (" *" if (one.low or 0) > 0 or (one.high or 0) < 0 else "")
                for one in heads[head]
            ]
            rows[f"head {head}", f"{title} ({heads[head][0].n})"] = cells
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(PARTS)).set_axis(
        pd.MultiIndex.from_tuples(rows), axis=0
    )
