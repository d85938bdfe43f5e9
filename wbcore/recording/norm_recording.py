"""What is recorded of outlier tokens: a pretrained ViT that has them, the same when cured, and the lab's models."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from wbcore.checkpoints import load_model
from wbcore.data.example import Dataset
from wbcore.evaluate import Measurement
from wbcore.files import sha256
from wbcore.measuring.norm_records import norm_records
from wbcore.recording.cells import Cell, Place
from wbcore.recording.networks import CURED, PRETRAINED, cured, first_runs, fix, moved, pretrained_at_hand
from wbcore.recording.register_subjects import Loaded
from wbcore.records import Record
from wbcore.segmentation_study import pretrained_backbone

LAB = ("crate", "vit", "crate_reg4", "vit_reg4", "crate_gpu_imagenette", "vit_gpu_imagenette")
"""The lab's, the same with registers, and the same with twice the layers, trained on photographs for far longer."""
SPLITS = {"coco200": ("train", "val", 100), "cutouts": ("train", "segmentation", 200)}
"""Split on which thresholds and neurons are fixed, split that is measured, and how many images of each."""


def norm_cells(place: Place) -> Iterator[Cell]:
    """Every subject on the data at hand: photographs where a ``data_root`` is given, scenes for the lab's models.

    The pretrained ViT is left out where its weights are not at hand, which are not part of the project.
    """
    lab = _lab(place)
    subjects = [name for name in LAB if name in lab]
    if pretrained_at_hand(place):
        subjects += [PRETRAINED, CURED]
    for data in SPLITS:
        if data == "coco200" and place.data_root is None:
            continue
        load = cache(partial(_load, data, place))
        for subject in subjects:
            if data == "coco200" or subject in lab:
                seed = 0 if subject in lab else None
                yield Cell(subject, seed, data, partial(_measure, load, subject, data, place))


def _lab(place: Place) -> dict[str, Path]:
    """Weights of the lab's networks that are trained, by the names that records have for them."""
    small = {variant: weights for variant, _, weights in first_runs(place, "table2", "registers")}
    deep = {f"{variant}_gpu_imagenette": path for variant, _, path in first_runs(place, "table2_gpu_imagenette")}
    return small | deep


def _images(data: str, kind: int, size: int, place: Place) -> Dataset:
    split = SPLITS[data][kind]
    return Measurement(data, str(split), size, SPLITS[data][2]).open(place.data_root)


def _load(data: str, place: Place, subject: str) -> tuple[Loaded, float | None]:
    """A subject, and the threshold of its outliers, which is fixed on other images."""
    weights = _lab(place).get(subject)
    if weights is None:
        model, origin = pretrained_backbone("vit_tiny", data_root=place.data_root)
        digest = origin["weights_sha256"]
    else:
        model, digest = load_model(weights)[0], sha256(weights)
    model = model.to(place.device).eval()
    training = _images(data, 0, model.config.size[0], place)
    fixed = fix(model, training)
    settings: dict[str, Any] = {"fixed_on": training.name}
    if fixed.top_layer is not None:
        settings["first_layer_with_outliers"] = fixed.top_layer + 1
    if subject == CURED:
        model, neurons = cured(model, training, fixed)
        settings["moved"] = moved(neurons)
    return Loaded(model, None if weights is None else 0, digest, settings), fixed.threshold


def _measure(
    load: Callable[[str], tuple[Loaded, float | None]], subject: str, data: str, place: Place, command: str
) -> list[Record]:
    found, threshold = load(subject)
    images = _images(data, 1, found.model.config.size[0], place)
    return norm_records(found.model, images, found.origin(subject, data, command), threshold=threshold)
