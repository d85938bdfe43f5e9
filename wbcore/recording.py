"""What is recorded for the book: for each artefact its subjects, and the data on which they are measured."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from wbcore.cells import Cell, Place
from wbcore.checkpoints import load_model
from wbcore.components import Finder, blob_finder, foreground_records, model_finder, untrained_model
from wbcore.data.example import Dataset
from wbcore.errors import InputError
from wbcore.evaluate import Kind, Measurement, segmentation
from wbcore.files import sha256
from wbcore.linear_recording import linear_cells
from wbcore.lost_recording import lost_cells
from wbcore.maskcut_recording import crf_cells, setting_cells
from wbcore.metrics.pca import RULES
from wbcore.models import model_config
from wbcore.norm_recording import norm_cells
from wbcore.objective import objective_by_layer
from wbcore.outlier_recording import outlier_cells
from wbcore.prefix_recording import prefix_cells
from wbcore.probe_recording import global_cells, local_cells
from wbcore.recognition import HeldOut, held_out, recognition, recorded_as
from wbcore.recorded_networks import first_runs
from wbcore.records import RESULTS, Record, save_records
from wbcore.records.measured import common_fields, mean_record
from wbcore.segmentation_recording import segmentation_cells
from wbcore.sensitivity_recording import sensitivity_cells
from wbcore.showing import resize
from wbcore.speed import speed_cells
from wbcore.study import RUNS, TRANSFERS, cell_folder, find_study, finished_cells, variant_of
from wbcore.subjects import Subject, baseline_subject, model_subject, noisy


@dataclass(frozen=True)
class Source:
    """A subject that is made only when it is needed."""

    name: str
    seed: int | None
    make: Callable[[], Subject]


def _trained(weights: Path, device: str, name: str, **options: Any) -> Subject:
    network, card = load_model(weights)
    digest = sha256(weights)
    return model_subject(network, name=name, device=device, seed=card.seed, weights_sha256=digest, **options)


def _untrained(model: str, device: str) -> Subject:
    return model_subject(untrained_model(model), name=f"untrained_{variant_of(model)}", device=device, seed=0)


def ablation(study: str, place: Place, *, ending: str = "") -> Iterator[Source]:
    """Every trained model of a study and, where it is the lab's own, two untrained ones and the trivial baselines.

    The first run of each model has its plain name; the others are shown beside it, as ``crate_seed1``, because two or
    three runs are too few for an interval over them to say anything.  ``ending`` tells the names of a study from those
    of the lab's own, since records of one name are taken for runs of one model.
    """
    models = find_study(study).models
    config = model_config(models[0])
    if not ending:
        for name, seed in (("centred_blob", None), ("random_heads", 0)):
            make = partial(baseline_subject, name, patch_size=config.patch_size, heads=config.heads, seed=seed or 0)
            yield Source(name, seed, make)
        for model in models[:2]:
            yield Source(f"untrained_{variant_of(model)}", 0, partial(_untrained, model, place.device))
    yield from trained(study, place, ending=ending)


def trained(study: str, place: Place, *, ending: str = "") -> Iterator[Source]:
    """Every trained model of a study; ``ending`` is that of :func:`ablation`."""
    for seed, model, weights in finished_cells(study, place.runs):
        name = _run_name(model, seed, ending)
        yield Source(name, seed, partial(_trained, weights, place.device, name))


def _run_name(model: str, seed: int, ending: str = "") -> str:
    return variant_of(model) + ending + (f"_seed{seed}" if seed else "")


def _first_seed(
    study: str, place: Place, variants: Sequence[str] = ("crate", "vit")
) -> Iterator[tuple[str, str, Path]]:
    """:func:`first_runs` of some variants."""
    return (run for run in first_runs(place, study) if run[0] in variants)


def by_layer(study: str, place: Place) -> Iterator[Source]:
    """CRATE and ViT, seen in every layer: ``crate_layer1`` is the first."""
    for variant, model, weights in _first_seed(study, place):
        for layer in range(model_config(model).depth):
            name = f"{variant}_layer{layer + 1}"
            yield Source(name, 0, partial(_trained, weights, place.device, name, layers=(layer,), feature_layer=layer))


def by_epoch(study: str, place: Place) -> Iterator[Source]:
    """CRATE and ViT over the course of training, from the checkpoints that are kept after each epoch."""
    for variant, model, _ in _first_seed(study, place):
        for checkpoint in sorted(cell_folder(study, model, 0, place.runs).glob("epoch*.safetensors")):
            name = f"{variant}_epoch{int(checkpoint.stem.removeprefix('epoch'))}"
            yield Source(name, 0, partial(_trained, checkpoint, place.device, name))


NOISE_SIGMAS, NOISE_SHARES = (10, 25, 50, 75), (10, 25, 50, 75)
"""CRATE, Figs. 11 and 12: standard deviation in grey levels of 255, and percent of the pixels."""


def by_noise(study: str, place: Place) -> Iterator[Source]:
    """CRATE and ViT on noisy images: σ varied on half of the pixels, and the share of pixels varied at σ = 75."""
    levels = [(sigma, 50) for sigma in NOISE_SIGMAS] + [(75, share) for share in NOISE_SHARES]
    for variant, _, weights in _first_seed(study, place):
        yield Source(variant, 0, partial(_trained, weights, place.device, variant))
        for sigma, share in dict.fromkeys(levels):
            name = f"{variant}_sigma{sigma}_share{share}"
            yield Source(name, 0, partial(_noisy, weights, place.device, name, sigma, share))


def _noisy(weights: Path, device: str, name: str, sigma: int, share: int) -> Subject:
    return noisy(_trained(weights, device, name), sigma=sigma, share=share / 100)


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


def recognitions(study: str, place: Place, *, ending: str = "") -> Iterator[Cell]:
    """Top-1 of every trained model on what its study holds out; ``ending`` is that of :func:`ablation`.

    Photographs only where a ``data_root`` is given.
    """
    found = find_study(study)
    if found.data != "cutouts" and place.data_root is None:
        return
    for seed, model, weights in finished_cells(study, place.runs):
        name = _run_name(model, seed, ending)
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


def _recognition(
    name: str, seed: int, weights: Path, images: Callable[[], HeldOut], device: str, command: str
) -> list[Record]:
    network, _ = load_model(weights, device=device)
    return [recognition(network, images(), name=name, seed=seed, weights_sha256=sha256(weights), command=command)]


def _table2(ending: str, size: int, place: Place) -> Iterator[Cell]:
    study = f"table2{ending}"
    yield from segmentations(ablation(study, place, ending=ending), lab_data(size), ("attention", "maskcut"), place)
    yield from recognitions(study, place, ending=ending)


def _networks(study: str, place: Place) -> Iterator[Cell]:
    yield from segmentations(trained(study, place), lab_data(72), ("attention", "maskcut"), place)
    yield from recognitions(study, place)


def _fig3(place: Place) -> Iterator[Cell]:
    rules, config = tuple(RULES), model_config(find_study("table2").models[0])
    finders: list[tuple[str, str | None, Callable[[], Finder]]] = [
        ("centred_blob", None, partial(blob_finder, config.patch_size, rules=rules))
    ]
    for variant, model, weights in _first_seed("table2", place):
        finders.append((variant, sha256(weights), partial(_finder, weights, place.device, rules)))
        finders.append((f"untrained_{variant}", None, partial(_untrained_finder, model, place.device, rules)))
    for measurement in lab_data(72):
        if measurement.data == "cutouts" or place.data_root is not None:
            dataset = cache(partial(measurement.open, place.data_root))
            for name, digest, make in finders:
                seed = None if name == "centred_blob" else 0
                measure = partial(_foreground, name, seed, digest, make, dataset, measurement, place.device)
                yield Cell(name, seed, measurement.data, measure)


def _finder(weights: Path, device: str, rules: Sequence[str]) -> Finder:
    return model_finder(load_model(weights, device=device)[0], rules=rules)


def _untrained_finder(model: str, device: str, rules: Sequence[str]) -> Finder:
    return model_finder(untrained_model(model).to(device).eval(), rules=rules)


def _foreground(
    name: str,
    seed: int | None,
    digest: str | None,
    make: Callable[[], Finder],
    dataset: Callable[[], Dataset],
    measurement: Measurement,
    device: str,
    command: str,
) -> list[Record]:
    return foreground_records(
        {name: make()},
        dataset(),
        data=measurement.data,
        size=measurement.size,
        command=command,
        device=device,
        seeds={} if seed is None else {name: (seed,)},
        weights_sha256={} if digest is None else {name: digest},
    )


def _fig6(place: Place) -> Iterator[Cell]:
    data = lab_data(72, "cutouts", "coco200")
    return segmentations(by_layer("table2", place), data, ("attention", "maskcut"), place)


def _fig10(place: Place) -> Iterator[Cell]:
    data = lab_data(72, "cutouts", "coco200")
    return segmentations(by_epoch("table2", place), data, ("attention", "maskcut"), place)


def _fig11_12(place: Place) -> Iterator[Cell]:
    data = lab_data(72, "cutouts", "weizmann")
    return segmentations(by_noise("table2", place), data, ("attention",), place)


def _dovit_speed(place: Place) -> Iterator[Cell]:
    yield from speed_cells("street", place)
    yield from speed_cells("scenes", place)


def _eq2(place: Place) -> Iterator[Cell]:
    for _, _, weights in _first_seed("table2", place, ("crate",)):
        yield Cell("crate_layers", 0, "cutouts", partial(_objective, weights, place.device))


def _objective(weights: Path, device: str, command: str) -> Iterator[Record]:
    """R^c after MSSA and the share of non-zeros after ISTA, layer by layer, on 400 held-out scenes."""
    (measurement,) = lab_data(72, "cutouts")
    dataset = measurement.open()
    network, card = load_model(weights)
    images = [resize(dataset[index].image, measurement.size) for index in range(len(dataset))]
    found = objective_by_layer(network.to(device), images)
    settings = {"dataset": dataset.name, "size": measurement.size}
    common = common_fields(
        data="cutouts",
        command=command,
        device=device,
        data_sha256=dataset.fingerprint,
        seed=card.seed,
        weights_sha256=sha256(weights),
    )
    metrics = {"subspace_coding_rate": found.compression_after, "nonzero_share": found.nonzeros}
    for metric, by_layer_and_image in metrics.items():
        for layer, values in enumerate(by_layer_and_image, start=1):
            yield mean_record(metric, f"crate_layer{layer}", values, settings=settings, **common)


DOVIT = {"dovit": ("dovit_street", "dovit_scenes", "dovit_speed"), "dovit_gpu": ("dovit_street480",)}
"""What is recorded of each study of DoViT."""

ARTEFACTS: dict[str, Callable[[Place], Iterator[Cell]]] = {
    "table2": partial(_table2, "", 72),
    "table2_imagenette": partial(_table2, "_imagenette", 72),
    "table2_gpu_cutouts": partial(_table2, "_gpu_cutouts", 128),
    "table2_gpu_imagenette": partial(_table2, "_gpu_imagenette", 128),
    **{f"table3_{data}": partial(recognitions, f"table3_{data}") for data in TRANSFERS},
    **{
        f"table3_{data}_scratch": partial(recognitions, f"table3_{data}_scratch", ending="_scratch")
        for data in TRANSFERS
    },
    "fig3_pca": _fig3,
    "fig6_depth": _fig6,
    "fig10_epochs": _fig10,
    "fig11_12_noise": _fig11_12,
    "eq2_objective_by_layer": _eq2,
    "sensitivity": sensitivity_cells,
    "dovit_street": partial(segmentation_cells, "street"),
    "dovit_scenes": partial(segmentation_cells, "scenes"),
    "dovit_speed": _dovit_speed,
    "dovit_street480": partial(segmentation_cells, "street480", study="dovit_gpu"),
    **{study: partial(_networks, study) for study in ("skip_and_projection", "registers")},
    "table1_crf": crf_cells,
    "maskcut_settings": setting_cells,
    "registers_norms": norm_cells,
    "registers_prefix": prefix_cells,
    "registers_lost": lost_cells,
    "registers_linear": linear_cells,
    "registers_local_probes": local_cells,
    "registers_global_probes": global_cells,
    "registers_segmentation": outlier_cells,
}


def cells_of(name: str, place: Place) -> Iterator[Cell]:
    """What an artefact shows.  Raises: InputError for an unknown name, with the nearest known ones."""
    if name not in ARTEFACTS:
        near = difflib.get_close_matches(name, ARTEFACTS, n=3, cutoff=0.3) or list(ARTEFACTS)
        raise InputError(f"nothing is recorded for {name!r}: did you mean {', '.join(near)}?")
    return ARTEFACTS[name](place)


def record_artefact(
    name: str, *, data_root: Path | None = None, device: str = "cpu", runs: Path = RUNS, results: Path = RESULTS
) -> list[Path]:
    """Measure what an artefact shows, on every data set at hand, where no record stands yet.

    Returns the files written.  Raises: InputError for an unknown name.
    """
    written = []
    for cell in cells_of(name, Place(runs, data_root, device)):
        path = cell.file(results / name)
        if not path.is_file():
            save_records(cell.measure(f"wbcore study {name}"), path)
            written.append(path)
    return written
