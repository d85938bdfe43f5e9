"""Records → tables.  Those that any chapter may use are here by name; a chapter's own have their modules."""

import pandas as pd

from wbcore.metric_labels import metric_label
from wbcore.tables.claims import claim_row, claims_table
from wbcore.tables.comparison import paper_table, record_table
from wbcore.tables.curves import curve_table, forest_panels, step_panels
from wbcore.tables.heads import preference_table
from wbcore.tables.order import order_range_table, order_table, rank_table
from wbcore.tables.parameters import parameter_table

__all__ = [
    "claim_row",
    "claims_table",
    "curve_table",
    "forest_panels",
    "metric_label",
    "order_range_table",
    "order_table",
    "paper_table",
    "parameter_table",
    "preference_table",
    "rank_table",
    "record_table",
    "step_panels",
]

pd.set_option("display.width", 220, "display.max_columns", None, "display.max_colwidth", None)
