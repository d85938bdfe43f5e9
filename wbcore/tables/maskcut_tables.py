"""How AP and the order of the models move with MaskCut's settings and its CRF: records → tables and curves."""

import itertools
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from wbcore.labels import data_label, label, maskcut_label
from wbcore.metric_labels import metric_label
from wbcore.metrics.detection import matches_from_lines
from wbcore.metrics.intervals import Interval
from wbcore.records import Comparison, Record, along, greater, over_seeds, select

AXES = {"tau": 15, "masks": 3, "size": 72, "layer": 6}
"""The settings that have an order, with the value that a model's plain name stands for; τ in hundredths."""


def setting_label(ending: str) -> str:
    """What tables call the setting that ``ending`` adds to a model's name; nothing is as in Table 1."""
    if found := re.fullmatch(r"_layer(\d+)", ending):
        return f"layer {found[1]}"
    found = re.fullmatch(r"_([a-z]+)(\d*)", ending)
    return maskcut_label(*found.groups()) if found else "as in Table 1"


def setting_curves(
    records: Sequence[Record], axis: str, models: Sequence[str], *, data: str, metric: str, blind: Sequence[str] = ()
) -> dict[str, dict[int, Interval]]:
    """A metric in percent along one of :data:`AXES`, for each model that was measured there.

    The record of a model's plain name stands at its place.  Of ``blind`` models one without another record is a level
    line: a setting that they were not measured with does not change them.
    """
    endings = {int(found[1]) for one in records if (found := re.fullmatch(rf".+_{axis}(\d+)", one.model))}
    places = sorted(endings | {AXES[axis]})
    curves = {}
    for model in models:
        names = {place: f"{model}_{axis}{place}" for place in places} | {AXES[axis]: model}
        found = along(records, names, data=data, metric=metric)
        if len(found) == 1 and model in blind:
            found = along(records, dict.fromkeys(places, model), data=data, metric=metric)
        if found:
            curves[model] = {place: one.interval.percent() for place, one in found.items()}
    return curves


def leads(
    records: Sequence[Record],
    left: str,
    right: str,
    endings: Sequence[str],
    *,
    data: str,
    metric: str,
    blind: Sequence[str] = (),
) -> dict[str, Comparison]:
    """Left minus right under each setting that both were measured with, on the same images.

    ``blind`` as for :func:`setting_curves`.
    """
    found = {}
    known = select(records, data=data, metric=metric)
    for ending in endings:
        both = [select(known, model=name + ending) for name in (left, right)]
        both = [
            one or (select(known, model=name) if name in blind else [])
            for one, name in zip(both, (left, right), strict=True)
        ]
        if all(both):
            found[ending] = greater(*(over_seeds(one) for one in both))
    return found


def lead_counts_table(
    records: Sequence[Record],
    pairs: Sequence[tuple[str, str]],
    endings: Sequence[str],
    columns: Sequence[tuple[str, str]],
    *,
    blind: Sequence[str] = (),
) -> pd.DataFrame:
    """Of the settings, in how many the left model's AP is greater, and in how many the whole interval says so.

    Reads "greater (holds, fails) of settings"; ``blind`` as for :func:`setting_curves`.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for data, metric in columns:
        found = [list(leads(records, *pair, endings, data=data, metric=metric, blind=blind).values()) for pair in pairs]
        cells[data_label(data), metric_label(metric)] = [
            f"{sum(one.difference.value > 0 for one in each)} "
            f"({sum(one.verdict == 'holds' for one in each)}, {sum(one.verdict == 'fails' for one in each)}) "
            f"of {len(each)}"
            for each in found
        ]
    index = pd.Index([f"{label(left)} > {label(right)}" for left, right in pairs], name="claim")
    return pd.DataFrame(cells, index=index)


def order_by_setting_table(
    records: Sequence[Record],
    models: Sequence[str],
    endings: Sequence[str],
    columns: Sequence[tuple[str, str]],
    *,
    digits: int = 1,
) -> pd.DataFrame:
    """The models from best to worst, with their percent: a row for each setting, a column for each data and metric.

    Between neighbours ``>`` where the 95 % interval of their difference is above zero, else ``≈``.  Models without a
    record are passed over.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for data, metric in columns:
        cells[data_label(data), metric_label(metric)] = [
            _order(records, models, ending, data, metric, digits) for ending in endings
        ]
    return pd.DataFrame(cells, index=pd.Index([setting_label(ending) for ending in endings], name="setting"))


