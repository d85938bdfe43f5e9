"""What is recorded of outlier tokens: a pretrained ViT that has them, the same when cured, and the lab's models."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from wbcore.cells import Cell, Place
from wbcore.data.example import Dataset
from wbcore.evaluate import Measurement
from wbcore.metrics.norms import outliers, valley_threshold
from wbcore.models import Backbone
from wbcore.models.test_time_registers import RegisterNeuron, find_register_neurons, with_test_time_register
from wbcore.norm_records import norm_records, read_norms, shown_batches
from wbcore.records import Record
from wbcore.segmentation_study import VIT_TINY, pretrained_backbone

PRETRAINED, CURED = "vit_tiny_pretrained", "vit_tiny_pretrained_ttr"
LAB = ("crate", "vit")
NEURONS = 1
"""Register neurons that are moved.  Chosen on the images that they are found on: one leaves no outlier there, and
thirty leave the same norms."""
SPLITS = {"coco200": ("train", "val", 100), "cutouts": ("train", "segmentation", 200)}
"""Split on which thresholds and neurons are fixed, split that is measured, and how many images of each."""


class Fixed(NamedTuple):
    """What other images say of a model before it is measured."""

    threshold: float | None
    """The valley of the norms after its last layer; None where there is one mode."""
    top_layer: int | None
    """The first layer (0-based) after which at least half of the outliers are there."""


def fix(model: Backbone, dataset: Dataset) -> Fixed:
    """Threshold and origin of a model's outliers, from images that it will not be measured on."""
    norms = read_norms(model, dataset).norms
    threshold = valley_threshold(norms[-1])
    if threshold is None:
        return Fixed(None, None)
    counts = [int(outliers(layer, threshold=threshold).sum()) for layer in norms]
    return Fixed(threshold, next(layer for layer, count in enumerate(counts) if 2 * count >= counts[-1]))


def cured(
    model: Backbone, dataset: Dataset, fixed: Fixed, *, count: int = NEURONS
) -> tuple[Backbone, list[RegisterNeuron]]:
    """A model with a test-time register, and the neurons moved into it, which are found on ``dataset``.

    A model without outliers gets the register and no neuron is moved.
    """
    if fixed.threshold is None or fixed.top_layer is None:
        return with_test_time_register(model, []), []
    neurons = find_register_neurons(
        model, shown_batches(model, dataset), threshold=fixed.threshold, top_layer=fixed.top_layer, count=count
    )
    return with_test_time_register(model, neurons), neurons


@dataclass(frozen=True)
class _Loaded:
    model: Backbone
    weights_sha256: str
    seed: int | None
    settings: dict[str, Any]
    threshold: float | None


def norm_cells(place: Place) -> Iterator[Cell]:
    """Every subject on the data at hand: photographs where a ``data_root`` is given, scenes for the lab's models.

    The pretrained ViT is left out where its weights are not at hand, which are not part of the project.
    """
    subjects = list(LAB)
    if place.data_root is not None and (Path(place.data_root) / "weights" / VIT_TINY).is_file():
        subjects += [PRETRAINED, CURED]
    for data in SPLITS:
        if data == "coco200" and place.data_root is None:
            continue
        load = cache(partial(_load, data, place))
        for subject in subjects:
            if data == "coco200" or subject in LAB:
                seed = 0 if subject in LAB else None
                yield Cell(subject, seed, data, partial(_measure, load, subject, data, place))


def _images(data: str, kind: int, size: int, place: Place) -> Dataset:
    split = SPLITS[data][kind]
    return Measurement(data, str(split), size, SPLITS[data][2]).open(place.data_root)


def _load(data: str, place: Place, subject: str) -> _Loaded:
    """A subject, with what is fixed on other images."""
    model, origin = pretrained_backbone("vit_tiny" if subject not in LAB else subject, data_root=place.data_root)
    model = model.to(place.device).eval()
    training = _images(data, 0, model.config.size[0], place)
    fixed = fix(model, training)
    settings: dict[str, Any] = {"fixed_on": training.name}
    if fixed.top_layer is not None:
        settings["first_layer_with_outliers"] = fixed.top_layer + 1
    if subject == CURED:
        model, neurons = cured(model, training, fixed)
        settings["moved"] = [[layer + 1, unit, round(activation, 2)] for layer, unit, activation in neurons]
    return _Loaded(model, origin["weights_sha256"], 0 if subject in LAB else None, settings, fixed.threshold)


def _measure(load: Callable[[str], _Loaded], subject: str, data: str, place: Place, command: str) -> list[Record]:
    found = load(subject)
    return norm_records(
        found.model,
        _images(data, 1, found.model.config.size[0], place),
        name=subject,
        data=data,
        command=command,
        threshold=found.threshold,
        settings=found.settings,
        seed=found.seed,
        weights_sha256=found.weights_sha256,
    )
