"""What is recorded of speed: every trained dense, DoViT and DyViT model, under each of its policies, at two sizes."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from wbcore.checkpoints import load_segmenter
from wbcore.files import sha256
from wbcore.measuring.speed import speed_records, timed_images
from wbcore.recording.cells import Cell, Place
from wbcore.recording.segmentation_recording import measured_on, policies
from wbcore.records import Record
from wbcore.segmentation_study import SCENERIES, SegmentationCell, cells

PRECISIONS = {"cpu": ("float32",), "cuda": ("float32", "bfloat16")}
"""What is recorded on a device; ``bfloat16`` is torch's autocast."""
TIMED = ("dense", "dovit", "dyvit")
"""The variants whose speed is recorded."""


class Size(NamedTuple):
    """At what size the images of a scenery are timed, and how many."""

    factor: int
    """Times the size at which the models were trained."""
    images: int
    repeats: int
    sweep: bool
    """Whether every policy is timed, or each model only with its own."""


SIZES = (Size(1, images=24, repeats=2, sweep=True), Size(2, images=8, repeats=4, sweep=False))


def speed_cells(place: Place) -> Iterator[Cell]:
    """:func:`scenery_cells` of street scenes, then of composed ones."""
    yield from scenery_cells("street", place)
    yield from scenery_cells("scenes", place)


def scenery_cells(scenery: str, place: Place) -> Iterator[Cell]:
    """Every trained dense, DoViT and DyViT model of a scenery, timed on a device under its policies at two sizes.

    Of a model trained several times, the first run.  Nothing where the scenery's data are not at hand.
    """
    found = SCENERIES[scenery]
    if found.data != "cutouts_stuff" and place.data_root is None:
        return
    for cell in cells():
        if (cell.scenery, cell.seed) == (scenery, 0) and cell.variant in TIMED and cell.weights(place.runs).is_file():
            for precision in PRECISIONS[place.device]:
                measure = partial(_measure, cell, place, precision)
                yield Cell(cell.model_name, cell.seed, f"{found.data}-{place.device}-{precision}", measure)


def _measure(cell: SegmentationCell, place: Place, precision: str, command: str) -> list[Record]:
    scenery, weights = SCENERIES[cell.scenery], cell.weights(place.runs)
    model, _ = load_segmenter(weights, device=place.device)
    patch, depth = model.config.backbone.patch_size, model.config.backbone.depth
    dataset, records = measured_on(cell.scenery, place.data_root), []
    for size in SIZES:
        rows, cols = (size.factor * side for side in scenery.crop)
        every = policies(cell, patches=-(-rows // patch) * -(-cols // patch), depth=depth)
        runs = {ending: policy for ending, policy in every.items() if size.sweep or policy == cell.policy}
        records += speed_records(
            model,
            timed_images(dataset, size.images, shorter=min(rows, cols)),
            {cell.model_name + ending: policy for ending, policy in runs.items()},
            data=scenery.data,
            command=command,
            repeats=size.repeats,
            precision=precision,
            seed=cell.seed,
            weights_sha256=sha256(weights),
        )
    return records
