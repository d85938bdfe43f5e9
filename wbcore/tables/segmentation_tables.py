"""Records of segmentation models → DoViT's tables: accuracy beside cost, and what models of the papers' sizes cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import pandas as pd

from wbcore.errors import InputError
from wbcore.labels import BACKBONE_LABELS, DECODER_LABELS, backbone_label, class_label, data_label, variant_label
from wbcore.metric_labels import POINTS, metric_label, unit_of
from wbcore.metrics.intervals import Interval
from wbcore.metrics.segmentation import class_iou, tallies_from_lines
from wbcore.metrics.segmentation_cost import SegmenterShape, dense_ledger, segmentation_parameters
from wbcore.models import list_models, model_config
from wbcore.models.dovit import SegmenterConfig
from wbcore.records import (
    Comparison,
    Record,
    SegmenterName,
    greater,
    greater_by_run,
    kept,
    over_seeds,
    paper_values,
    runs_of,
    segmenter_of,
    select,
)
from wbcore.segmentation_study import decisions_of
from wbcore.tables.numbers import difference_cells, number_cell

MIOU, GMACS = "segmentation/miou", "cost/gmacs"
SCORES = (MIOU, "segmentation/pa", "segmentation/mpa")
COSTS = {GMACS: "with attention", "cost/gmacs_linear": "linear only"}
DASH = "–"
LEVELS = ["decoder", "backbone", "model"]
"""What a segmentation model's name says of it, from the outside inwards."""


def segmenters_in(records: Sequence[Record], endings: Sequence[str]) -> list[str]:
    """The models of ``records`` whose names have one of ``endings`` (``dense``, ``dovit_xi960``), in this order.

    Models of one family, which is a decoder with a backbone, stand together.
    """
    present = {record.model for record in records}
    families = {_family(model) for model in present if segmenter_of(model) is not None}
    order = [*DECODER_LABELS], [*BACKBONE_LABELS]
    ranked = sorted(families, key=lambda family: [_place(*pair) for pair in zip(family, order, strict=True)])
    models = ["_".join([*family, ending]) for family in ranked for ending in endings]
    return [model for model in models if model in present]


def accuracy_table(
    title: str,
    records: Sequence[Record],
    models: Sequence[str],
    *,
    data: str,
    configs: Mapping[str, SegmenterShape] | None = None,
) -> pd.DataFrame:
    """mIoU, PA and mPA, what an image costs on average, what that saves of the dense model, and parameters.

    Scores are in percent, and so is what is saved, with intervals over images; costs are in GMACs, with attention's
    products and without.  *added* are the parameters that decide on tokens and that the dense model does not run.
    ``configs`` are those of the models that were measured; what is not there is built as its name says.  What has no
    record gets a dash.
    """
    rows = []
    for model in models:
        found = {metric: _find(records, model, metric, data) for metric in (*SCORES, *COSTS)}
        dense = {metric: _find(records, _sibling(model, "dense"), metric, data) for metric in COSTS}
        row = {("%", metric_label(metric)): _cell(found[metric]) for metric in SCORES}
        row |= {("GMACs", name): _cell(found[metric], spread=False) for metric, name in COSTS.items()}
        row |= {("saved (%)", name): _saved(found[metric], dense[metric]) for metric, name in COSTS.items()}
        rows.append(row | _parameters(found[MIOU], (configs or {}).get(model)))
    return _frame(rows, _names(records, models, data), f"{title}, {data_label(data)}")


def difference_table(
    records: Sequence[Record],
    models: Sequence[str],
    *,
    data: str,
    reference: str = "dense",
    metrics: Sequence[str] = (MIOU, GMACS),
    over: Literal["images", "runs"] = "images",
) -> pd.DataFrame:
    """By how much each model differs from the one of its family that is called ``reference``, image by image.

    Intervals (95 %) are over the images of the first run, or ``over`` pairs of training runs with one seed.  Models
    without a record, or whose reference has none, are passed over, and so is, over runs, what was trained once.
    """
    rows, shown = [], []
    for model in models:
        other = _sibling(model, reference)
        pairs = [(select(records, data=data, metric=metric), (model, other)) for metric in metrics if model != other]
        compared = [found for known, pair in pairs if (found := _compared(known, pair, over)) is not None]
        if compared and len(compared) == len(pairs):
            cells: dict[tuple[str, str], str | int] = {}
            for metric, comparison in zip(metrics, compared, strict=True):
                found = difference_cells(comparison, unit_of(metric).name, unit_of(metric), over=over)
                cells |= {(metric_label(metric), column): cell for column, cell in found.items() if column != over}
            rows.append({**cells, ("", over): compared[0].difference.n})
            shown.append(model)
    against = variant_label(*_parts(_sibling(models[0], reference))[2:]) if models else reference
    return _frame(rows, _names(records, shown, data), f"minus {against}, {data_label(data)}")


