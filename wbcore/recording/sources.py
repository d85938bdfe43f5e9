"""The subjects of CRATE's chapters: trained networks, as they are, by layer, by epoch, under noise, and baselines."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wbcore.checkpoints import load_model
from wbcore.files import sha256
from wbcore.measuring.components import untrained_model
from wbcore.models import model_config
from wbcore.recording.cells import Place
from wbcore.recording.networks import first_runs
from wbcore.records import run_of
from wbcore.study import cell_folder, find_study, finished_cells, variant_of
from wbcore.subjects import Subject, baseline_subject, model_subject, noisy


@dataclass(frozen=True)
class Source:
    """A subject that is made only when it is needed."""

    name: str
    seed: int | None
    make: Callable[[], Subject]


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
        name = run_name(model, seed, ending)
        yield Source(name, seed, partial(_trained, weights, place.device, name))


def run_name(model: str, seed: int, ending: str = "") -> str:
    """What records call a run of a model."""
    return run_of(variant_of(model) + ending, seed)


def first_seed(study: str, place: Place, variants: Sequence[str] = ("crate", "vit")) -> Iterator[tuple[str, str, Path]]:
    """:func:`first_runs` of some variants."""
    return (run for run in first_runs(place, study) if run[0] in variants)


def by_layer(study: str, place: Place) -> Iterator[Source]:
    """CRATE and ViT, seen in every layer: ``crate_layer1`` is the first."""
    for variant, model, weights in first_seed(study, place):
        for layer in range(model_config(model).depth):
            name = f"{variant}_layer{layer + 1}"
            yield Source(name, 0, partial(_trained, weights, place.device, name, layers=(layer,), feature_layer=layer))


def by_epoch(study: str, place: Place) -> Iterator[Source]:
    """CRATE and ViT over the course of training, from the checkpoints that are kept after each epoch."""
    for variant, model, _ in first_seed(study, place):
        for checkpoint in sorted(cell_folder(study, model, 0, place.runs).glob("epoch*.safetensors")):
            name = f"{variant}_epoch{int(checkpoint.stem.removeprefix('epoch'))}"
            yield Source(name, 0, partial(_trained, checkpoint, place.device, name))


NOISE_SIGMAS, NOISE_SHARES = (10, 25, 50, 75), (10, 25, 50, 75)
"""CRATE, Figs. 11 and 12: standard deviation in grey levels of 255, and percent of the pixels."""


def by_noise(study: str, place: Place) -> Iterator[Source]:
    """CRATE and ViT on noisy images: σ varied on half of the pixels, and the share of pixels varied at σ = 75."""
    levels = [(sigma, 50) for sigma in NOISE_SIGMAS] + [(75, share) for share in NOISE_SHARES]
    for variant, _, weights in first_seed(study, place):
        yield Source(variant, 0, partial(_trained, weights, place.device, variant))
        for sigma, share in dict.fromkeys(levels):
            name = f"{variant}_sigma{sigma}_share{share}"
            yield Source(name, 0, partial(_noisy, weights, place.device, name, sigma, share))


def _trained(weights: Path, device: str, name: str, **options: Any) -> Subject:
    network, card = load_model(weights)
    digest = sha256(weights)
    return model_subject(network, name=name, device=device, seed=card.seed, weights_sha256=digest, **options)


def _untrained(model: str, device: str) -> Subject:
    return model_subject(untrained_model(model), name=f"untrained_{variant_of(model)}", device=device, seed=0)


def _noisy(weights: Path, device: str, name: str, sigma: int, share: int) -> Subject:
    return noisy(_trained(weights, device, name), sigma=sigma, share=share / 100)
