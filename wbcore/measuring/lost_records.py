"""Records of LOST: CorLoc of a model's features under every bias, chosen on other images, and of boxes that look at
nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Shaped

from wbcore.data.example import Dataset, Example
from wbcore.errors import InputError
from wbcore.measuring.lost_sweep import (
    FEW_BIASES,
    METRICS,
    Sweep,
    choose,
    facets,
    object_boxes,
    see,
    stock,
    stretched,
    sweep,
)
from wbcore.metrics.intervals import bootstrap
from wbcore.metrics.lost import Box, localises
from wbcore.models import Backbone
from wbcore.records import Record
from wbcore.records.measured import Origin, mean_record

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the image, that a box in its centre covers."""
FRAME = 1000
"""Into how many parts a side is divided to place a box that looks at nothing."""


def lost_records(model: Backbone, other: Sweep, found: Sweep, dataset: Dataset, origin: Origin) -> list[Record]:
    """CorLoc of a model from what LOST ``found`` on a data set; whatever is chosen, is chosen on ``other`` images.

    - ``corloc`` of ``<name>`` (facet, treatment and bias chosen), ``<name>_<facet>`` (treatment and bias chosen) and
      ``<name>_stock`` (LOST as published); the other :data:`METRICS` of the same;
    - ``corloc/<treatment>`` of ``<name>_<facet>`` (bias chosen), with the curve over biases in its settings: value,
      lower and upper bound for each, and the values on the other images.

    Source: Registers, Table 3; Siméoni et al., LOST (2021).
    """
    name, record = origin.name, _recorder(dataset, origin, model.position.device)
    ways = {f"{name}_{facet}": choose(other, facet=facet) for facet in facets(model)}
    ways |= {name: choose(other), f"{name}_stock": stock(model)}
    records = []
    for subject, way in ways.items():
        said = {**way._asdict(), "images_without_object": found.left_out}
        records += [record(metric, subject, found.of(way, metric), **said) for metric in METRICS]
    for facet, treatment in found.numbers:
        hits, there = found.hits(facet, treatment), other.hits(facet, treatment)
        place = _best(there, found.biases)
        said = {"bias": found.biases[place], **curve(hits, there, found.biases)}
        records.append(record(f"corloc/{treatment}", f"{name}_{facet}", hits[:, place], **said))
    return records


def _recorder(dataset: Dataset, origin: Origin, device: torch.device | str) -> Callable[..., Record]:
    """Metric, model, values of each image and further settings → the mean over images, with its interval."""
    common, protocol = origin.common(device, dataset.fingerprint), {"dataset": dataset.name, **origin.settings}

    def record(metric: str, model: str, values: Shaped[np.ndarray, "n"], **settings: Any) -> Record:
        return mean_record(metric, model, values, settings={**protocol, **settings}, **common)

    return record


def measure(
    model: Backbone, others: Dataset, scenes: Dataset, origin: Origin, *, biases: Sequence[float] = FEW_BIASES
) -> list[Record]:
    """:func:`lost_records` of a model on ``scenes``, everything chosen on ``others``."""
    there, here = (sweep(see(model, images), biases=biases) for images in (others, scenes))
    return lost_records(model, there, here, scenes, chosen_on(others, origin))


def chosen_on(others: Dataset, origin: Origin) -> Origin:
    """An origin whose records say on which images ways were chosen."""
    return replace(origin, settings={"chosen_on": others.name, **origin.settings})


def differing(live: Record, recorded: Record) -> float:
    """The share of ``live``'s images about which ``recorded``, which begins with the same images, says otherwise.

    Raises: InputError if a record holds no values, or ``recorded`` has fewer images.
    """
    mine, theirs = live.values, recorded.values
    if mine is None or theirs is None or len(theirs) < len(mine):
        raise InputError(f"{recorded.model} has no values of all images of {live.model}: record it again")
    return float(np.mean([one != other for one, other in zip(mine, theirs, strict=False)]))


def curve(hits: Shaped[np.ndarray, "n s"], there: Shaped[np.ndarray, "m s"], places: Sequence[float]) -> dict[str, Any]:
    """CorLoc along ``places`` for a record's settings: value and bounds here, and values ``there``, where chosen."""
    found = bootstrap(lambda drawn: hits[drawn].mean(axis=0), len(hits))
    return {
        "places": list(places),
        "curve": [[None if bound is None else round(bound, 4) for bound in one[:3]] for one in found],
        "curve_where_chosen": np.round(there.mean(axis=0), 4).tolist(),
    }


def _best(hits: Shaped[np.ndarray, "n s"], places: Sequence[float]) -> int:
    """The place with the highest mean; of equal ones the one nearest to zero."""
    means = hits.mean(axis=0)
    return max(range(len(places)), key=lambda place: (means[place], -abs(places[place])))


def centred_box(example: Example, share: float) -> Box:
    """A box in the centre of an image that covers ``share`` of it, its sides in proportion, in pixels times 1000."""
    height, width = example.image.shape[:2]
    margin = round(FRAME * (1 - share**0.5) / 2)
    return stretched(Box(margin, margin, FRAME - margin, FRAME - margin), width, height)


def box_hits(dataset: Dataset, shares: Sequence[float]) -> Bool[np.ndarray, "n s"]:
    """Whether boxes in the centre, of each of ``shares``, are right about the images that have an object."""
    rows = []
    for example in (dataset[index] for index in range(len(dataset))):
        truth = object_boxes(example)
        if len(truth):
            rows.append([localises(centred_box(example, share), FRAME * truth) for share in shares])
    return np.array(rows, bool).reshape(-1, len(shares))


def box_records(others: Dataset, dataset: Dataset, origin: Origin) -> list[Record]:
    """CorLoc of boxes that look at nothing: ``centred_box``, its share chosen on ``others``, and ``whole_image``."""
    there, here = box_hits(others, SHARES), box_hits(dataset, (*SHARES, 1.0))
    place, record = _best(there, SHARES), _recorder(dataset, chosen_on(others, origin), "cpu")
    said = {"share": SHARES[place], **curve(here[:, :-1], there, SHARES)}
    return [
        record("corloc", "centred_box", here[:, place], **said),
        record("corloc", "whole_image", here[:, -1], share=1.0),
    ]
