"""Records → tables: paper, recorded and this run side by side, and what the order of the models says."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from wbcore.claims import Claim, Decision, decide, load_claims
from wbcore.labels import data_label, label
from wbcore.metrics.detection import (
    DetectionScores,
    average_precision,
    by_rank,
    matches_from_lines,
    order_lead,
    order_range,
)
from wbcore.metrics.intervals import Interval
from wbcore.metrics.parameters import parameters_by_part
from wbcore.metrics.parts import PARTS
from wbcore.models.backbone import BackboneConfig
from wbcore.models.counting import parameters_by_count
from wbcore.records import Comparison, Record, by_step, greater, over_seeds, paper_values, select

pd.set_option("display.width", 220, "display.max_columns", None, "display.max_colwidth", None)

METRIC_LABELS = {
    "maskcut_bbox/ap50": "det AP50",
    "maskcut_bbox/ap75": "det AP75",
    "maskcut_bbox/ap": "det AP",
    "maskcut_segm/ap50": "seg AP50",
    "maskcut_segm/ap75": "seg AP75",
    "maskcut_segm/ap": "seg AP",
    "attention_miou": "mIoU",
    "attention_jaccard": "Jaccard at pixels",
    "pca_foreground_iou": "IoU",
    "top1": "top-1",
    "segmentation/miou": "mIoU",
    "segmentation/pa": "PA",
    "segmentation/mpa": "mPA",
    "cost/gmacs": "GMACs",
    "cost/gmacs_linear": "GMACs, linear only",
    "subspace_coding_rate": "$R^c$",
    "nonzero_share": "non-zeros",
    "norms/median": "median norm",
    "norms/largest": "largest norm",
    "norms/outlier_share": "outliers",
    "norms/triple_share": "above 3 medians",
    "norms/attention_on_outliers": "attention on outliers",
    "norms/attention_on_corners": "attention on corners",
    "norms/neighbour_cosine": "cosine to neighbours",
    "norms/at_corners": "share in the corners",
    "norms/position_share": "most frequent position",
    "attention_miou/mass60": "mIoU",
    "attention_miou/entries20": "mIoU, 20 % of entries",
    "attention_on_object": "of the attention on normal patches, on the object",
    "object_share": "of the normal patches, object",
    "tail/largest": "longest / median",
    "tail/quantile999": "99.9 % quantile / median",
    "tail/triple_share": "above 3 medians",
    "tail/kurtosis": "kurtosis",
    "tail/register": "longest register / median",
    "prefix/norm": "norm",
    "prefix/on_objects": "attention on objects",
    "prefix/like_cls": "like the class token's",
    "prefix/alike": "alike",
    "local/position_top1": "position top-1",
    "local/position_distance": "distance",
    "local/reconstruction": "L2 error",
    "local/mean_patch": "L2 error of the mean patch",
    "global/top1": "top-1",
    "global/spread": "deviation over the choices",
    "corloc": "CorLoc",
    "corloc/scaled": "CorLoc, scaled",
    "corloc/unit": "CorLoc, length one",
    "corloc/centred": "CorLoc, centred",
    "seed_in_corner": "seed in a corner",
    "lost_alike": "alike pairs",
    "lost_covered": "box covers",
    "linear_top1": "linear top-1",
    "linear_top1_patches": "linear top-1, with patches",
    "knn_top1": "k-NN top-1",
    "zero_shot_top1": "zero-shot top-1",
    "linear_segmentation/miou": "linear mIoU",
    "linear_segmentation/pa": "linear PA",
    "linear_segmentation_corners": "PA in the corners",
    "linear_foreground/miou": "linear mIoU, object",
    "linear_foreground/pa": "linear PA, object",
    "linear_foreground_corners": "PA in the corners, object",
    "depth_rmse": "depth RMSE (m)",
    "parameters": "million",
    "reading/paper": "the paper's reading",
    "reading/pixels": "at pixels",
    "reading/fixed_head": "fixed head",
    "reading/own_layer": "own layer",
    "reading/own_share": "own layer, share",
    "reading/own_rule": "own layer, share, rule",
    "reading/best_head": "own layer, share, rule, best head",
    "reading/mass10": "10 % of mass",
    "reading/mass90": "90 % of mass",
    "reading/grid18": "18 × 18 tokens",
}

_PLACES = {name: place for place, name in enumerate(DetectionScores._fields)}


class Unit(NamedTuple):
    """In what a metric is shown: its value times ``factor``, with so many ``digits`` behind the point."""

    name: str
    """Of a difference."""
    factor: float = 1
    digits: int = 1


POINTS = Unit("points", 100)
"""Of fractions, which are shown in percent."""
PERCENT = Unit("points")
"""Of what is in percent already."""
_UNITS = {
    "subspace_coding_rate": Unit("nats"),
    "cost/gmacs": Unit("GMACs", digits=3),
    "cost/gmacs_linear": Unit("GMACs", digits=3),
    "cost/milliseconds": Unit("ms"),
    "norms/median": Unit(""),
    "prefix/norm": Unit(""),
    "prefix/like_cls": Unit("", digits=2),
    "prefix/alike": Unit("", digits=2),
    "norms/largest": Unit(""),
    "norms/neighbour_cosine": Unit("", digits=3),
    "tail/largest": Unit("medians", digits=2),
    "tail/quantile999": Unit("medians", digits=2),
    "tail/kurtosis": Unit(""),
    "tail/register": Unit("medians", digits=2),
    "local/position_distance": Unit("patches", digits=2),
    "local/reconstruction": Unit("", digits=2),
    "local/mean_patch": Unit("", digits=2),
    "global/spread": Unit("points", 100, digits=2),
    "speed/throughput": Unit("images/s"),
    "speed/fps": Unit("images/s"),
    "speedup/throughput": Unit("×", digits=2),
    "speedup/fps": Unit("×", digits=2),
}
"""The metrics that are no fractions."""


def unit_of(metric: str) -> Unit:
    """In what a metric is shown."""
    return _UNITS.get(metric, POINTS)


LAYER_LABELS = {"layer-1": "last layer", "layer-2": "last but one"}
RULE_LABELS = {
    "entries60": "60 % of entries",
    "entries20": "20 % of entries",
    "code": "rule of the code",
    "code_one_scale": "code, one scale",
    "text": "rule of the text",
    "text_nonzero": "text, nonzero",
}


def metric_label(metric: str) -> str:
    """A metric's short name in a table's head, with its layer, and with its rule unless that is 60 % of the mass."""
    if metric in METRIC_LABELS or "layer" not in metric:
        return METRIC_LABELS.get(metric, metric)
    family, *rules, layer = metric.split("/")
    names = [METRIC_LABELS.get(family, family), *(RULE_LABELS[rule] for rule in rules if rule in RULE_LABELS)]
    return ", ".join([*names, LAYER_LABELS.get(layer, layer)])


def paper_table(table: str, models: Sequence[str]) -> pd.DataFrame:
    """A paper's table as printed: a row per model, columns (``paper``, data set, metric), in the paper's unit."""
    rows = [row for row in paper_values(table) if row["model"] in models]
    columns = list(dict.fromkeys((row["data"], row["metric"]) for row in rows))
    cells = {(row["model"], row["data"], row["metric"]): row["value"] for row in rows}
    return _frame(
        "paper",
        models,
        {
            (data, metric_label(metric)): [cells.get((model, data, metric), "–") for model in models]
            for data, metric in columns
        },
    )


def parameter_table(configs: Mapping[str, BackboneConfig], printed: Mapping[str, float]) -> pd.DataFrame:
    """Parameters of each model: what a paper printed, in millions, and ours by part, by formula and by count.

    The last column is how many millions the count is off the print, whose last digit may be rounded.
    """
    rows = []
    for name, config in configs.items():
        formula, counted = parameters_by_part(config), parameters_by_count(config)
        rows.append(
            {
                "paper": f"{printed[name]:.2f}",
                **{part: f"{number / 1e6:.2f}" for part, number in formula.items()},
                "formula": f"{sum(formula.values()):,}",
                "counted": f"{sum(counted.values()):,}",
                "off by": f"{sum(counted.values()) / 1e6 - printed[name]:+.2f}",
            }
        )
    return pd.DataFrame(rows, index=pd.Index([label(name) for name in configs], name="model"))


def record_table(
    title: str, records: Sequence[Record], models: Sequence[str], columns: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Measured numbers in their units, with half the width of the interval and, for several seeds, their number.

    ``columns`` are (data set, metric) pairs.  A model without a record gets a dash.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for name, metric in columns:
        found = [select(records, data=name, metric=metric, model=model) for model in models]
        cells[data_label(name), metric_label(metric)] = [_cell(over_seeds(one)) if one else "–" for one in found]
    return _frame(title, models, cells)


def _cell(record: Record) -> str:
    number = number_cell(record.interval, unit_of(record.metric))
    return number + (f" ({len(record.seeds)} seeds)" if len(record.seeds) > 1 else "")


def number_cell(interval: Interval, unit: Unit) -> str:
    """A number in its unit, with half the width of its interval."""
    value, low, high, _ = interval
    half = "" if low is None or high is None else f" ± {unit.factor * (high - low) / 2:.{unit.digits}f}"
    number = f"{unit.factor * value:.{unit.digits}f}{half}"
    return number.replace(" ", "\N{NO-BREAK SPACE}")  # number and interval stay on one line


def step_panels(
    records: Sequence[Record], step: str, *, metrics: Mapping[str, str], data: Sequence[str]
) -> dict[str, dict[str, dict[int, Interval]]]:
    """Panels for :func:`wbcore.plots.curves`: each metric by its name, on each data set that has records of it."""
    found = {
        f"{name}, {data_label(one)}": by_step(records, step, data=one, metric=metric)
        for name, metric in metrics.items()
        for one in data
    }
    return {title: curves for title, curves in found.items() if curves}


def curve_table(panels: Mapping[str, Mapping[str, Mapping[int, Interval]]], *, step: str) -> pd.DataFrame:
    """The numbers that :func:`wbcore.plots.curves` draws, with half the width of the interval.

    A row for each panel and model, a column for each ``step``, such as a layer.  What is missing gets a dash.
    """
    rows = {(title, model): places for title, models in panels.items() for model, places in models.items()}
    steps = sorted({place for places in rows.values() for place in places})
    cells = {
        f"{step} {place}": [number_cell(row[place], PERCENT) if place in row else "–" for row in rows.values()]
        for place in steps
    }
    index = pd.MultiIndex.from_tuples([(title, label(model)) for title, model in rows], names=["", "model"])
    return pd.DataFrame(cells, index=index)


def _frame(title: str, models: Sequence[str], cells: Mapping[tuple[str, str], Sequence[str]]) -> pd.DataFrame:
    frame = pd.DataFrame(dict(cells), index=pd.Index([label(model) for model in models], name="model"))
    frame.columns = pd.MultiIndex.from_tuples([(title, *column) for column in cells])
    return frame


def order_table(
    records: Sequence[Record],
    chain: Sequence[str],
    columns: Sequence[tuple[str, str]],
) -> pd.DataFrame:
    """Does each model of ``chain`` beat the next?  The difference in points with its 95 % interval, and a verdict.

    Models without a record are passed over.
    *holds* when the whole interval is above zero, *fails* when it is below, *undecided* when it spans zero.  *seeds*
    says how many training runs stand behind the one and the other.
    """
    rows = []
    for name, metric in columns:
        found = {model: select(records, data=name, metric=metric, model=model) for model in chain}
        for better, worse in itertools.pairwise(model for model in chain if found[model]):
            left, right = over_seeds(found[better]), over_seeds(found[worse])
            comparison = greater(left, right)
            rows.append(
                {
                    "data": data_label(name),
                    "metric": metric_label(metric),
                    "claim": f"{label(better)} > {label(worse)}",
                    **difference_cells(comparison, "difference (points)", POINTS),
                    "seeds": f"{len(left.seeds)} / {len(right.seeds)}",
                    "verdict": comparison.verdict,
                }
            )
    names = ["data", "metric", "claim", "difference (points)", "95 % interval", "images", "seeds", "verdict"]
    return pd.DataFrame(rows, columns=names).set_index("data")


def rank_table(records: Sequence[Record], models: Sequence[str], columns: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The models from best to worst under each metric, with their percent: a row per metric, a column per data set.

    Between neighbours ``>`` where the 95 % interval of their difference is above zero, else ``≈``.  Models without a
    record are passed over, and so is a data set that lacks a metric.
    """
    cells: dict[str, dict[str, str]] = {}
    for name, metric in columns:
        found = [select(records, data=name, metric=metric, model=model) for model in models]
        ranked = sorted((over_seeds(one) for one in found if one), key=lambda one: -one.value)
        places = [f"{label(one.model)} {100 * one.value:.1f}".replace(" ", "\N{NO-BREAK SPACE}") for one in ranked]
        signs = [">" if greater(*pair).verdict == "holds" else "≈" for pair in itertools.pairwise(ranked)]
        order = " ".join(itertools.chain(places[:1], *zip(signs, places[1:], strict=True)))
        cells.setdefault(data_label(name), {})[metric_label(metric)] = order or "–"
    return pd.DataFrame(cells).fillna("–")


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


