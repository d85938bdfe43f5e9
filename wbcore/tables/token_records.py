"""What the records of a segmentation model say of token-pass image by image and class by class, and tables of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from wbcore.labels import class_label, data_label, label
from wbcore.measuring.token_use import cost_relations
from wbcore.metric_labels import POINTS
from wbcore.metrics.correlation import rank_correlation
from wbcore.metrics.intervals import Interval
from wbcore.metrics.segmentation import class_iou, tallies_from_lines
from wbcore.records import Record, over_seeds, segmenter_of, select
from wbcore.tables.numbers import number_cell


@dataclass(frozen=True, eq=False)
class TokenUse:
    """One model on one data set.  Of several seeds the first says what is said image by image."""

    title: str
    classes: tuple[str, ...]
    """Those that some image has, as below."""
    pixels: Int[np.ndarray, "n c"]
    """Of each class in each image, by the annotation."""
    iou: tuple[Interval, ...]
    kept_by_class: tuple[tuple[Interval, ...], ...]
    """``[class][decision]``: the share of its pixels that goes on."""
    kept: Float[np.ndarray, "n d"]
    """The share of each image's patches that goes on after each decision."""
    gmacs: Float[np.ndarray, "n"]
    dense: float | None
    """Thousand millions of multiply-accumulates of the dense model, where it was recorded."""

    def relations(self) -> dict[str, Interval]:
        """:func:`wbcore.measuring.token_use.cost_relations` of these images."""
        return cost_relations(self.gmacs, self.pixels, self.classes)


def token_uses(records: Sequence[Record], wanted: Sequence[tuple[str, str]]) -> list[TokenUse]:
    """(Data set, model) pairs; a model that was not measured there, or keeps all tokens, is left out."""
    found = [_token_use(select(records, data=data), model, data) for data, model in wanted]
    return [use for use in found if use is not None]


def _token_use(records: Sequence[Record], model: str, data: str) -> TokenUse | None:
    known = select(records, model=model)
    by_metric: dict[str, list[Record]] = {}
    for record in known:
        by_metric.setdefault(record.metric, []).append(record)
    marks = [metric.split("/", 2)[1:] for metric in by_metric if metric.startswith("kept_by_class/")]
    if not marks:
        return None
    decisions, classes = (tuple(dict.fromkeys(column)) for column in zip(*marks, strict=True))
    tallies = tallies_from_lines(by_metric["segmentation/miou"][0].tallies or ())
    present = np.flatnonzero(tallies.labelled.any(axis=0))
    ious = class_iou(tallies)
    dense = select(records, model=_dense(model), metric="cost/gmacs")
    return TokenUse(
        title=f"{label(model)} on {data_label(data)}",
        classes=classes,
        pixels=tallies.labelled[:, present],
        iou=tuple(ious[number] for number in present),
        kept_by_class=tuple(
            tuple(over_seeds(by_metric[f"kept_by_class/{one}/{name}"]).interval for one in decisions)
            for name in classes
        ),
        kept=np.array([by_metric[f"kept/{one}"][0].values for one in decisions]).T,
        gmacs=np.array(by_metric["cost/gmacs"][0].values),
        dense=dense[0].value if dense else None,
    )


def _dense(model: str) -> str:
    name = segmenter_of(model)
    return model if name is None else f"{name.decoder}_{name.backbone}_dense"


def class_table(uses: Sequence[TokenUse]) -> pd.DataFrame:
    """Every class in percent, those of which least goes on after the first decision on top: how much of all pixels it
    has, its IoU, and how much of it goes on after each decision."""
    rows = {}
    for use in uses:
        shares = use.pixels.sum(axis=0) / use.pixels.sum()
        for number in sorted(range(len(use.classes)), key=lambda place: use.kept_by_class[place][0].value):
            rows[use.title, class_label(use.classes[number])] = {
                "share of pixels": f"{100 * shares[number]:.1f}",
                "IoU": number_cell(use.iou[number], POINTS),
                **{
                    f"goes on after {decision}": number_cell(interval, POINTS)
                    for decision, interval in enumerate(use.kept_by_class[number], start=1)
                },
            }
    return _framed(rows)


