"""What is recorded for the book: for each artefact its subjects, and the data on which they are measured."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from wbcore.checkpoints import load_model
from wbcore.data.cutouts import fingerprint
from wbcore.errors import InputError
from wbcore.evaluate import Kind, Measurement, segmentation
from wbcore.files import sha256
from wbcore.models import create_model, model_config
from wbcore.provenance import provenance
from wbcore.records import RESULTS, Record, save_records
from wbcore.study import RUNS, TOP1_SCENES, cell_folder, find_study, finished_cells, recognition_top1, variant_of
from wbcore.subjects import Subject, baseline_subject, model_subject, noisy


@dataclass(frozen=True)
class Source:
    """A subject that is made only when its record is missing."""

    name: str
    seed: int | None
    make: Callable[[], Subject]


@dataclass(frozen=True)
class Artefact:
    """What stands behind one table or figure: subjects × data × kinds of measurement."""

    study: str
    """Whose trained models are measured."""
    sources: Callable[[str, Path, str], Iterator[Source]]
    """From the study's name, the folder of its runs and the device."""
    measured_on: tuple[Measurement, ...]
    kinds: tuple[Kind, ...] = ("attention", "maskcut")


def _trained(weights: Path, device: str, name: str, **options: Any) -> Subject:
    network, card = load_model(weights)
    digest = sha256(weights)
    return model_subject(network, name=name, device=device, seed=card.seed, weights_sha256=digest, **options)


def _untrained(model: str, device: str) -> Subject:
    torch.manual_seed(0)
    return model_subject(create_model(model), name=f"untrained_{variant_of(model)}", device=device, seed=0)


def ablation(study: str, runs: Path, device: str) -> Iterator[Source]:
    """Every trained model of a study, two untrained ones, and the trivial baselines."""
    models = find_study(study).models
    config = model_config(models[0])
    for name, seed in (("centred_blob", None), ("random_heads", 0)):
        make = partial(baseline_subject, name, patch_size=config.patch_size, heads=config.heads, seed=seed or 0)
        yield Source(name, seed, make)
    for model in models[:2]:
        yield Source(f"untrained_{variant_of(model)}", 0, partial(_untrained, model, device))
    for seed, model, weights in finished_cells(study, runs):
        name = variant_of(model)
        yield Source(name, seed, partial(_trained, weights, device, name))