def difference_cells(comparison: Comparison, title: str, unit: Unit) -> dict[str, str | int]:
    """A difference in its unit, below ``title``, with its interval and the number of images behind it."""
    value, low, high, n = comparison.difference
    shown = [None if one is None else f"{unit.factor * one:+.{unit.digits}f}" for one in (value, low, high)]
    interval = "" if None in shown else f"[{shown[1]},\N{NO-BREAK SPACE}{shown[2]}]"
    return {title: f"{shown[0]}", "95 % interval": interval, "images": n}


def claims_table(records: Sequence[Record], notebook: str) -> pd.DataFrame:
    """The claims that belong to a notebook, each with its test, what was measured and the verdict.

    ○ marks a claim whose outcome its author knew when it was written down.
    """
    decisions = [decide(claim, records) for claim in load_claims() if claim.notebook == notebook]
    names = ["claim", "test", "difference", "95 % interval", "images", "seeds", "verdict"]
    return pd.DataFrame([claim_row(decision) for decision in decisions], columns=names).set_index("claim")


def claim_row(decision: Decision) -> dict[str, str | int]:
    """A claim as the row of a table: its wording, its test, what was measured and the verdict."""
    claim = decision.claim
    row: dict[str, str | int] = {
        "claim": f"{claim.wording[:-1]} ({claim.place})" + (" ○" if claim.known else ""),
        "test": _test(claim),
        **dict.fromkeys(("difference", "95 % interval", "images", "seeds"), "–"),
    }
    if claim.check is not None and decision.comparison is not None:
        unit = unit_of(claim.check.metric)
        row |= difference_cells(decision.comparison, "difference", unit)
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


