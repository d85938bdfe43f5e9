"""The recorded networks: the lab's, as far as they are trained, and a pretrained ViT with outliers, also cured."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wbcore.data.example import Dataset
from wbcore.measuring.norm_records import read_norms
from wbcore.metrics.norms import outliers, valley_threshold
from wbcore.models import Backbone
from wbcore.models.test_time_registers import RegisterNeuron, find_register_neurons, with_test_time_register
from wbcore.recording.cells import Place
from wbcore.segmentation_study import VIT_TINY
from wbcore.showing import shown_batches
from wbcore.study import finished_cells, variant_of

PRETRAINED, CURED = "vit_tiny_pretrained", "vit_tiny_pretrained_ttr"
NEURONS = 1
"""Register neurons that are moved.  Chosen on the images that they are found on: one leaves no outlier there, and
thirty leave the same norms."""


def first_runs(place: Place, *studies: str) -> Iterator[tuple[str, str, Path]]:
    """(variant, model, weights) of seed 0 of the lab's networks that are trained."""
    for study in studies:
        for seed, model, weights in finished_cells(study, place.runs):
            if seed == 0:
                yield variant_of(model), model, weights


def pretrained_at_hand(place: Place) -> bool:
    """Whether the pretrained ViT's weights are below ``data_root``; they are not part of the project."""
    return place.data_root is not None and (Path(place.data_root) / "weights" / VIT_TINY).is_file()


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


def moved(neurons: Sequence[RegisterNeuron]) -> list[list[float]]:
    """Register neurons as records name them: layer (from 1), unit, activation."""
    return [[layer + 1, unit, round(activation, 2)] for layer, unit, activation in neurons]