def _first_seed(study: str, runs: Path, variants: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    """(variant, model, weights) of seed 0."""
    for seed, model, weights in finished_cells(study, runs):
        if seed == 0 and variant_of(model) in variants:
            yield variant_of(model), model, weights


def by_layer(study: str, runs: Path, device: str) -> Iterator[Source]:
    """CRATE and ViT, seen in every layer: ``crate_layer1`` is the first."""
    for variant, model, weights in _first_seed(study, runs, ("crate", "vit")):
        for layer in range(model_config(model).depth):
            name = f"{variant}_layer{layer + 1}"
            yield Source(name, 0, partial(_trained, weights, device, name, layers=(layer,), feature_layer=layer))


def by_epoch(study: str, runs: Path, device: str) -> Iterator[Source]:
    """CRATE and ViT over the course of training, from the checkpoints that are kept after each epoch."""
    for variant, model, _ in _first_seed(study, runs, ("crate", "vit")):
        for checkpoint in sorted(cell_folder(study, model, 0, runs).glob("epoch*.safetensors")):
            name = f"{variant}_epoch{int(checkpoint.stem.removeprefix('epoch'))}"
            yield Source(name, 0, partial(_trained, checkpoint, device, name))


NOISE_SIGMAS, NOISE_SHARES = (10, 25, 50, 75), (10, 25, 50, 75)
"""CRATE, Figs. 11 and 12: standard deviation in grey levels of 255, and percent of the pixels."""


def by_noise(study: str, runs: Path, device: str) -> Iterator[Source]:
    """CRATE and ViT on noisy images: σ varied on half of the pixels, and the share of pixels varied at σ = 75."""
    levels = [(sigma, 50) for sigma in NOISE_SIGMAS] + [(75, share) for share in NOISE_SHARES]
    for variant, _, weights in _first_seed(study, runs, ("crate", "vit")):
        yield Source(variant, 0, partial(_trained, weights, device, variant))
        for sigma, share in dict.fromkeys(levels):
            name = f"{variant}_sigma{sigma}_share{share}"
            yield Source(name, 0, partial(_noisy, weights, device, name, sigma, share))


def _noisy(weights: Path, device: str, name: str, sigma: int, share: int) -> Subject:
    return noisy(_trained(weights, device, name), sigma=sigma, share=share / 100)


_LAB = (
    Measurement("cutouts", "segmentation", 72, 400),
    Measurement("weizmann", "val", 72),
    Measurement("coco200", "train+val", 72),
)
"""Photographs are measured only where their ``data_root`` is given."""

_GPU = tuple(Measurement(each.data, each.split, 128, each.limit) for each in _LAB)

ARTEFACTS: dict[str, Artefact] = {
    "table2": Artefact("table2", ablation, _LAB),
    "table2_imagenette": Artefact("table2_imagenette", ablation, _LAB),
    "table2_gpu_cutouts": Artefact("table2_gpu_cutouts", ablation, _GPU),
    "table2_gpu_imagenette": Artefact("table2_gpu_imagenette", ablation, _GPU),
    "fig6_depth": Artefact("table2", by_layer, _LAB),
    "fig10_epochs": Artefact("table2", by_epoch, _LAB),
    "fig11_12_noise": Artefact("table2", by_noise, _LAB, kinds=("attention",)),
}


def find_artefact(name: str) -> Artefact:
    """An artefact by name.  Raises: InputError for an unknown name, with the nearest known ones."""
    if name not in ARTEFACTS:
        near = difflib.get_close_matches(name, ARTEFACTS, n=3, cutoff=0.3) or list(ARTEFACTS)
        raise InputError(f"nothing is recorded for {name!r}: did you mean {', '.join(near)}?")
    return ARTEFACTS[name]


def results_file(artefact: str, subject: str, seed: int | None, data: str, results: Path = RESULTS) -> Path:
    """Where the records of one subject on one data set stand."""
    return results / artefact / f"records-{subject}{'' if seed is None else f'-seed{seed}'}-{data}.json"


def record_artefact(
    name: str, *, data_root: Path | None = None, device: str = "cpu", runs: Path = RUNS, results: Path = RESULTS
) -> list[Path]:
    """Measure what an artefact shows, on every data set at hand, where no record stands yet.

    Returns the files written.
    """
    artefact, command = find_artefact(name), f"wbcore study {name}"
    written = []
    for measurement in artefact.measured_on:
        if measurement.data != "cutouts" and data_root is None:
            continue
        dataset = measurement.open(data_root)
        for source in artefact.sources(artefact.study, runs, device):
            path = results_file(name, source.name, source.seed, measurement.data, results)
            if not path.is_file():
                found = segmentation(
                    source.make(),
                    dataset,
                    data=measurement.data,
                    size=measurement.size,
                    command=command,
                    device=device,
                    kinds=artefact.kinds,
                )
                save_records(found, path)
                written.append(path)
    if artefact.sources is ablation and find_study(artefact.study).data == "cutouts":
        written += _record_recognition(name, artefact.study, device, command, runs, results)
    return written


def _record_recognition(name: str, study: str, device: str, command: str, runs: Path, results: Path) -> Iterator[Path]:
    """Top-1 of every trained model on new compositions, with Wilson's 95 % interval."""
    data = "cutouts_recognition"
    for seed, model, weights in finished_cells(study, runs):
        path = results_file(name, variant_of(model), seed, data, results)
        if path.is_file():
            continue
        network, _ = load_model(weights)
        size = network.config.size[0]
        share = recognition_top1(network.to(device), size=size)
        interval = stats.binomtest(round(share * TOP1_SCENES), TOP1_SCENES).proportion_ci(0.95, method="wilson")
        record = Record(
            metric="top1",
            model=variant_of(model),
            data=data,
            value=share,
            low=float(interval.low),
            high=float(interval.high),
            n=TOP1_SCENES,
            seeds=(seed,),
            settings={"dataset": f"cutouts-recognition-{size}px", "size": size, "classes": network.config.num_classes},
            data_sha256=fingerprint(),
            weights_sha256=sha256(weights),
            command=command,
            **provenance(device),
        )
        save_records([record], path)
        yield path
