"""What is recorded of LOST: every network with and without registers, and boxes that look at nothing."""

import time
from collections.abc import Callable, Iterator
from functools import cache, partial

from wbcore.data.example import Dataset
from wbcore.evaluate import Measurement
from wbcore.measuring.lost_records import box_records, chosen_on, lost_records
from wbcore.measuring.lost_sweep import BIASES, FEW_BIASES, Sweep, see, sweep
from wbcore.recording.cells import Cell, Place
from wbcore.recording.networks import CURED, PRETRAINED
from wbcore.recording.register_subjects import Loaded, Network, register_networks
from wbcore.records import Origin, Record
from wbcore.records.measured import timed

OTHER = ("coco200", "train")
"""The images on which facet, treatment, bias and the share of the centred box are chosen; none of them is measured."""
MEASURED = {
    "coco200": ("coco200", "val", None),
    "weizmann": ("weizmann", "val", None),
    "cutouts": ("cutouts", "segmentation", 200),
    "coco200_full": ("coco200", "val", None),
}
"""Data, split and number of images by what records call them; ``_full``: photographs at their own size."""
FULL = (PRETRAINED, CURED)
"""The networks that see photographs at their own size; the lab's would see some sixty times their own patches."""


def lost_cells(place: Place) -> Iterator[Cell]:
    """Every network on every data set; nothing without a ``data_root``, where the ways are chosen."""
    if place.data_root is None:
        return
    for network in register_networks(place):
        load = cache(network.load)
        for own_size in (False, True):
            data = [one for one in MEASURED if one.endswith("_full") == own_size]
            if not own_size or network.name in FULL:
                chosen = cache(partial(_sweep, load, OTHER, own_size, place))
                for one in data:
                    yield Cell(network.name, network.seed, one, partial(_measure, network, load, chosen, one, place))
    for one in MEASURED:
        if not one.endswith("_full"):
            yield Cell("boxes", None, one, partial(_boxes, one, place))


def images(data: str, split: str, limit: int | None, place: Place, *, size: int) -> Dataset:
    """A data set; scenes are composed at ``size`` pixels."""
    return Measurement(data, split, size, limit).open(place.data_root)


def _sweep(
    load: Callable[[], Loaded], which: tuple[str, str], own_size: bool, place: Place, limit: int | None = None
) -> tuple[Dataset, Sweep]:
    model = load().model
    dataset = images(*which, limit, place, size=model.config.size[0])
    return dataset, sweep(see(model, dataset, own_size=own_size), biases=FEW_BIASES if own_size else BIASES)


def _measure(
    network: Network,
    load: Callable[[], Loaded],
    chosen: Callable[[], tuple[Dataset, Sweep]],
    data: str,
    place: Place,
    command: str,
) -> list[Record]:
    started, loaded = time.monotonic(), load()
    others, other = chosen()
    name, split, limit = MEASURED[data]
    own_size = data.endswith("_full")
    dataset, found = _sweep(load, (name, split), own_size, place, limit)
    size = "own" if own_size else loaded.model.config.size[0]
    origin = chosen_on(others, loaded.origin(network.name, data, command, size=size))
    return timed(lost_records(loaded.model, other, found, dataset, origin), started)


def _boxes(data: str, place: Place, command: str) -> list[Record]:
    name, split, limit = MEASURED[data]
    dataset = images(name, split, limit, place, size=72)
    others = images(*OTHER, None, place, size=72)
    return box_records(others, dataset, Origin("boxes", data, command))