def order_range_table(
    records: Sequence[Record], models: tuple[str, str], columns: Sequence[tuple[str, str]], *, orders: int = 100
) -> pd.DataFrame:
    """How the APs of two models, and the lead of the first, move with the order in which equal scores are ranked.

    For each model in percent: the recorded order (images by id), the least and the greatest over ``orders`` random
    orders of the images, and *by round*: the first masks of all images before all second ones.  Last, the share of
    the random orders in which the first model leads.  A column that lacks a model or its matches is passed over; of
    several seeds the first is shown, because an order belongs to one run.
    """
    rows = []
    for name, metric in columns:
        found = [select(records, data=name, metric=metric, model=model)[:1] for model in models]
        lines = [one.matches for seeds in found for one in seeds if one.matches is not None]
        if len(lines) == len(models):
            both, which = [matches_from_lines(each) for each in lines], metric.split("/")[1]
            row = {("", "data"): data_label(name), ("", "metric"): metric_label(metric)}
            for model, matches in zip(models, both, strict=True):
                interval = getattr(order_range(matches, orders=orders), which)
                ranked = average_precision(by_rank(matches))[_PLACES[which]]
                row[label(model), "images by id"] = f"{100 * interval.value:.2f}"
                row[label(model), "in random orders"] = f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"
                row[label(model), "by round"] = f"{100 * ranked:.2f}"
            lead = order_lead(*both, orders=orders)[_PLACES[which]]
            row[f"{label(models[0])} leads", "in random orders"] = f"{100 * lead:.0f} %"
            rows.append(row)
    return pd.DataFrame(rows)
