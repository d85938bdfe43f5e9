"""What linear maps make of frozen features: the class of an image, and the class of every pixel."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from wbcore.data.example import VOID, Dataset
from wbcore.errors import InputError
from wbcore.metrics.local_probes import fit_segmentation, segment
from wbcore.metrics.probes import fit_linear, hits, k_nearest
from wbcore.metrics.segmentation import confusion, scores, tally
from wbcore.models import Backbone
from wbcore.records import Record
from wbcore.records.measured import Origin, mean_record, timed
from wbcore.showing import example_batches

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse penalties, the best on a tenth of the fitting images."""
PIXEL_STRENGTHS = (0.001, 0.01, 0.1)
"""The same for patches, of which there are many more; the tenth is of patches, not of images."""
NEIGHBOURS = 20


class Annotation(NamedTuple):
    """What is known of an image, without its pixels."""

    name: str
    label: int | None = None
    semantic: UInt8[np.ndarray, "h w"] | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """A data set as a frozen model makes it; tokens are behind the final LayerNorm."""

    class_token: Float[Tensor, "m d"]
    mean_patch: Float[Tensor, "m d"]
    patches: Float[Tensor, "m n d"]
    """None of them (``n`` is 0) where only the whole image is asked for."""
    grid: tuple[int, int]
    annotations: list[Annotation]
    dataset: Dataset
    size: tuple[int, int]
    """Rows and columns in pixels, as the model saw the images."""
    device: torch.device | str = "cpu"
    """Where the model was."""

    @property
    def labels(self) -> Int[Tensor, "m"]:
        """The class of each image.  Raises: InputError if one has none."""
        for one in self.annotations:
            if one.label is None:
                raise InputError(f"{one.name} of {self.dataset.name} has no label: choose labelled images")
        return torch.tensor([one.label for one in self.annotations])

    def maps(self, *, foreground: bool = False) -> list[UInt8[Tensor, "_h _w"]]:
        """The class of each pixel, or whether it is none of the background.  Raises: InputError if one has none."""
        found = []
        for one in self.annotations:
            if one.semantic is None:
                raise InputError(f"{one.name} of {self.dataset.name} has no map of classes: choose one that has")
            labels = torch.from_numpy(np.ascontiguousarray(one.semantic))
            found.append(torch.where(labels == VOID, labels, (labels > 0).to(torch.uint8)) if foreground else labels)
        return found


def read(model: Backbone, dataset: Dataset, *, size: tuple[int, int] | None = None, dense: bool = True) -> Reading:
    """The class token and the patches of all images, resized to ``size = (rows, columns)`` (default: native).

    The model stays on its device; the result is on the CPU.  Without ``dense`` patches are not kept.
    """
    size = size or model.config.size
    class_tokens, means, kept, annotations, grid = [], [], [], [], (0, 0)
    for batch, shown in example_batches(model, dataset, size=size):
        layout = model.layout(shown)
        with torch.inference_mode():
            tokens = model.norm(model.tokens(shown)).float().cpu()
        patches = layout.patches(tokens)
        class_tokens.append(tokens[:, 0])
        means.append(patches.mean(dim=1))
        kept.append(patches if dense else patches[:, :0])
        annotations += [Annotation(one.name, one.label, one.semantic) for one in batch]
        grid = layout.grid
    tokens = torch.cat(class_tokens), torch.cat(means), torch.cat(kept)
    return Reading(*tokens, grid, annotations, dataset, size, model.position.device)


def _common(origin: Origin, fit: Reading, score: Reading) -> dict[str, Any]:
    """The fields that do not depend on the metric."""
    return {
        "model": origin.name,
        "settings": {
            "dataset": score.dataset.name,
            "size": list(score.size),
            "fitted_on": fit.dataset.name,
            "fitted_on_sha256": fit.dataset.fingerprint,
            "fitted_on_images": len(fit.annotations),
            **origin.settings,
        },
        **origin.common(score.device, score.dataset.fingerprint),
    }


