"""What is recorded of CRATE's objective: what each half of each layer does to that from which it was derived."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from wbcore.checkpoints import load_model
from wbcore.files import sha256
from wbcore.measuring.objective import objective_by_layer
from wbcore.recording.cells import Cell, Place
from wbcore.recording.sources import first_seed
from wbcore.recording.study_recording import lab_data
from wbcore.records import Record
from wbcore.records.measured import common_fields, mean_record
from wbcore.showing import resize


def objective_cells(place: Place) -> Iterator[Cell]:
    """CRATE, Eq. (2): all layers in one file."""
    for _, _, weights in first_seed("table2", place, ("crate",)):
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
