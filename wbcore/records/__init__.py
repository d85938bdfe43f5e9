"""Records: what was measured, on what, by what, and how two of them compare."""

from wbcore.records.axes import along, by_noise, by_step
from wbcore.records.comparison import Comparison, Verdict, greater, kept, require_near
from wbcore.records.measured import Origin
from wbcore.records.names import SegmenterName, Step, segmenter_of, step_of
from wbcore.records.paper import PAPER, paper_values
from wbcore.records.record import RESULTS, Record, load_records, over_seeds, save_records, select
from wbcore.records.runs import greater_by_run, run_of, runs_of

__all__ = [
    "PAPER",
    "RESULTS",
    "Comparison",
    "Origin",
    "Record",
    "SegmenterName",
    "Step",
    "Verdict",
    "along",
    "by_noise",
    "by_step",
    "greater",
    "greater_by_run",
    "kept",
    "load_records",
    "over_seeds",
    "paper_values",
    "require_near",
    "run_of",
    "runs_of",
    "save_records",
    "segmenter_of",
    "select",
    "step_of",
]
