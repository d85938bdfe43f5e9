"""What is recorded of local and global probes: a pretrained ViT with outliers, the same when cured, the lab's own."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from wbcore.evaluate import Measurement
from wbcore.measuring.probe_records import global_records, local_records, outlier_threshold, read_patches, read_tokens
from wbcore.models import Backbone
from wbcore.models.test_time_registers import with_test_time_register
from wbcore.recording.cells import Cell, Place
from wbcore.recording.networks import CURED, PRETRAINED
from wbcore.recording.outlier_recording import ALONE as EMPTY
from wbcore.recording.register_subjects import Loaded, Network, register_networks
from wbcore.records import Record

LAYERS = (4, 6, 7, 8, 9, 10)
"""Of the pretrained ViT, beside the last: from before its outliers arise (in the eighth) to well behind."""
FIT_SEED = 2
"""Composed scenes of one seed show the same objects at the same places over other backgrounds, whatever their split."""

Pair = tuple[Measurement, Measurement]
"""What probes are fitted on, and what they are scored on."""


def local_data(size: int) -> dict[str, Pair]:
    """Of local probes, at ``size`` pixels."""
    return {
        "cutouts": (
            Measurement("cutouts", "train", size, 24, seed=FIT_SEED),
            Measurement("cutouts", "segmentation", size, 100),
        ),
        "coco200": (Measurement("coco200", "train", size), Measurement("coco200", "val", size)),
    }


def global_data(size: int) -> dict[str, Pair]:
    """Of global probes: names of cut-outs that no model was trained with, and ten of ImageNet's classes."""
    return {
        "cutouts_transfer": (
            Measurement("cutouts", "transfer_train", size, 1650, seed=FIT_SEED),
            Measurement("cutouts", "transfer", size, 1000),
        ),
        "imagenette": (Measurement("imagenette", "train", size, 2000), Measurement("imagenette", "val", size, 1000)),
    }


def local_cells(place: Place) -> Iterator[Cell]:
    """Every network on photographs, and the lab's on scenes too; the pretrained ones along their layers as well."""
    for network, before in _networks(place):
        for data in ("coco200",) if _is_pretrained(network) else ("cutouts", "coco200"):
            if data == "cutouts" or place.data_root is not None:
                yield Cell(network.name, network.seed, data, partial(_local, network, before, data, place))
        for layer in LAYERS if _is_pretrained(network) else ():
            measure = partial(_local, network, before, "coco200", place, layer=layer)
            yield Cell(f"{network.name}_layer{layer}", network.seed, "coco200", measure)


def global_cells(place: Place) -> Iterator[Cell]:
    """Every network on scenes, and the pretrained ones on photographs too; with an empty register, as a control."""
    networks = list(_networks(place))
    networks += [
        (Network(EMPTY, network.seed, partial(_with_empty_register, network)), None)
        for network, _ in networks
        if network.name == PRETRAINED
    ]
    for network, before in networks:
        for data in ("cutouts_transfer", "imagenette") if _is_pretrained(network) else ("cutouts_transfer",):
            yield Cell(network.name, network.seed, data, partial(_global, network, before, data, place))


def _networks(place: Place) -> Iterator[tuple[Network, Network | None]]:
    """Those that have learned; beside a cured one itself before, whose outliers say which patches to compare."""
    found = {network.name: network for network in register_networks(place)}
    for name, network in found.items():
        if not name.startswith("untrained"):
            yield network, found[PRETRAINED] if name == CURED else None


def _is_pretrained(network: Network) -> bool:
    return network.name in (PRETRAINED, CURED, EMPTY)


def _with_empty_register(network: Network) -> Loaded:
    """A network with a test-time register into which no neuron is moved: its outliers stay."""
    found = network.load()
    return replace(found, model=with_test_time_register(found.model, []))


def _local(
    network: Network, before: Network | None, data: str, place: Place, command: str, *, layer: int | None = None
) -> list[Record]:
    """After the last layer; or after ``layer``, which counts from 1, and then only what is shown of it."""
    found, marker = network.load(), None if before is None else before.load().model
    fit, score = (one.open(place.data_root) for one in local_data(_side(found.model))[data])
    index, name = (-1, network.name) if layer is None else (layer - 1, f"{network.name}_layer{layer}")
    records = local_records(
        read_patches(found.model, fit, layer=index),
        read_patches(found.model, score, layer=index),
        found.origin(name, data, command),
        before=None if marker is None else read_patches(marker, score),
        threshold=outlier_threshold(marker or found.model, fit),
    )
    return records if layer is None else [one for one in records if _shown_by_layer(one, name)]


def _shown_by_layer(record: Record, name: str) -> bool:
    kinds = [f"{name}_{kind}" for kind in ("outliers", "former", "normal")]
    return record.metric in ("local/position_top1", "local/reconstruction") and record.model in kinds


def _global(network: Network, before: Network | None, data: str, place: Place, command: str) -> list[Record]:
    found, marker = network.load(), None if before is None else before.load().model
    fit, score = (one.open(place.data_root) for one in global_data(_side(found.model))[data])
    threshold = outlier_threshold(marker or found.model, fit)
    known, asked = (
        read_tokens(found.model, images, threshold=threshold, before=marker, seed=seed)
        for seed, images in enumerate((fit, score))
    )
    said = None if threshold is None else round(threshold, 4)
    return global_records(known, asked, found.origin(network.name, data, command, threshold=said))


def _side(model: Backbone) -> int:
    return model.config.size[0]
