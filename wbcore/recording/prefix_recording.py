"""What is recorded of the class token and the registers: every network with and without them, on the data at hand."""

from collections.abc import Callable, Iterator
from functools import partial

from wbcore.evaluate import Measurement
from wbcore.measuring.prefix_records import prefix_records
from wbcore.recording.cells import Cell, Place
from wbcore.recording.register_subjects import Loaded, register_networks
from wbcore.records import Record

DATA = {"coco200": ("val", 100), "cutouts": ("segmentation", 200)}
"""Split and number of images."""


def prefix_cells(place: Place) -> Iterator[Cell]:
    """Trained networks; photographs where a ``data_root`` is given."""
    for network in register_networks(place):
        if not network.name.startswith("untrained"):
            for data in DATA:
                if data == "cutouts" or place.data_root is not None:
                    measure = partial(_measure, network.name, network.load, data, place)
                    yield Cell(network.name, network.seed, data, measure)


def _measure(name: str, load: Callable[[], Loaded], data: str, place: Place, command: str) -> list[Record]:
    found, (split, count) = load(), DATA[data]
    dataset = Measurement(data, split, found.model.config.size[0], count).open(place.data_root)
    return prefix_records(found.model, dataset, found.origin(name, data, command))