def class_rank_table(uses: Sequence[TokenUse]) -> pd.DataFrame:
    """Rank correlations over the classes: what goes on after each decision, with IoU and with the share of pixels."""
    rows = {}
    for use in uses:
        sizes, ious = use.pixels.sum(axis=0), np.array([one.value for one in use.iou])
        for name, values in (("IoU", ious), ("share of pixels", sizes)):
            rows[use.title, f"{name}, {len(sizes)} classes"] = {
                f"goes on after {decision}": _order(kept, values)
                for decision, kept in enumerate(zip(*use.kept_by_class, strict=True), start=1)
            }
    return _framed(rows)


def _order(kept: Sequence[Interval], values: Shaped[np.ndarray, "c"]) -> str:
    found = rank_correlation(np.array([one.value for one in kept]), values, resamples=0).value
    return "–" if np.isnan(found) else f"{found:+.2f}"


def border_table(kept: Mapping[str, Sequence[Interval]]) -> pd.DataFrame:
    """What goes on of patches by what they show (:func:`wbcore.measuring.token_use.kept_at_borders`), in percent."""
    rows = {
        name: {
            f"goes on after {decision}": number_cell(interval, POINTS)
            for decision, interval in enumerate(intervals, start=1)
        }
        for name, intervals in kept.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("patches that show")


def spread_table(uses: Sequence[TokenUse]) -> pd.DataFrame:
    """GMACs of single images: the cheapest, the quartiles, the dearest, and how many times the cheapest that is."""
    rows = {}
    for use in uses:
        least, *quartiles, greatest = np.quantile(use.gmacs, [0, 0.25, 0.5, 0.75, 1])
        rows[use.title, f"{len(use.gmacs)} images"] = {
            "dense": "–" if use.dense is None else f"{use.dense:.3f}",
            "cheapest": f"{least:.3f}",
            **{name: f"{value:.3f}" for name, value in zip(("25 %", "median", "75 %"), quartiles, strict=True)},
            "dearest": f"{greatest:.3f}",
            "dearest / cheapest": f"{greatest / least:.2f}",
        }
    return _framed(rows)


def cases_table(uses: Sequence[TokenUse]) -> pd.DataFrame:
    """The cheapest and the dearest image: which share of the patches each block works on, and what it costs."""
    rows = {}
    for use in uses:
        for name, image in (("cheapest image", use.gmacs.argmin()), ("dearest image", use.gmacs.argmax())):
            shares = [1.0, *use.kept[image]]
            rows[use.title, name] = {
                **{f"block {block}": f"{100 * share:.0f} %" for block, share in enumerate(shares, start=1)},
                "GMACs": f"{use.gmacs[image]:.3f}",
                "of dense": "–" if use.dense is None else f"{100 * use.gmacs[image] / use.dense:.0f} %",
            }
    return _framed(rows)


def relation_table(relations: Mapping[str, Mapping[str, Interval]]) -> pd.DataFrame:
    """Rank correlations with the cost of an image: a row for what it shows, a column for each title.

    ``*`` marks an interval that does not span zero.
    """
    names = list(dict.fromkeys(name for found in relations.values() for name in found))
    cells = {
        f"{title} ({next(iter(found.values())).n} images)": [
            _correlation(found[name]) if name in found else "–" for name in names
        ]
        for title, found in relations.items()
    }
    index = pd.Index(map(class_label, names), name="rank correlation of GMACs with")
    return pd.DataFrame(cells, index=index)


def _correlation(interval: Interval) -> str:
    value, low, high, _ = interval
    if low is None or high is None:
        return "–"
    text = f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" + (" *" if low > 0 or high < 0 else "")
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _framed(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict({place: dict(row) for place, row in rows.items()}, orient="index").fillna("–")
    if rows:
        frame.index = pd.MultiIndex.from_tuples(rows, names=["model and data", ""])
    return frame
