"""How well a classifier names what it sees: top-1 on held-out scenes or photographs, as a number and as a record."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from scipy import stats
from torch import Tensor

from wbcore.data import cutouts
from wbcore.data.batches import resized_crop
from wbcore.data.example import Dataset
from wbcore.data.registry import open_dataset
from wbcore.data.views import subset
from wbcore.errors import InputError
from wbcore.models.backbone import Backbone
from wbcore.records import Record
from wbcore.records.measured import common_fields

SCENES, SEED = 2000, 1
CHUNK = 256
"""Images that go through a model at once."""


@dataclass(frozen=True)
class HeldOut:
    """Labelled images that a classifier was not trained on."""

    data: str
    """What records call them."""
    name: str
    fingerprint: str
    size: int
    count: int
    num_classes: int
    batch: Callable[[range], tuple[UInt8[Tensor, "b 3 s s"], Int[Tensor, "b"]]]
    """Images and labels at some positions."""


def recorded_as(data: str, split: str) -> str:
    """What records call a data set that was recognised: Cutouts have several splits for that."""
    return f"cutouts_{split}" if data == "cutouts" else data


def held_out(
    data: str,
    split: str,
    *,
    size: int,
    data_root: Path | str | None = None,
    limit: int | None = None,
    device: str = "cpu",
) -> HeldOut:
    """A split of a data set to be recognised: photographs, each resized to a square, or composed scenes.

    Of Cutouts the label is the identity of the main object, and there are ``SCENES`` scenes.
    Raises: InputError if the data set is unknown, not there, or has no labels.
    """
    if data == "cutouts":
        composer = cutouts.Composer(split, cutouts.SceneConfig(size=size), seed=SEED, device=device)

        def compose(positions: range) -> tuple[Tensor, Tensor]:
            scenes = composer(positions)
            return scenes.images, scenes.labels

        count = SCENES if limit is None else min(limit, SCENES)
        name, classes = f"cutouts-{split}-{size}px", len(composer.identities)
        return HeldOut(recorded_as(data, split), name, cutouts.fingerprint(), size, count, classes, compose)
    return photographs(open_dataset(data, data_root=data_root, split=split), data=data, size=size, limit=limit)


def photographs(dataset: Dataset, *, data: str, size: int, limit: int | None = None) -> HeldOut:
    """A labelled data set to be recognised, ``limit`` evenly spaced photographs of it at most."""
    chosen = dataset if limit is None else subset(dataset, limit)

    def decode(positions: range) -> tuple[Tensor, Tensor]:
        views, labels = [], []
        for index in positions:
            example = chosen[index]
            if example.label is None:
                raise InputError(f"{example.name} of {chosen.name} has no label: choose a classification data set")
            rows, cols, _ = example.image.shape
            views.append(resized_crop(example.image, (0, 0, rows, cols), size))
            labels.append(example.label)
        return torch.stack(views), torch.tensor(labels)

    return HeldOut(data, chosen.name, chosen.fingerprint, size, len(chosen), len(chosen.classes), decode)


def top1_share(model: Backbone, images: HeldOut) -> float:
    """Share of the images whose highest logit is their label."""
    device, correct = next(model.parameters()).device, 0
    with torch.inference_mode():
        for first in range(0, images.count, CHUNK):
            pixels, labels = images.batch(range(first, min(images.count, first + CHUNK)))
            answers = model(model.normalise(pixels.to(device))).argmax(dim=1)
            correct += int((answers == labels.to(device)).sum())
    return correct / images.count


def recognition(
    model: Backbone, images: HeldOut, *, name: str, seed: int | None, weights_sha256: str | None, command: str
) -> Record:
    """Top-1 with Wilson's 95 % interval, as a record.

    Raises: InputError if the model's head has another number of classes than the data.
    """
    if model.config.num_classes != images.num_classes:
        raise InputError(
            f"{name} has a head of {model.config.num_classes} classes and {images.name} has {images.num_classes}: "
            "fine-tune the model on this data set"
        )
    started = time.monotonic()
    share = top1_share(model, images)
    interval = stats.binomtest(round(share * images.count), images.count).proportion_ci(0.95, method="wilson")
    return Record(
        metric="top1",
        model=name,
        value=share,
        low=float(interval.low),
        high=float(interval.high),
        n=images.count,
        settings={"dataset": images.name, "size": images.size, "interval": "Wilson"},
        seconds=round(time.monotonic() - started, 1),
        **common_fields(
            data=images.data,
            command=command,
            device=next(model.parameters()).device,
            data_sha256=images.fingerprint,
            seed=seed,
            weights_sha256=weights_sha256,
        ),
    )
