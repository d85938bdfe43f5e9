"""What is recorded of the segmentation study: every trained model, under every policy that it can run."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from wbcore.checkpoints import load_segmenter
from wbcore.data.cutout_stuff import CutoutStuffScenes
from wbcore.data.example import Dataset
from wbcore.data.registry import open_dataset
from wbcore.files import sha256
from wbcore.measuring.segmentation import View, segmentation_records
from wbcore.models.dovit import Policy
from wbcore.recording.cells import Cell, Place
from wbcore.records import Origin, Record, run_of
from wbcore.segmentation_study import SCENERIES, SegmentationCell, cells

SWEEP = (0.95, 0.96, 0.97, 0.98, 0.985, 0.99)
"""ξ of DoViT, Fig. 4."""
RATIOS = (0.9, 0.8, 0.7)
"""ρ of DyViT."""
MERGED_SHARES = (0.25, 0.5, 0.75)
"""Share of the patches that token merging has merged before the last layer."""
FEW = ("", "_untuned", f"_xi{round(1000 * SWEEP[0])}", f"_xi{round(1000 * SWEEP[-1])}", "90", "80", "70")
"""What is recorded of further training runs and of Segmenter, by the ending of the name: no curve is drawn."""
SCENES = 300


def policies(cell: SegmentationCell, *, patches: int, depth: int) -> dict[str, Policy]:
    """What a trained model is run with, by the ending of its name; "" is what it was trained for.

    A dense model is also run as DoViT without having been trained for it, and with merged tokens.
    """
    own = cell.policy
    if cell.variant == "dense":
        merged = {
            f"_tome{round(100 * share)}": Policy("merge", merged=round(share * patches / (depth - 1)))
            for share in MERGED_SHARES
        }
        as_dovit = next(
            other.policy for other in cells(cell.study) if other.scenery == cell.scenery and other.variant == "dovit"
        )
        return {"": own, "_untuned": as_dovit, **merged}
    if cell.variant == "dovit":
        return {"": own, **{f"_xi{round(1000 * xi)}": replace(own, threshold=xi) for xi in SWEEP}}
    if cell.variant == "dyvit":
        return {f"{round(100 * ratio)}": replace(own, keep_ratio=ratio) for ratio in RATIOS}
    return {"": own}


def measured_on(scenery: str, data_root: Path | None) -> Dataset:
    """The images that a scenery's records stand on."""
    found = SCENERIES[scenery]
    if found.data == "cutouts_stuff":
        return CutoutStuffScenes(found.test, size=found.crop[0], count=SCENES)
    return open_dataset(found.data, data_root=data_root, split=found.test)


def segmentation_cells(scenery: str, place: Place, *, study: str = "dovit") -> Iterator[Cell]:
    """Every trained model of a scenery under each of its policies; nothing where its data are not at hand."""
    found = SCENERIES[scenery]
    if found.data != "cutouts_stuff" and place.data_root is None:
        return
    for cell in cells(study):
        weights = cell.weights(place.runs)
        if cell.scenery != scenery or cell.variant == "base" or not weights.is_file():
            continue
        model, _ = load_segmenter(weights)
        patch = model.config.backbone.patch_size
        patches = -(-found.crop[0] // patch) * -(-found.crop[1] // patch)
        for ending, policy in policies(cell, patches=patches, depth=model.config.backbone.depth).items():
            if (cell.seed == 0 and cell.decoder == "setr") or ending in FEW:
                name = run_of(cell.model_name + ending, cell.seed)
                yield Cell(name, cell.seed, found.name, partial(_measure, cell, name, policy, place))


def _measure(cell: SegmentationCell, name: str, policy: Policy, place: Place, command: str) -> list[Record]:
    """All records of a model under one policy; those by class, which are many, of DoViT as it was trained alone.

    Of further runs the numbers are kept and not what they are of each image: they are compared run by run.
    """
    weights = cell.weights(place.runs)
    model, _ = load_segmenter(weights, device=place.device)
    found = segmentation_records(
        model,
        measured_on(cell.scenery, place.data_root),
        Origin(name, SCENERIES[cell.scenery].name, command, cell.seed, sha256(weights)),
        view=View(SCENERIES[cell.scenery].shorter),
        policy=policy,
    )
    by_class = cell.variant == "dovit" and name == cell.model_name
    found = [record for record in found if by_class or not record.metric.startswith("kept_by_class/")]
    return [replace(record, values=None, tallies=None) for record in found] if cell.seed else found
