"""What is recorded of segmentation and outliers by layer: the pretrained ViT under every intervention, and the lab's
models without and with registers that they were trained with."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from wbcore.checkpoints import load_model
from wbcore.data.example import Dataset
from wbcore.evaluate import Measurement
from wbcore.files import sha256
from wbcore.measuring.outlier_segmentation import (
    SHOWN_RULES,
    Recorder,
    best_layers,
    interventions,
    patch_labels,
    read_attention,
)
from wbcore.models import model_config
from wbcore.models.test_time_registers import with_test_time_register
from wbcore.recording.cells import Cell, Place
from wbcore.recording.networks import CURED, PRETRAINED, cured, first_runs, fix, moved, pretrained_at_hand
from wbcore.recording.norm_recording import SPLITS
from wbcore.records import Record
from wbcore.segmentation_study import pretrained_backbone

LAB = ("vit", "crate", "crate_mhsa", "crate_mlp")
REGISTERS = 4
"""Of the lab's models that were trained with some."""
SEEN = ("vit", "crate", f"vit_reg{REGISTERS}", f"crate_reg{REGISTERS}")
"""Of these, under both rules, and on :data:`SPENT` where their attention goes and how wide it is."""
SPENT = "weizmann"
ALONE = "vit_tiny_pretrained_empty"
"""The pretrained ViT with an extra token and no neuron moved into it: what the token alone does."""
BLOBS = {"centred_blob": "vit_lab_patch8_72", "centred_blob_grid14": "vit_tiny_patch16_224"}
"""The baseline's name on the token grid of a model."""
IMAGES = {"weizmann": ("val", None), "coco200": ("val", 100), "cutouts": ("segmentation", 200)}
"""What is measured: split and number of images."""
FIXED_ON = {"weizmann": "coco200", "coco200": "coco200", "cutouts": "cutouts"}
"""On whose training split threshold, neurons and best layer are fixed; the horses have no second split."""


def outlier_cells(place: Place) -> Iterator[Cell]:
    """Every subject on the data at hand, photographs where a ``data_root`` is given.

    The pretrained ViT only on photographs and where its weights are, which are not part of the project.
    """
    wanted = {*LAB, *(f"{variant}_reg{REGISTERS}" for variant in LAB)}
    trained = first_runs(place, "table2", "registers")
    networks = {variant: weights for variant, _, weights in trained if variant in wanted}
    for data in IMAGES:
        if data != "cutouts" and place.data_root is None:
            continue
        yield Cell("centred_blob", None, data, partial(_blobs, data, place))
        for name, weights in networks.items():
            yield Cell(name, 0, data, partial(_lab, name, weights, data, place))
        if data != "cutouts" and pretrained_at_hand(place):
            yield Cell(PRETRAINED, None, data, partial(_pretrained, data, place))


def _images(data: str, size: int, place: Place) -> Dataset:
    split, count = IMAGES[data]
    return Measurement(data, split, size, count).open(place.data_root)


def _others(data: str, size: int, place: Place) -> Dataset:
    """The images on which everything is fixed."""
    source = FIXED_ON[data]
    split, _, count = SPLITS[source]
    return Measurement(source, split, size, count).open(place.data_root)


def _lab(name: str, weights: Path, data: str, place: Place, command: str) -> Iterator[Record]:
    model, card = load_model(weights, device=place.device)
    side = model.config.size[0]
    others = _others(data, side, place)
    fixed, before = fix(model, others), read_attention(model, others)
    recorder = Recorder(_images(data, side, place), data=data, command=command, device=place.device)
    reading = read_attention(model, recorder.dataset)
    outlier = reading.outliers(fixed.threshold)
    origin = {"seeds": () if card.seed is None else (card.seed,), "weights_sha256": sha256(weights)}
    best = best_layers(before, patch_labels(others, before.layout.grid))
    settings = _settings(others, fixed.threshold, best_layer=best)
    rules = SHOWN_RULES if name in SEEN else SHOWN_RULES[:1]
    yield from recorder.segmentation(reading, name, origin=origin, settings=settings, rules=rules)
    yield from recorder.tail(reading, name, origin=origin)
    if name in SEEN:
        less: dict[str, Any] = {"origin": origin, "rules": rules[:1], "by_image": False}
        yield from recorder.segmentation(reading, f"{name}_clean", without=outlier, **less)
    if name in SEEN and data == SPENT:
        yield from recorder.spending(reading, name, outlier=outlier, origin=origin)
        yield from recorder.width(reading, name, origin=origin)


def _pretrained(data: str, place: Place, command: str) -> Iterator[Record]:
    model, source = pretrained_backbone("vit_tiny", data_root=place.data_root)
    model = model.to(place.device).eval()
    side = model.config.size[0]
    others = _others(data, side, place)
    fixed, before = fix(model, others), read_attention(model, others)
    with_register, neurons = cured(model, others, fixed)
    recorder = Recorder(_images(data, side, place), data=data, command=command, device=place.device)
    reading, cure = read_attention(model, recorder.dataset), read_attention(with_register, recorder.dataset)
    alone = read_attention(with_test_time_register(model, []), recorder.dataset)
    outlier = reading.outliers(fixed.threshold)
    origin: dict[str, Any] = {"weights_sha256": source["weights_sha256"]}
    best = best_layers(before, patch_labels(others, before.layout.grid))
    settings = _settings(others, fixed.threshold, best_layer=best)
    yield from recorder.segmentation(reading, PRETRAINED, origin=origin, settings=settings)
    units = {"moved": moved(neurons)}
    less: dict[str, Any] = {"origin": origin, "by_image": False}
    yield from recorder.segmentation(cure, CURED, settings=units, **less)
    yield from recorder.segmentation(cure, f"{CURED}_clean", without=outlier, **less)
    yield from recorder.segmentation(alone, ALONE, rules=SHOWN_RULES[:1], **less)
    for ending, without in interventions(outlier, reading.layout.grid).items():
        by_image = ending == "_clean"  # whose loss along the layers is compared with the model's own
        yield from recorder.segmentation(
            reading, PRETRAINED + ending, origin=origin, without=without, by_image=by_image
        )
    if data == SPENT:
        for name, found in ((PRETRAINED, reading), (CURED, cure)):
            yield from recorder.spending(found, name, outlier=outlier, origin=origin)
            yield from recorder.tail(found, name, origin=origin)
            yield from recorder.width(found, name, origin=origin)
        yield from recorder.width(reading, f"{PRETRAINED}_clean", origin=origin, without=outlier)


def _settings(others: Dataset, threshold: float | None, **more: Any) -> dict[str, Any]:
    return {"fixed_on": others.name, "threshold": None if threshold is None else round(threshold, 4), **more}


def _blobs(data: str, place: Place, command: str) -> Iterator[Record]:
    """The centred blob on the token grids of the models that are measured."""
    for name, model in BLOBS.items():
        if data != "cutouts" or model.startswith("vit_lab"):
            config = model_config(model)
            recorder = Recorder(_images(data, config.size[0], place), data=data, command=command, device=place.device)
            yield from recorder.blob(name, config.grid)
