"""What is recorded of the foreground that principal components draw: CRATE, ViT, both untrained, and a blob."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from wbcore.checkpoints import load_model
from wbcore.data.example import Dataset
from wbcore.evaluate import Measurement
from wbcore.files import sha256
from wbcore.measuring.components import Finder, blob_finder, foreground_records, model_finder, untrained_model
from wbcore.metrics.pca import RULES
from wbcore.models import model_config
from wbcore.recording.cells import Cell, Place
from wbcore.recording.sources import first_seed
from wbcore.recording.study_recording import lab_data
from wbcore.records import Record
from wbcore.study import find_study


def foreground_cells(place: Place) -> Iterator[Cell]:
    """CRATE, Fig. 3: by every rule, on every data set at hand."""
    rules, config = tuple(RULES), model_config(find_study("table2").models[0])
    finders: list[tuple[str, str | None, Callable[[], Finder]]] = [
        ("centred_blob", None, partial(blob_finder, config.patch_size, rules=rules))
    ]
    for variant, model, weights in first_seed("table2", place):
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
