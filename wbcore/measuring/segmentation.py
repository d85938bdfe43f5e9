"""Semantic segmentation measured: what a model says of each image, what that cost, and the records of both."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped, UInt8
from tqdm import tqdm

from wbcore.data.cutout_stuff import CutoutStuffScenes
from wbcore.data.example import Dataset, Example
from wbcore.data.registry import open_dataset
from wbcore.data.segmentation_batches import to_size
from wbcore.data.views import subset
from wbcore.errors import InputError
from wbcore.metrics.cost import Ledger
from wbcore.metrics.segmentation import confusion, going_on, kept_by_class, scores, tally
from wbcore.metrics.segmentation_cost import segmentation_ledger
from wbcore.models.dovit import DoViT, Policy, slide
from wbcore.models.token_pass import confidence
from wbcore.records import Record
from wbcore.records.measured import Origin, mean_record, timed


@dataclass(frozen=True, eq=False)
class Segmented:
    """One image as a model saw it."""

    example: Example
    image: UInt8[np.ndarray, "h w 3"]
    """At the size at which the model saw it."""
    prediction: UInt8[np.ndarray, "rows cols"]
    """The class of every pixel of the annotation (of ``image`` where there is none)."""
    sure: tuple[Float[np.ndarray, "r c"], ...]
    """What each early probe was sure of each patch, where probes were asked."""
    keep: tuple[Bool[np.ndarray, "r c"], ...]
    """The patches that went on after each decision; empty where nothing was decided."""
    tokens: tuple[int, ...]
    """Tokens in each layer, prefix tokens included."""
    cost: Ledger
    patch_size: int
    """Side of a patch, in pixels of ``image``."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, cols = (-(-side // self.patch_size) for side in self.image.shape[:2])
        return rows, cols

    @property
    def picture(self) -> UInt8[np.ndarray, "rows cols 3"]:
        """The image at the size of ``prediction``, so that masks lie on it."""
        return self.image if self.example.semantic is None else self.example.image

    def at_pixels(self, patches: Shaped[np.ndarray, "r c"]) -> Shaped[np.ndarray, "rows cols"]:
        """What each patch has, at the pixels of ``prediction``: a pixel takes the patch in which its centre lies.

        Patches that reach over the lower or the right border, because images are padded to whole patches, are cut.
        """
        places = [
            ((np.arange(count) + 0.5) * side / count / self.patch_size).astype(int)
            for count, side in zip(self.prediction.shape, self.image.shape[:2], strict=True)
        ]
        return patches[np.ix_(*places)]


@dataclass(frozen=True)
class View:
    """How images are shown to a model and read back."""

    shorter: int | None = None
    """Lesser side in pixels, the aspect kept; None: as they are."""
    window: tuple[int, int] | None = None
    """Side and stride of square windows, in pixels, over which logits are averaged; None: the image as a whole.  What
    tokens cost is always that of the whole image, as the paper counts it."""


WHOLE = View()


def segment(
    model: DoViT, examples: Iterable[Example], *, view: View = WHOLE, policy: Policy | None = None
) -> Iterator[Segmented]:
    """What ``model`` makes of each image, one at a time, under ``policy`` (None: its own).

    The logits are brought to the annotation's size before the class is chosen, as mmsegmentation does.
    """
    device = next(model.parameters()).device
    own, model.policy = model.policy, policy or model.policy
    try:
        for example in examples:
            image = example.image if view.shorter is None else to_size(example.image, view.shorter)
            pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(device)
            with torch.inference_mode():
                found = model(model.normalise(pixels))
                logits = found.logits
                if view.window is not None:
                    side, stride = view.window
                    logits = slide(model, model.normalise(pixels), crop=(side, side), stride=(stride, stride))
            size = image.shape[:2] if example.semantic is None else example.semantic.shape
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            config = replace(model.config, policy=model.policy)
            tokens = tuple(layer[0] for layer in found.tokens)
            yield Segmented(
                example,
                image,
                logits.argmax(dim=1)[0].to(torch.uint8).cpu().numpy(),
                tuple(confidence(probe)[0].view(found.grid).cpu().numpy() for probe in found.auxiliary),
                tuple(mask[0].view(found.grid).cpu().numpy() for mask in found.keep),
                tokens,
                segmentation_ledger(config, found.grid, tokens),
                model.config.backbone.patch_size,
            )
    finally:
        model.policy = own