def run_differences(
    records: Sequence[Record], models: Sequence[str], *, data: str, reference: str = "dense"
) -> dict[str, tuple[list[float], Interval]]:
    """mIoU of each model minus that of its family's ``reference``, in points: of each pair of runs, and of their mean.

    The rows of :func:`difference_table` over runs.
    """
    known, found = select(records, data=data, metric=MIOU), {}
    for model in models:
        pair = (model, _sibling(model, reference))
        if pair[0] != pair[1] and (compared := _compared(known, pair, "runs")) is not None:
            ours, theirs = ({run.seeds: run.value for run in runs_of(known, [one])} for one in pair)
            both = sorted(ours.keys() & theirs.keys())
            found[model] = [100 * (ours[seeds] - theirs[seeds]) for seeds in both], compared.difference.percent()
    return found


def _compared(records: Sequence[Record], pair: tuple[str, str], over: Literal["images", "runs"]) -> Comparison | None:
    """The one minus the other of ``pair``, of whose one metric on some data ``records`` are."""
    if over == "images":
        left, right = (select(records, model=model) for model in pair)
        return greater(over_seeds(left), over_seeds(right)) if left and right else None
    ours, theirs = (runs_of(records, [model]) for model in pair)
    return greater_by_run(ours, theirs) if min(len(ours), len(theirs)) > 1 else None


def class_table(
    records: Sequence[Record], models: Sequence[str], groups: Mapping[str, str], *, data: str
) -> pd.DataFrame:
    """The IoU of every class in percent, with intervals over images: a row for each class, a column for each model.

    ``groups`` are the names of all classes, in order, with what they are (stuff, or things).

    Raises: InputError if a record knows another number of classes.
    """
    columns = {}
    for model, name in zip(models, _names(records, models, data), strict=True):
        found = _find(records, model, MIOU, data)
        if found is not None and found.tallies is not None:
            ious = class_iou(tallies_from_lines(found.tallies))
            if len(ious) != len(groups):
                raise InputError(f"{model} has {len(ious)} classes on {data}, {len(groups)} are named: name every one")
            columns[name] = [number_cell(one, POINTS) for one in ious]
    places = [(group, class_label(name)) for name, group in groups.items()]
    index = pd.MultiIndex.from_tuples(places, names=["", "class"])
    frame = pd.DataFrame(columns, index=index)
    frame.columns = pd.MultiIndex.from_tuples(list(columns), names=LEVELS) if columns else frame.columns
    return frame.sort_index(level=0, sort_remaining=False)


class FullSize(NamedTuple):
    """At what size a data set's images are segmented."""

    image: tuple[int, int]
    """Rows and columns of the whole image, in pixels."""
    crop: tuple[int, int]
    """Of a training crop, at which the position embedding is learned."""
    classes: int


FULL_SIZES = {
    "cityscapes": FullSize((1024, 2048), (768, 768), 19),
    "ade20k": FullSize((512, 512), (512, 512), 150),
}
"""DoViT, section 4.1; crops: the official configurations."""

_SHAPES = {
    "ViT-L/16": "vit_large_patch16_224",
    "ViT-B/16, DeiT-B/16": "vit_base_patch16_224",
    "ViT-S/16, DeiT-S/16": "vit_small_patch16_224",
}