def _order(records: Sequence[Record], models: Sequence[str], ending: str, data: str, metric: str, digits: int) -> str:
    known = {model: select(records, model=model + ending, data=data, metric=metric) for model in models}
    found = {model: over_seeds(one) for model, one in known.items() if one}
    ranked = sorted(found, key=lambda model: -found[model].value)
    places = [f"{label(one)} {100 * found[one].value:.{digits}f}" for one in ranked]
    signs = [
        ">" if greater(found[better], found[worse]).verdict == "holds" else "≈"
        for better, worse in itertools.pairwise(ranked)
    ]
    places = [place.replace(" ", "\N{NO-BREAK SPACE}") for place in places]
    return " ".join(itertools.chain(places[:1], *zip(signs, places[1:], strict=True))) or "–"


def effect_table(
    records: Sequence[Record], models: Sequence[str], ending: str, columns: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """What a setting changes of each model's AP, in points with its 95 % interval; ``*`` where that is not about zero.

    A model without one of the two records gets a dash.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for data, metric in columns:
        column = []
        for model in models:
            pair = [select(records, model=name, data=data, metric=metric) for name in (model + ending, model)]
            column.append(_difference(greater(*(over_seeds(one) for one in pair))) if all(pair) else "–")
        cells[data_label(data), metric_label(metric)] = column
    return pd.DataFrame(cells, index=pd.Index([label(model) for model in models], name="model"))


def _difference(comparison: Comparison) -> str:
    value, low, high, _ = comparison.difference
    if low is None or high is None:
        return f"{100 * value:+.2f}"
    text = f"{100 * value:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]" + (" *" if low > 0 or high < 0 else "")
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def mask_counts_table(
    records: Sequence[Record], models: Sequence[str], endings: Sequence[str], *, data: Sequence[str]
) -> pd.DataFrame:
    """How many masks MaskCut returns for an image, in the mean, under each setting: dropped ones do not count.

    A model whose matches were not kept gets a dash; of several seeds the first is shown.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for name in data:
        for ending in endings:
            found = [select(records, model=model + ending, data=name, metric="maskcut_bbox/ap") for model in models]
            lines = [one[0].matches if one else None for one in found]
            cells[data_label(name), setting_label(ending)] = [
                "–" if each is None else f"{matches_from_lines(each).count.mean():.2f}" for each in lines
            ]
    return pd.DataFrame(cells, index=pd.Index([label(model) for model in models], name="model"))


def spread_table(
    records: Sequence[Record],
    models: Sequence[str],
    endings: Sequence[str],
    *,
    data: Sequence[str],
    metric: str,
) -> pd.DataFrame:
    """Each model's AP in percent as in Table 1, and the least and the greatest over all settings, with its setting.

    The least and the greatest are chosen on the images that they are measured on.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for name in data:
        columns: Mapping[str, list[str]] = {"as in Table 1": [], "least": [], "greatest": []}
        for model in models:
            known = {ending: select(records, model=model + ending, data=name, metric=metric) for ending in endings}
            found = {ending: over_seeds(one).value for ending, one in known.items() if one}
            columns["as in Table 1"].append(f"{100 * found['']:.2f}" if "" in found else "–")
            for title, choose in (("least", min), ("greatest", max)):
                chosen = choose(found, key=lambda ending: found[ending]) if found else ""
                columns[title].append(f"{100 * found[chosen]:.2f} ({setting_label(chosen)})" if found else "–")
        cells |= {(data_label(name), title): column for title, column in columns.items()}
    return pd.DataFrame(cells, index=pd.Index([label(model) for model in models], name="model"))
