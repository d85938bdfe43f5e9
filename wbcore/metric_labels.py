"""What tables and figures call metrics, and in what unit they show them."""

from typing import NamedTuple

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
