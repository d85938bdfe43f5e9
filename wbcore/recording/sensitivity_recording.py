"""What is recorded of the readings of coarse segmentation: the subjects, their sizes, and the images to choose on."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch

from wbcore.checkpoints import load_model
from wbcore.data.cutouts import CutoutScenes
from wbcore.data.example import Dataset
from wbcore.data.registry import open_dataset
from wbcore.data.views import every_other
from wbcore.files import sha256
from wbcore.measuring.components import untrained_model
from wbcore.measuring.sensitivity import Shown, attention_subject, read_scores, show
from wbcore.measuring.sensitivity_records import Scored, lead_record, subject_records, whole_records
from wbcore.models import Backbone, model_config
from wbcore.profile import Profile
from wbcore.recording.cells import Cell, Place
from wbcore.recording.networks import PRETRAINED, first_runs, fix, pretrained_at_hand
from wbcore.records import Record
from wbcore.records.measured import common_fields, timed
from wbcore.segmentation_study import pretrained_backbone
from wbcore.study import OTHER_READINGS, find_study
from wbcore.subjects import Subject, baseline_subject

CLEAN = f"{PRETRAINED}_clean"
"""The pretrained ViT with its outlier tokens left out of every mask."""
BLOB, BLOB14 = "centred_blob", "centred_blob_grid14"
WHOLE = "whole_image"
LAB = ("crate", "crate_mlp", "crate_mhsa", "vit")
UNTRAINED = ("untrained_crate", "untrained_vit")
Part = Literal["held_back", "scored"]
SCENES: dict[Part, int] = {"held_back": 100, "scored": 200}
SCENE_SIZE = 288
"""Pixels.  Scenes are composed larger than any model sees them, so that all are compared on the same annotation."""
PATCHES = {PRETRAINED: 16, CLEAN: 16}
SIDES: dict[str, tuple[int, ...]] = {PRETRAINED: (14, 9, 18), CLEAN: (14, 9, 18), BLOB14: (14, 18)}
"""Tokens along a side, a subject's own first: 9, 12 and 18 are 72, 96 and 144 px at patches of 8."""
PAIRS = (
    ("crate", "vit"),
    ("crate", "crate_mlp"),
    ("crate_mlp", "crate_mhsa"),
    ("crate_mhsa", "vit"),
    ("crate", PRETRAINED),
    ("crate", CLEAN),
    ("crate", BLOB),
    ("crate", "random_heads"),
    ("crate", "untrained_crate"),
    ("vit", BLOB),
    (PRETRAINED, BLOB14),
    (CLEAN, BLOB14),
)
"""Of which the lead of the first is recorded under all readings."""
_KEPT = {
    **dict.fromkeys(("random_heads", *UNTRAINED), ("own_rule",)),
    **dict.fromkeys(
        ("crate", "vit"),
        ("pixels", "fixed_head", "own_layer", "own_rule", "best_head", "mass10", "mass90", "grid18"),
    ),
}
"""Of which readings values image by image are kept, where that is not :data:`_COMPARED`."""
_COMPARED = ("pixels", "own_rule", "best_head")


def images(data: str, part: Part, data_root: Path | None) -> Dataset:
    """The images on which readings are chosen, or those that are scored; they have none in common.

    COCO-200: its two splits.  Horses: every other image.  Scenes: those of training, and of objects and backgrounds
    that were not in it.
    """
    held_back = part == "held_back"
    if data == "cutouts":
        return CutoutScenes("train" if held_back else "segmentation", size=SCENE_SIZE, count=SCENES[part])
    if data == "weizmann":
        return every_other(open_dataset(data, data_root=data_root), 0 if held_back else 1)
    return open_dataset(data, data_root=data_root, split="train" if held_back else "val")


def sensitivity_cells(place: Place) -> Iterator[Cell]:
    """Every subject and pair at hand, on photographs where a ``data_root`` is given, and on scenes.

    The pretrained ViT only where its weights are; the other readings of CRATE's text once they are trained.
    """
    weights = {variant: path for variant, _, path in first_runs(place, "table2", "skip_and_projection")}
    names = [name for name in (*LAB, *OTHER_READINGS) if name in weights]
    if pretrained_at_hand(place):
        names += [PRETRAINED, CLEAN, BLOB14]
    names += [*UNTRAINED, "random_heads", BLOB]
    subject = cache(partial(_subject, weights, place))
    for data in ("coco200", "weizmann", "cutouts"):
        if data != "cutouts" and place.data_root is None:
            continue
        shown = cache(partial(_show, data, place))
        scored = cache(partial(_score, subject, shown))
        for name in names:
            seed = None if name.startswith((PRETRAINED, BLOB)) else 0
            yield Cell(name, seed, data, partial(_measure, name, subject, scored, data, place))
        yield Cell(WHOLE, None, data, partial(_whole, shown, data, place))
        for pair in PAIRS:
            if set(pair) <= set(names):
                yield Cell("_over_".join(pair), 0, data, partial(_lead, pair, scored, data, place))


