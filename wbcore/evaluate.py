"""The meeting point: model × data × metric → records."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor
from tqdm import tqdm

from wbcore.data.cutouts import CutoutScenes
from wbcore.data.example import Dataset, Example
from wbcore.data.registry import open_dataset
from wbcore.data.views import subset
from wbcore.errors import InputError
from wbcore.metrics.attention import (
    NoObjectError,
    best_head_iou,
    dino_jaccard,
    head_iou,
    keep_entries,
    keep_mass,
    paper_miou,
    to_pixels,
    to_tokens,
)
from wbcore.metrics.coco_form import Truth, coco_form
from wbcore.metrics.detection import ap_intervals, match
from wbcore.metrics.parts import NoPartsError, part_shares
from wbcore.plots import Overlay
from wbcore.records import Record
from wbcore.records.measured import common_fields, mean_record, timed
from wbcore.showing import in_batches, resize
from wbcore.subjects import Reading, Subject, add_noise

Kind = Literal["attention", "maskcut"]


@dataclass(frozen=True)
class Measurement:
    """Data and image size of one kind of measurement."""

    data: str
    split: str
    size: int
    limit: int | None = None
    seed: int = 1
    """Of composed scenes: those of two seeds share neither what is shown nor where."""

    def open(self, data_root: Path | str | None = None, limit: int | None = None) -> Dataset:
        """The data set, with no more than ``limit`` images (default: the profile's own limit)."""
        count = self.limit if limit is None else limit
        if self.data == "cutouts":
            return CutoutScenes(self.split, size=self.size, count=200 if count is None else count, seed=self.seed)
        dataset = open_dataset(self.data, data_root=data_root, split=self.split)
        return dataset if count is None else subset(dataset, count)


RULES: dict[str, Callable[[Float[Tensor, "b h p"]], Bool[Tensor, "b h p"]]] = {
    "mass60": lambda attn: keep_mass(attn, 0.6),  # DINO's code
    "entries60": lambda attn: keep_entries(attn, 0.6),  # CRATE, appendix B.3, to the letter
    "entries20": lambda attn: keep_entries(attn, 0.2),  # about the share of an image that objects cover
}
"""How attention becomes a mask; see :mod:`wbcore.metrics.attention`."""


def segmentation(
    subject: Subject,
    dataset: Dataset,
    *,
    data: str,
    size: int,
    command: str,
    device: str = "cpu",
    kinds: Sequence[Kind] = ("attention", "maskcut"),
) -> list[Record]:
    """Attention mIoU and MaskCut AP of one subject on one data set, images resized to ``size``.

    The records name the data set ``data``; its full name, split included, stands in their settings.

    Metrics of the result, as far as ``kinds`` asks for them and the data are annotated for them:

    - ``attention``, of classes: ``attention_miou/<rule>/layer<l>``: CRATE, Eqs. (13) and (14), on the token grid, best
      head per class; ``attention_jaccard/mass60/layer<l>``: DINO's protocol, at pixels;
    - ``maskcut``, of objects: ``maskcut_<bbox|segm>/<ap|ap50|ap75>``: class-agnostic COCO AP of MaskCut's masks,
      constant scores, without CRF unless the subject has it (:func:`wbcore.subjects.refined`).

    Each mean over images leaves out those without an object for this metric, and its settings count them: an object
    too small to win a token is none on the token grid, and one at pixels.  Where no image has any, there is no record.
    Raises: InputError if the data have no annotation for any of these, or no object.
    """
    started = time.monotonic()
    scores: dict[str, list[float]] = {}
    predictions, truths = [], []
    for example, reading, index in tqdm(
        _read(subject, dataset, size), total=len(dataset), desc=f"{subject.name} on {dataset.name}", disable=None
    ):
        if example.semantic is not None and "attention" in kinds:
            for metric, value in _attention_scores(reading, index, example).items():
                scores.setdefault(metric, []).append(value)
        if example.instances is not None and "maskcut" in kinds:
            shape = (example.image.shape[0], example.image.shape[1])
            predictions.append(to_pixels(reading.masks[index], shape).numpy())
            truths.append(Truth(example.instances, example.crowd))
    known = {metric: [value for value in values if not math.isnan(value)] for metric, values in scores.items()}
    if not any(known.values()) and not truths:
        lacking = f"no object in any of its {len(dataset)} images" if scores else "neither classes nor objects"
        raise InputError(f"{dataset.name} has {lacking}: {' and '.join(kinds)} cannot be measured on it")
    protocol: dict[str, Any] = {"dataset": dataset.name, "size": size}
    common = common_fields(
        data=data,
        command=command,
        device=device,
        data_sha256=dataset.fingerprint,
        seed=subject.seed,
        weights_sha256=subject.weights_sha256,
    )
    records = [
        mean_record(
            metric,
            subject.name,
            values,
            settings={**protocol, "images_without_object": len(scores[metric]) - len(values)},
            **common,
        )
        for metric, values in known.items()
        if values
    ]
    if truths:
        form = coco_form(predictions, truths)
        for kind in ("bbox", "segm"):
            matches = match(form, kind=kind)
            records += [
                Record(
                    metric=f"maskcut_{kind}/{name}",
                    model=subject.name,
                    **interval._asdict(),
                    settings={**protocol, "scores": "constant", "crf": False, **subject.settings},
                    matches=matches.lines(),
                    **common,
                )
                for name, interval in ap_intervals(matches)._asdict().items()
            ]
    return timed(records, started)


def _read(subject: Subject, dataset: Dataset | Sequence[Example], size: int) -> Iterator[tuple[Example, Reading, int]]:
    """Every example with the reading of its batch and its place in it."""
    for examples in in_batches(dataset):
        reading = subject.read(torch.stack([resize(example.image, size) for example in examples]))
        for index, example in enumerate(examples):
            yield example, reading, index


def _attention_scores(reading: Reading, index: int, example: Example) -> dict[str, float]:
    """All attention metrics of one image; NaN where it has no object on the grid that the metric compares on."""
    grid = reading.grid
    labels = torch.from_numpy(example.semantic)
    token_labels = to_tokens(labels, grid)  # once for all layers and rules
    found = {}
    for layer, attention in reading.attention.items():
        for rule, keep in RULES.items():
            masks = keep(attention[index]).unflatten(-1, grid)
            found[f"attention_miou/{rule}/layer{layer}"] = _score(paper_miou, masks, token_labels)
            if rule == "mass60":
                found[f"attention_jaccard/{rule}/layer{layer}"] = _score(dino_jaccard, masks, labels)
    return found


def _score(
    metric: Callable[[Tensor, Tensor], float], masks: Bool[Tensor, "heads rows cols"], labels: Integer[Tensor, "h w"]
) -> float:
    try:
        return metric(masks, labels)
    except NoObjectError:
        return math.nan


def square(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "s s 3"]:
    """An image as :func:`resize` shows it to a model, to be drawn."""
    return resize(image, side).permute(1, 2, 0).numpy()


def noisy_example(example: Example, *, sigma: float, share: float, seed: int = 0) -> Example:
    """An example as :func:`wbcore.subjects.noisy` shows it to a model at its own size; its annotation stays."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(np.array(example.image)).permute(2, 0, 1)
    (image,) = add_noise(pixels[None], sigma=sigma, share=share, generator=generator)
    return replace(example, image=image.permute(1, 2, 0).numpy())


def look(
    subject: Subject,
    examples: Sequence[Example],
    *,
    size: int,
    layer: int = -1,
    masks: bool = True,
    rule: str = "mass60",
) -> list[Overlay]:
    """What a subject sees of some images: one head's attention and MaskCut's masks, to be drawn over the picture.

    Where an image is annotated, the head whose mask by ``rule`` (one of :data:`RULES`) fits its objects best, which is
    an oracle's choice as in CRATE's Eq. (13); elsewhere the mean over all heads.  The caption says which.
    Without ``masks`` only the attention, which is much faster.
    """
    reading = subject.read(torch.stack([resize(example.image, size) for example in examples]))
    grid = reading.grid
    found = []
    for index, example in enumerate(examples):
        attention, objects = reading.attention[layer][index], _objects(example, grid)
        if objects is None:
            heat, caption = attention.mean(dim=0), "mean of heads"
        else:
            best = best_head_iou(RULES[rule](attention[None])[0], objects)
            head = int(best.head[0])
            heat, caption = attention[head], f"head {head}, IoU {100 * float(best.iou[0]):.0f} %"
        outlines = reading.masks[index].numpy() if masks else None
        found.append(Overlay(heat.unflatten(-1, grid).numpy(), outlines, caption))
    return found


def cut(overlays: Sequence[Overlay], *, rule: str = "mass60") -> list[Overlay]:
    """The mask that ``rule`` (one of :data:`RULES`) makes of each heat map, in place of the heat map."""
    found = []
    for overlay in overlays:
        if overlay.heat is None:
            raise InputError("an overlay without a heat map cannot be cut to a mask: make it with look or heads")
        kept = RULES[rule](torch.from_numpy(overlay.heat).flatten()[None, None])
        found.append(replace(overlay, heat=None, masks=kept[0].view(-1, *overlay.heat.shape).numpy()))
    return found


def heads(subject: Subject, examples: Sequence[Example], *, size: int, layer: int = -1) -> list[list[Overlay]]:
    """The attention of every head over some images: for each image one overlay per head, in the heads' order.

    Where an image is annotated, the caption is the IoU of the head's mask (60 % of the mass) with all its objects
    together.
    """
    reading = subject.read(torch.stack([resize(example.image, size) for example in examples]))
    found = []
    for example, attention in zip(examples, reading.attention[layer], strict=True):
        objects, captions = _objects(example, reading.grid), [""] * len(attention)
        if objects is not None:
            (iou,) = head_iou(keep_mass(attention, 0.6), objects)
            captions = [f"IoU {100 * float(one):.0f} %" for one in iou]
        heat = attention.unflatten(-1, reading.grid).numpy()
        found.append([Overlay(one, caption=caption) for one, caption in zip(heat, captions, strict=True)])
    return found


def parts(
    subject: Subject, examples: Sequence[Example], *, size: int, layer: int = -1
) -> tuple[Float[np.ndarray, "n h k"], list[int]]:
    """Where on its object each head looks: :func:`wbcore.metrics.parts.part_shares`, and of which images.

    All objects of an image count as one.  Images whose object is too small on the token grid are left out.
    Raises: InputError if an image is not annotated, or none has an object that is large enough.
    """
    found: dict[int, Float[np.ndarray, "h k"]] = {}
    for number, (example, reading, index) in enumerate(_read(subject, examples, size)):
        objects = _objects(example, reading.grid)
        if objects is None:
            raise InputError(f"{example.name} is not annotated: parts of its object are unknown, leave it out")
        with suppress(NoPartsError):
            shares = part_shares(reading.attention[layer][index], objects[0].unflatten(0, reading.grid))
            found[number] = shares.numpy()
    if not found:
        raise InputError(f"none of {len(examples)} images has an object of 3 x 3 tokens: use larger images")
    return np.stack(list(found.values())), list(found)


def _objects(example: Example, grid: tuple[int, int]) -> Bool[Tensor, "1 p"] | None:
    """All annotated objects as one target on the token grid; None where nothing is annotated."""
    if example.semantic is None:
        return None
    return (to_tokens(torch.from_numpy((example.semantic > 0).astype(np.uint8)), grid) == 1).flatten()[None]
