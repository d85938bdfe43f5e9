"""What is recorded of linear maps of frozen features: every network with and without registers."""

from collections.abc import Callable, Iterator
from functools import cache, partial

from wbcore.evaluate import Measurement
from wbcore.measuring.linear_records import classification_records, read, segmentation_records
from wbcore.recording.cells import Cell, Place
from wbcore.recording.networks import CURED, PRETRAINED
from wbcore.recording.probe_recording import FIT_SEED, Pair, global_data
from wbcore.recording.register_subjects import Loaded, Network, register_networks
from wbcore.records import Record

STREET_GRID = (12, 16)
"""Patches of a street scene, whose sides are 3 : 4: nearly as many as the pretrained ViT has at its native size."""
NAMES, STREETS, SCENES = ("cutouts_transfer", "imagenette"), "camvid", "cutouts"


def segmented(data: str, size: int) -> Pair:
    """What linear segmentation is fitted on and scored on, scenes at ``size`` pixels."""
    if data == SCENES:
        fit = Measurement(data, "train", size, 300, seed=FIT_SEED)
        return fit, Measurement(data, "segmentation", size, 400)
    return Measurement(data, "train", size, 120), Measurement(data, "test", size)


def linear_cells(place: Place) -> Iterator[Cell]:
    """Every network on photographs, where they are at hand, and the lab's on scenes, too."""
    for network in register_networks(place):
        load = cache(network.load)
        for data in (*NAMES, STREETS, SCENES):
            if data.startswith("cutouts"):
                wanted = network.name not in (PRETRAINED, CURED)
            else:
                wanted = place.data_root is not None
            if not wanted:
                continue
            measure = _classify if data in NAMES else _segment
            yield Cell(network.name, network.seed, data, partial(measure, network, load, data, place))


def _classify(network: Network, load: Callable[[], Loaded], data: str, place: Place, command: str) -> list[Record]:
    found = load()
    pair = global_data(found.model.config.size[0])[data]
    fit, score = (read(found.model, one.open(place.data_root), dense=False) for one in pair)
    return classification_records(fit, score, found.origin(network.name, data, command))


def _segment(network: Network, load: Callable[[], Loaded], data: str, place: Place, command: str) -> list[Record]:
    """Of scenes also the two classes object and background."""
    found = load()
    config, origin = found.model.config, found.origin(network.name, data, command)
    rows, cols = config.grid if data == SCENES else STREET_GRID
    size = rows * config.patch_size, cols * config.patch_size
    fit, score = (read(found.model, one.open(place.data_root), size=size) for one in segmented(data, config.size[0]))
    records = segmentation_records(fit, score, origin)
    if data == SCENES:
        records += segmentation_records(fit, score, origin, foreground=True)
    return records