def full_size_table(sizes: Mapping[str, FullSize] = FULL_SIZES) -> pd.DataFrame:
    """What the dense models of DoViT's Tables 1 and 2 cost at the true sizes, by closed form.

    A row for each data set, decoder and backbone; DeiT without its distillation token is a ViT in shape.
    GMACs of a whole image; parameters without a classification head, and those that DoViT and DyViT add.
    """
    rows: dict[tuple[str, ...], dict[tuple[str, str], str]] = {}
    for data, size in sizes.items():
        for decoder, decoder_name in DECODER_LABELS.items():
            for shape, name in _SHAPES.items():
                config = _segmenter_config(name, decoder, size.classes, "ratio", image_size=size.crop)
                patch = config.backbone.patch_size
                macs = dense_ledger(config, (-(-size.image[0] // patch), -(-size.image[1] // patch))).whole
                parameters = segmentation_parameters(config)
                rows[data_label(data), decoder_name, shape] = {
                    ("GMACs", "with attention"): f"{macs.total / 1e9:,.1f}",
                    ("GMACs", "linear only"): f"{macs.linear / 1e9:,.1f}",
                    ("", "attention's share (%)"): f"{100 * macs.attention / macs.total:.1f}",
                    ("parameters", "million"): f"{parameters.dense / 1e6:.2f}",
                    ("parameters", "DoViT adds (thousand)"): f"{parameters.probes / 1e3:,.1f}",
                    ("parameters", "DyViT adds (thousand)"): f"{parameters.predictors / 1e3:,.1f}",
                }
    frame = pd.DataFrame(rows.values(), index=pd.MultiIndex.from_tuples(rows, names=["data", *LEVELS[:2]]))
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return frame


_UNIT_SIGNS = {"percent": " %", "points": " points", "times": " ×", "": ""}


def statement_table(*places: str) -> pd.DataFrame:
    """What DoViT's prose says in places such as ``section 4.2, Cityscapes``; the cells of its tables are not known.

    Raises: InputError for a place of which no statement is known.
    """
    known = paper_values("dovit_statements")
    if unknown := set(places) - {row["place"] for row in known}:
        raise InputError(
            f"no statement of {min(unknown)!r}: there are {'; '.join(dict.fromkeys(row['place'] for row in known))}"
        )
    rows = [row for place in places for row in known if row["place"] == place]
    said = [row["value"] + _UNIT_SIGNS.get(row["unit"], f" {row['unit']}") for row in rows]
    index = pd.Index([row["place"] for row in rows], name="place")
    return pd.DataFrame({"statement": [row["statement"] for row in rows], "paper": said}, index=index)


def _sibling(model: str, ending: str) -> str:
    """The model of the same family with another ending."""
    return "_".join([*_family(model), ending])


def _family(model: str) -> tuple[str, str]:
    return _parts(model)[:2]


def _parts(model: str) -> SegmenterName:
    found = segmenter_of(model)
    if found is None:
        raise InputError(f"{model!r} names no segmentation model: give a name such as setr_vit_base_dovit")
    return found


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    """Where ``name`` stands in ``order``; behind the last one if it does not."""
    return order.index(name) if name in order else len(order), name


def _find(records: Sequence[Record], model: str, metric: str, data: str) -> Record | None:
    found = select(records, model=model, metric=metric, data=data)
    return over_seeds(found) if found else None


def _names(records: Sequence[Record], models: Sequence[str], data: str) -> list[tuple[str, str, str]]:
    """Decoder, backbone and how tokens are saved, with ξ or ρ from the record where the name has none."""
    names = []
    for model in models:
        decoder, backbone, variant, setting = _parts(model)
        found = _find(records, model, MIOU, data)
        if not setting and found is not None:
            setting = _setting(found.settings.get("policy", {}))
        shown = variant_label(variant, setting) + _RULES.get(setting, "")
        names.append((DECODER_LABELS[decoder], backbone_label(backbone), shown))
    return names


_RULES = {"code": ", merging as in the code", "printed": ", merging as printed", "none": ", nothing merged"}
"""Rules of merging that a model is run with, as its name has them."""


def _setting(policy: Mapping[str, Any]) -> str:
    """ξ or ρ as names of models have it."""
    if policy.get("kind") == "confidence":
        return f"xi{round(1000 * policy['threshold'])}"
    return f"{round(100 * policy['keep_ratio'])}" if policy.get("kind") == "ratio" else ""


def _cell(record: Record | None, *, spread: bool = True) -> str:
    if record is None:
        return DASH
    interval = record.interval if spread else record.interval._replace(low=None, high=None)
    return number_cell(interval, unit_of(record.metric))


def _saved(record: Record | None, dense: Record | None) -> str:
    if record is None or dense is None or record.model == dense.model:
        return DASH
    value, low, high, n = kept(record, dense)
    return number_cell(
        Interval(1 - value, None if high is None else 1 - high, None if low is None else 1 - low, n), POINTS
    )


def _parameters(record: Record | None, config: SegmenterShape | None) -> dict[tuple[str, str], str]:
    columns = ("parameters", "million"), ("parameters", "added (thousand)")
    if record is None or record.tallies is None:
        return dict.fromkeys(columns, DASH)
    kind = record.settings["policy"]["kind"]
    if config is None:
        decoder, backbone, *_ = _parts(record.model)
        config = _segmenter_config(_zoo_name(backbone), decoder, tallies_from_lines(record.tallies).classes, kind)
    found = segmentation_parameters(config)
    added = {"confidence": found.probes, "ratio": found.predictors}.get(kind)
    return dict(
        zip(columns, (f"{found.dense / 1e6:.2f}", DASH if added is None else f"{added / 1e3:,.1f}"), strict=True)
    )


def _zoo_name(backbone: str) -> str:
    """The model behind a name in records: ``vit_base``, its equal in shape ``deit_base``, or a variant of the lab."""
    names = f"{backbone.replace('deit', 'vit')}_patch16_224", f"{backbone}_lab_patch8_72"
    known = [name for name in names if list_models(name)]
    if not known:
        raise InputError(f"no model is called {' or '.join(names)}: pass the configuration that was measured")
    return known[0]


def _segmenter_config(name: str, decoder: str, classes: int, kind: str, **backbone: Any) -> SegmenterConfig:
    shape = model_config(name, num_classes=0, **backbone)
    values = {
        "backbone": asdict(shape),
        "num_classes": classes,
        "decoder": decoder,
        "decisions": decisions_of(shape.depth),
        "policy": {"kind": kind},
    }
    return SegmenterConfig.from_dict(values)


def _frame(rows: Sequence[Mapping[tuple[str, str], Any]], names: Sequence[tuple[str, ...]], title: str) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(names, names=LEVELS) if names else None
    frame = pd.DataFrame(rows, index=index)
    frame.columns = pd.MultiIndex.from_tuples([(title, *column) for column in frame.columns]) if rows else frame.columns
    return frame
