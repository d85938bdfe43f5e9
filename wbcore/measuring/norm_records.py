"""The lengths of a model's tokens by layer, and what becomes of them: records of outliers and of their patches."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wbcore.data.example import Dataset, Example
from wbcore.metrics.norms import (
    attention_on,
    image_means,
    image_norms,
    log_histogram,
    neighbour_cosine,
    outliers,
    share_map,
    token_norms,
)
from wbcore.models import Backbone
from wbcore.records import Record
from wbcore.records.measured import Origin, mean_record, timed
from wbcore.showing import shown_batches

TIMES = 3
"""The second threshold, for models without a valley too: so many times the median of an image's patches."""


@dataclass(frozen=True, eq=False)
class NormReading:
    """What a model makes of images, patches only: ``l`` layers, ``n`` images, ``p`` patches."""

    norms: Float[Tensor, "l n p"]
    """After each layer, before the final LayerNorm."""
    attention: Float[Tensor, "l n p"]
    """What the class token pays to each patch in each layer, mean over heads."""
    neighbours: Float[Tensor, "n p"]
    """Mean cosine of each patch to its neighbours, as the patch embedding makes them."""
    grid: tuple[int, int]


def read_norms(model: Backbone, dataset: Dataset | Sequence[Example], *, size: int | None = None) -> NormReading:
    """The norms of all images, shown as squares of ``size`` pixels (default: the model's native size).

    The model stays on its device; the result is on the CPU.
    """
    layers = range(model.config.depth)
    read: dict[str, list[Tensor]] = {"norms": [], "attention": [], "neighbours": []}
    grid = (0, 0)
    for shown in shown_batches(model, dataset, size=size):
        with torch.inference_mode():
            layout, taps = model.layout(shown), model.taps(shown, {"tokens": layers, "cls_attention": layers})
            grid = layout.grid
            tokens, attention = (
                torch.stack([taps[name][layer] for layer in layers]) for name in ("tokens", "cls_attention")
            )
            read["norms"].append(token_norms(layout.patches(tokens)).cpu())
            read["attention"].append(layout.patches(attention, dim=-1).mean(dim=2).float().cpu())
            read["neighbours"].append(neighbour_cosine(model.patch_embedding(shown), grid).cpu())
    return NormReading(
        torch.cat(read["norms"], dim=1), torch.cat(read["attention"], dim=1), torch.cat(read["neighbours"]), grid
    )


def border(grid: tuple[int, int]) -> Float[Tensor, "p"]:
    """How many sides of the image each patch touches: 2 in a corner, 1 elsewhere on the border, 0 within."""
    rows, cols = (torch.arange(length) for length in grid)
    on_row, on_col = ((place == 0) | (place == len(place) - 1) for place in (rows, cols))
    return (on_row[:, None].float() + on_col.float()).flatten()


def norm_records(
    model: Backbone,
    dataset: Dataset,
    origin: Origin,
    *,
    threshold: float | None,
    size: int | None = None,
) -> list[Record]:
    """Norms by layer, and the patches of outliers, on one data set; see the metrics below.

    Outliers are the patches longer than ``threshold``, fixed on other images; None means that no threshold was found,
    and then there are none.  Norms are in the model's own unit, everything else is a share or a cosine.

    - of ``<name>_layer<l>`` (from 1): ``norms/median``, ``norms/largest``, ``norms/outlier_share``,
      ``norms/triple_share`` (above three times the image's own median), ``norms/attention_on_outliers`` (what the class
      token pays, in this layer, to the patches that are outliers after the last), ``norms/attention_on_corners``;
    - of ``<name>``: the shares after the last layer; the first holds the histogram in its settings, and
      ``norms/position_share``, the largest share of images in which one position is an outlier, the map, and the map of
      a single blank image;
    - of ``<name>_outliers``, ``<name>_normal``, ``<name>_border`` (normal patches of the border) and ``<name>_corners``
      (of whatever norm): ``norms/neighbour_cosine``, and of the first two ``norms/at_corners``, how many of them lie in
      a corner.  Without outliers the first is left out; else all are of the images that have outliers.

    Source: Registers, section 2, Figs. 3 to 5 and 10.
    """
    started, found = time.monotonic(), read_norms(model, dataset, size=size)
    infinite = float("inf") if threshold is None else threshold
    name, common = origin.name, origin.common(model.position.device, dataset.fingerprint)
    protocol = {
        "dataset": dataset.name,
        "size": size or model.config.size[0],
        "threshold": None if threshold is None else round(threshold, 4),
        "valley": threshold is not None,
        **origin.settings,
    }

    def record(metric: str, subject: str, values: Float[Tensor, "b"], **more: Any) -> Record:
        return mean_record(f"norms/{metric}", subject, values, settings={**protocol, **more}, **common)

    last = outliers(found.norms[-1], threshold=infinite)
    corners = (border(found.grid) == 2).expand_as(last)
    records = []
    for layer, (norms, attention) in enumerate(zip(found.norms, found.attention, strict=True), start=1):
        three = image_norms(norms, threshold=infinite)
        numbers = {
            "median": three.median,
            "largest": three.largest,
            "outlier_share": three.outlier_share,
            "triple_share": (norms > TIMES * three.median[:, None]).float().mean(dim=-1),
            "attention_on_outliers": attention_on(attention[:, None], last),
            "attention_on_corners": attention_on(attention[:, None], corners),
        }
        records += [record(metric, f"{name}_layer{layer}", values) for metric, values in numbers.items()]
        if layer == len(found.norms):
            edges, counts = log_histogram(norms)
            histogram = {"edges": [round(float(edge), 4) for edge in edges], "counts": [int(one) for one in counts]}
            records.append(record("outlier_share", name, numbers["outlier_share"], histogram=histogram))
            records.append(record("triple_share", name, numbers["triple_share"]))
    records += _patches(found, last, name, record)
    positions = share_map(last, found.grid)
    side = size or model.config.size[0]
    blank = read_norms(model, [Example("blank", np.full((side, side, 3), 128, np.uint8))], size=size)
    on_blank = share_map(outliers(blank.norms[-1], threshold=infinite), found.grid)
    records.append(
        Record(
            metric="norms/position_share",
            model=name,
            value=float(positions.max()),
            low=None,
            high=None,
            n=len(dataset),
            settings={**protocol, "map": _rounded(positions), "blank_map": _rounded(on_blank)},
            **common,
        )
    )
    return timed(records, started)


def _patches(found: NormReading, last: Tensor, name: str, record: Any) -> list[Record]:
    """Of outliers and of the patches to compare them with."""
    sides = border(found.grid).expand_as(last)
    kinds = {"outliers": last, "normal": ~last, "border": ~last & (sides > 0), "corners": sides == 2}
    chosen = torch.ones(len(last), dtype=torch.bool)
    if last.any():
        chosen = last.any(dim=-1)
    else:
        del kinds["outliers"]
    records = []
    for kind, where in kinds.items():
        left_out = int((~chosen).sum())
        cosines = image_means(found.neighbours[chosen], where[chosen])
        records.append(record("neighbour_cosine", f"{name}_{kind}", cosines, images_without_outliers=left_out))
        if kind in ("outliers", "normal"):
            corners = image_means((sides == 2).float()[chosen], where[chosen])
            records.append(record("at_corners", f"{name}_{kind}", corners, images_without_outliers=left_out))
    return records


def _rounded(share: Float[Tensor, "rows cols"]) -> list[list[float]]:
    return np.round(share.double().numpy(), 4).tolist()