def profile_subjects(
    chosen: Profile, *, data_root: Path | str | None = None, device: str = "cpu", seed: int = 0
) -> tuple[dict[str, Subject], int]:
    """Those of CRATE and ViT that a profile has, the first of them before it has learned, a centred blob and random
    heads, to be measured now; and the side of a patch in pixels, which is the first one's.

    Raises: InputError if none of the profile's weights is there.
    """
    names = chosen.trained(("crate", "vit"), data_root=data_root)
    loaded = {name: load_model(chosen.weights_path(name, data_root)) for name in names}
    found = [
        attention_subject(model, name=name, device=device, seed=card.seed) for name, (model, card) in loaded.items()
    ]
    config = loaded[names[0]][0].config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found.append(attention_subject(Backbone(config), name=f"untrained_{names[0]}", device=device, seed=0))
    for name in (BLOB, "random_heads"):
        found.append(baseline_subject(name, patch_size=config.patch_size, layers=(0,), heads=config.heads, seed=seed))
    return {subject.name: subject for subject in found}, config.patch_size


def _subject(weights: dict[str, Path], place: Place, name: str) -> tuple[Subject, dict[str, Any]]:
    """A subject, and what its records say of how it was made."""
    lab = model_config(find_study("table2").models[0])
    if name in (BLOB, BLOB14, "random_heads"):
        baseline = "centred_blob" if name == BLOB14 else name
        made = baseline_subject(baseline, patch_size=lab.patch_size, layers=(0,), heads=lab.heads)
        return replace(made, name=name), {}
    make = partial(attention_subject, name=name, device=place.device)
    if name in UNTRAINED:
        model = untrained_model(f"{name.removeprefix('untrained_')}_lab_patch8_72")
        return make(model, seed=0), {}
    if name in weights:
        model, card = load_model(weights[name])
        return make(model, seed=card.seed, weights_sha256=sha256(weights[name])), {}
    model, origin = pretrained_backbone("vit_tiny", data_root=place.data_root)
    made = partial(make, model, weights_sha256=origin["weights_sha256"])
    if name == PRETRAINED:
        return made(), {}
    photographs = open_dataset("coco200", data_root=place.data_root, split="train")
    threshold = fix(model.to(place.device).eval(), photographs).threshold
    settings = {"outliers_above": None if threshold is None else round(threshold, 4), "fixed_on": photographs.name}
    return made(outliers_above=threshold), settings


def _show(data: str, place: Place, part: Part, size: int, patch_size: int) -> Shown:
    return show(images(data, part, place.data_root), size=size, patch_size=patch_size)


def _score(
    subject: Callable[[str], tuple[Subject, dict[str, Any]]], shown: Callable[[Part, int, int], Shown], name: str
) -> Scored:
    one, patch_size = subject(name)[0], PATCHES.get(name, 8)
    parts: dict[Part, dict[int, Any]] = {"held_back": {}, "scored": {}}
    for part, found in parts.items():
        for side in SIDES.get(name, (9, 12, 18)):
            found[side] = read_scores(one, shown(part, side * patch_size, patch_size))
    return Scored(**parts)


def _common(data: str, place: Place, command: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What all records of a data set say: their fields, and their settings."""
    scored, held_back = (images(data, part, place.data_root) for part in ("scored", "held_back"))
    common = common_fields(data=data, command=command, device=place.device, data_sha256=scored.fingerprint)
    return common, {"dataset": scored.name, "chosen_on": held_back.name, "chosen_on_images": len(held_back)}


def _measure(
    name: str,
    subject: Callable[[str], tuple[Subject, dict[str, Any]]],
    scored: Callable[[str], Scored],
    data: str,
    place: Place,
    command: str,
) -> list[Record]:
    started = time.monotonic()
    one, settings = subject(name)
    found = scored(name)
    common, protocol = _common(data, place, command)
    common |= {"seeds": () if one.seed is None else (one.seed,), "weights_sha256": one.weights_sha256}
    protocol |= {"size": found.side * PATCHES.get(name, 8), **settings}
    keep = _KEPT.get(name, _COMPARED)
    records = subject_records(name, found, keep=keep, common=common, settings=protocol)
    return timed(records, started)


def _whole(shown: Callable[[Part, int, int], Shown], data: str, place: Place, command: str) -> list[Record]:
    common, protocol = _common(data, place, command)
    return whole_records(WHOLE, shown("scored", 72, 8), common=common, settings=protocol)


def _lead(
    pair: tuple[str, str], scored: Callable[[str], Scored], data: str, place: Place, command: str
) -> list[Record]:
    common, protocol = _common(data, place, command)
    left, right = (scored(name) for name in pair)
    return [lead_record(pair, left, right, common={**common, "seeds": (0,)}, settings=protocol)]
