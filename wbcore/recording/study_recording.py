"""What is recorded of a study's networks: coarse segmentation and MaskCut of their subjects, and top-1."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from wbcore.checkpoints import load_model
from wbcore.data.example import Dataset
from wbcore.evaluate import Kind, Measurement, segmentation
from wbcore.files import sha256
from wbcore.measuring.recognition import HeldOut, held_out, recognition, recorded_as
from wbcore.recording.cells import Cell, Place
from wbcore.recording.sources import Source, ablation, by_epoch, by_layer, by_noise, run_name, trained
from wbcore.records import Record
from wbcore.study import find_study, finished_cells


def lab_data(size: int, *names: str) -> tuple[Measurement, ...]:
    """What the lab measures on; photographs only where a ``data_root`` is given."""
    known = (
        Measurement("cutouts", "segmentation", size, 400),
        Measurement("weizmann", "val", size),
        Measurement("coco200", "train+val", size),
    )
    return tuple(each for each in known if each.data in names or not names)


def segmentations(
    sources: Iterable[Source], measured_on: Sequence[Measurement], kinds: Sequence[Kind], place: Place
) -> Iterator[Cell]:
    """Every source on every data set at hand."""
    sources = list(sources)
    for measurement in measured_on:
        if measurement.data == "cutouts" or place.data_root is not None:
            dataset = cache(partial(measurement.open, place.data_root))
            for source in sources:
                measure = partial(_segmentation, source, dataset, measurement, kinds, place.device)
                yield Cell(source.name, source.seed, measurement.data, measure)


def recognitions(study: str, place: Place, *, ending: str = "") -> Iterator[Cell]:
    """Top-1 of every trained model on what its study holds out; ``ending`` is that of :func:`ablation`.

    Photographs only where a ``data_root`` is given.
    """
    found = find_study(study)
    if found.data != "cutouts" and place.data_root is None:
        return
    for seed, model, weights in finished_cells(study, place.runs):
        name = run_name(model, seed, ending)
        images = partial(
            held_out,
            found.data,
            found.held_out,
            size=found.images_size(model),
            data_root=place.data_root,
            device=place.device,
        )
        data = recorded_as(found.data, found.held_out)
        yield Cell(name, seed, data, partial(_recognition, name, seed, weights, images, place.device))


def ablation_cells(ending: str, size: int, place: Place) -> Iterator[Cell]:
    """The study of CRATE's Table 2 with this ``ending``, on images of ``size`` pixels."""
    study = f"table2{ending}"
    yield from segmentations(ablation(study, place, ending=ending), lab_data(size), ("attention", "maskcut"), place)
    yield from recognitions(study, place, ending=ending)


def network_cells(study: str, place: Place) -> Iterator[Cell]:
    """Every trained network of a study of the lab."""
    yield from segmentations(trained(study, place), lab_data(72), ("attention", "maskcut"), place)
    yield from recognitions(study, place)


def layer_cells(place: Place) -> Iterator[Cell]:
    """CRATE, Fig. 6: by layer."""
    data = lab_data(72, "cutouts", "coco200")
    return segmentations(by_layer("table2", place), data, ("attention", "maskcut"), place)


def epoch_cells(place: Place) -> Iterator[Cell]:
    """CRATE, Fig. 10: by epoch."""
    data = lab_data(72, "cutouts", "coco200")
    return segmentations(by_epoch("table2", place), data, ("attention", "maskcut"), place)


def noise_cells(place: Place) -> Iterator[Cell]:
    """CRATE, Figs. 11 and 12: under noise."""
    data = lab_data(72, "cutouts", "weizmann")
    return segmentations(by_noise("table2", place), data, ("attention",), place)


def _segmentation(
    source: Source,
    dataset: Callable[[], Dataset],
    measurement: Measurement,
    kinds: Sequence[Kind],
    device: str,
    command: str,
) -> list[Record]:
    return segmentation(
        source.make(),
        dataset(),
        data=measurement.data,
        size=measurement.size,
        command=command,
        device=device,
        kinds=kinds,
    )


def _recognition(
    name: str, seed: int, weights: Path, images: Callable[[], HeldOut], device: str, command: str
) -> list[Record]:
    network, _ = load_model(weights, device=device)
    return [recognition(network, images(), name=name, seed=seed, weights_sha256=sha256(weights), command=command)]