def segmentation_records(
    model: DoViT,
    dataset: Dataset,
    origin: Origin,
    *,
    view: View = WHOLE,
    policy: Policy | None = None,
) -> list[Record]:
    """mIoU, PA and mPA of a model on a data set, and what every image cost.

    Metrics: ``segmentation/<miou|pa|mpa>``, of all pixels together; ``cost/gmacs`` (linear maps and attention) and
    ``cost/gmacs_linear``, thousand millions of multiply-accumulates an image; ``kept/<i>``, the share of the patches
    that goes on after decision i; ``kept_by_class/<i>/<class>``, the same of the pixels of a class that some image has.

    Raises: InputError if an image has no annotation, or a label is no class.
    """
    classes = len(dataset.classes)
    if classes != model.config.num_classes:
        raise InputError(
            f"{dataset.name} has {classes} classes, {origin.name} knows {model.config.num_classes}: "
            "measure it on the data it was trained for"
        )
    started = time.monotonic()
    used = policy or model.policy
    examples = (dataset[index] for index in range(len(dataset)))
    confusions, per_image, by_class = [], {"cost/gmacs": [], "cost/gmacs_linear": []}, {}
    bar = tqdm(
        segment(model, examples, view=view, policy=policy),
        total=len(dataset),
        desc=f"{origin.name} on {dataset.name}",
        disable=None,
    )
    for found in bar:
        if found.example.semantic is None:
            raise InputError(
                f"{found.example.name} of {dataset.name} has no annotation: choose a segmentation data set"
            )
        labels = found.example.semantic
        confusions.append(confusion(found.prediction, labels, classes=classes))
        per_image["cost/gmacs"].append(found.cost.whole.total / 1e9)
        per_image["cost/gmacs_linear"].append(found.cost.whole.linear / 1e9)
        for number, mask in enumerate(found.keep, start=1):
            per_image.setdefault(f"kept/{number}", []).append(float(mask.mean()))
            counts = going_on(found.at_pixels(mask), labels, classes=classes)
            by_class.setdefault(f"kept_by_class/{number}", []).append(counts)
    tallies = tally(confusions)
    common: dict[str, Any] = {
        "model": origin.name,
        "settings": {"dataset": dataset.name, **asdict(view), "policy": describe(used), **origin.settings},
        **origin.common(next(model.parameters()).device, dataset.fingerprint),
    }
    records = [
        Record(
            metric=f"segmentation/{metric}",
            **interval._asdict(),
            tallies=tallies.lines() if metric == "miou" else None,
            **common,
        )
        for metric, interval in scores(tallies)._asdict().items()
    ]
    records += [mean_record(metric, values=values, **common) for metric, values in per_image.items()]
    records += [
        Record(metric=f"{metric}/{name}", **interval._asdict(), **common)
        for metric, counts in by_class.items()
        for name, interval in zip(dataset.classes, kept_by_class(np.stack(counts)), strict=True)
        if not np.isnan(interval.value)
    ]
    return timed(records, started)


@dataclass(frozen=True)
class SegmentationPlan:
    """Which segmentation models are measured on what."""

    data: str
    split: str
    models: tuple[str, ...]
    """Names of records, as ``setr_vit_base_dovit``; their weights have the scenery's name before it."""
    view: View = WHOLE
    limit: int | None = None
    pictured_at: float | None = None
    """ξ at which pictures show token-pass, where a model's own stops too little to be seen; None: its own."""

    def pictured(self, policy: Policy, threshold: float | None = None) -> Policy:
        """A policy of confidence as pictures show it; ``threshold`` goes before the plan's."""
        chosen = self.pictured_at if threshold is None else threshold
        return policy if chosen is None else replace(policy, threshold=chosen)

    def open(self, data_root: Path | str | None = None, limit: int | None = None) -> Dataset:
        """The data set, with no more than ``limit`` images (default: the plan's own limit)."""
        count = self.limit if limit is None else limit
        if self.data == "cutouts_stuff":
            return CutoutStuffScenes(self.split, count=200 if count is None else count)
        dataset = open_dataset(self.data, data_root=data_root, split=self.split)
        return dataset if count is None else subset(dataset, count)


def describe(policy: Policy) -> dict[str, Any]:
    """What of a policy matters for its kind."""
    fields = {
        "dense": (),
        "confidence": ("threshold", "merging"),
        "ratio": ("keep_ratio",),
        "merge": ("merged",),
    }
    return {"kind": policy.kind, **{field: getattr(policy, field) for field in fields[policy.kind]}}