def classification_records(
    fit: Reading, score: Reading, origin: Origin, *, strengths: Sequence[float] = STRENGTHS
) -> list[Record]:
    """Top-1 on ``score`` of what is fitted to ``fit``, mean over images.

    - ``linear_top1``: logistic regression on the class token;
    - ``linear_top1_patches``: on the class token beside the mean of the patches;
    - ``knn_top1``: a vote of the nearest class tokens.

    Source: Registers, Table 2a; DINOv2, linear evaluation (class token with and without the mean of the patches) and
    k-NN.
    Raises: InputError if an image has no label, or ``score`` a class that ``fit`` lacks.
    """
    started, common = time.monotonic(), _common(origin, fit, score)
    known, labels = fit.labels.unique(), score.labels
    found = {}
    for metric, (train, test) in {
        "linear_top1": (fit.class_token, score.class_token),
        "linear_top1_patches": (_with_mean(fit), _with_mean(score)),
    }.items():
        probe = fit_linear(train, fit.labels, strengths=strengths)
        found[metric] = probe.predict(test), {"strength": probe.strength}
    k = min(NEIGHBOURS, len(fit.annotations))
    found["knn_top1"] = k_nearest(fit.class_token, fit.labels, score.class_token, k=k), {"k": k}
    records = []
    for metric, (predicted, said) in found.items():
        values = hits(predicted, labels, known=known)
        records.append(mean_record(metric, values=values, **{**common, "settings": {**common["settings"], **said}}))
    return timed(records, started)


def _with_mean(reading: Reading) -> Float[Tensor, "m two_d"]:
    return torch.cat([reading.class_token, reading.mean_patch], dim=1)


def segmentation_records(
    fit: Reading,
    score: Reading,
    origin: Origin,
    *,
    foreground: bool = False,
    strengths: Sequence[float] = PIXEL_STRENGTHS,
) -> list[Record]:
    """How well a linear map of each patch, fitted to ``fit``, tells the classes of the pixels of ``score``.

    - ``linear_segmentation/miou`` and ``/pa``, of the pixels of all images; ``linear_foreground/…`` for the two classes
      object and background;
    - ``linear_segmentation_corners``: the share of right pixels in the four corner patches, mean over the images that
      have a known pixel there.

    Source: Registers, Table 2a: linear segmentation on frozen features.
    Raises: InputError if an image has no map of classes.
    """
    started, common = time.monotonic(), _common(origin, fit, score)
    metric, classes = ("linear_foreground", 2) if foreground else ("linear_segmentation", len(score.dataset.classes))
    probe = fit_segmentation(fit.patches, fit.maps(foreground=foreground), fit.grid, strengths=strengths)
    confusions, corners = [], []
    for tokens, labels in zip(score.patches, score.maps(foreground=foreground), strict=True):
        height, width = labels.shape
        predicted = segment(probe, tokens, score.grid, (height, width)).numpy()
        confusions.append(confusion(predicted, labels.numpy(), classes=classes))
        corners.append(corner_accuracy(predicted, labels.numpy(), score.grid))
    tallies = tally(confusions)
    common["settings"] |= {"strength": probe.strength, "patches": len(fit.annotations) * fit.patches.shape[1]}
    miou, pa, _ = scores(tallies)
    known = np.array([one for one in corners if one is not None])
    records = [
        Record(metric=f"{metric}/miou", **miou._asdict(), tallies=tallies.lines(), **common),
        Record(metric=f"{metric}/pa", **pa._asdict(), **common),
    ]
    if len(known):
        records.append(mean_record(f"{metric}_corners", values=known, **common))
    return timed(records, started)


def corner_accuracy(
    predicted: Int[np.ndarray, "h w"], labels: UInt8[np.ndarray, "h w"], grid: tuple[int, int]
) -> float | None:
    """The share of the known pixels of the four corner patches that are right; None if none is known."""
    rows, cols = (-(-side // count) for side, count in zip(labels.shape, grid, strict=True))
    where = np.zeros(labels.shape, bool)
    for row in (slice(None, rows), slice(-rows, None)):
        for col in (slice(None, cols), slice(-cols, None)):
            where[row, col] = True
    where &= labels != VOID
    return float((predicted == labels)[where].mean()) if where.any() else None
