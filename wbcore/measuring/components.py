"""Principal components of a model's patches: pictures of images of one class, and how well their foreground fits."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from wbcore.data.example import VOID, Dataset, Example
from wbcore.metrics.attention import NoObjectError, keep_mass, to_pixels
from wbcore.metrics.baselines import centred_blob
from wbcore.metrics.pca import class_components, depth_components, foreground_iou
from wbcore.models import Backbone, create_model
from wbcore.records import Record
from wbcore.records.measured import common_fields, mean_record, timed
from wbcore.showing import BATCH, resize

Finder = Callable[[UInt8[Tensor, "i 3 h w"]], Mapping[str, Bool[Tensor, "i rows cols"]]]
"""From the images of one class, all together, to their foregrounds by the name of the rule that drew them."""


def untrained_model(name: str, *, seed: int = 0) -> Backbone:
    """A named model as it is initialised, the same for the same seed: what the network sees before it has learned."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(name)


def patch_features(
    model: Backbone, images: UInt8[Tensor, "i 3 h w"], *, layers: Sequence[int] = (-1,)
) -> dict[int, Float[Tensor, "i p d"]]:
    """The segmentation feature of every patch of some images, by layer, computed where the model is."""
    device, layout = model.position.device, model.layout(images)
    with torch.inference_mode():
        parts = [
            model.taps(model.normalise(part.to(device)), {"segmentation_feature": layers})["segmentation_feature"]
            for part in images.split(BATCH)
        ]
    return {layer: torch.cat([layout.patches(part[layer]) for part in parts]) for layer in layers}


def model_finder(model: Backbone, *, rules: Sequence[str], layer: int = -1) -> Finder:
    """The foregrounds that a model's first principal component draws, by each of ``rules``."""

    def find(images: UInt8[Tensor, "i 3 h w"]) -> dict[str, Bool[Tensor, "i rows cols"]]:
        features, grid = patch_features(model, images, layers=(layer,))[layer], model.layout(images).grid
        return {rule: class_components(features, grid, rule=rule).foreground.cpu() for rule in rules}

    return find


def blob_finder(patch_size: int, *, rules: Sequence[str]) -> Finder:
    """60 % of the mass of a blob in the centre, whatever the image and the rule: what the border rule knows already."""

    def find(images: UInt8[Tensor, "i 3 h w"]) -> dict[str, Bool[Tensor, "i rows cols"]]:
        grid = images.shape[-2] // patch_size, images.shape[-1] // patch_size
        blob = keep_mass(centred_blob(grid), 0.6).unflatten(1, grid).expand(len(images), -1, -1)
        return dict.fromkeys(rules, blob)

    return find


def foreground_records(
    finders: Mapping[str, Finder],
    dataset: Dataset,
    *,
    data: str,
    size: int,
    command: str,
    layer: int = -1,
    device: str = "cpu",
    **identity: Mapping[str, Any],
) -> list[Record]:
    """``pca_foreground_iou/<rule>/layer<l>`` of each finder by name: mean IoU over images, with its interval.

    Images are resized to ``size`` and analysed class by class, all images of a class at once; an image's class is the
    one with the most pixels.  No choice is made by an oracle: one foreground an image, against all its objects.  The
    records name the data set ``data``; ``seeds`` and ``weights_sha256`` may be given by the finder's name.

    Raises: NoObjectError if no image has an object.
    """
    examples = [example for example in map(dataset.__getitem__, range(len(dataset))) if main_class(example)]
    if not examples:
        raise NoObjectError(f"{dataset.name} has no image with an object: choose data with semantic masks")
    classes = np.array([main_class(example) for example in examples])
    common = common_fields(data=data, command=command, device=device, data_sha256=dataset.fingerprint)
    settings = {
        "dataset": dataset.name,
        "size": size,
        "classes": len(np.unique(classes)),
        "images_without_object": len(dataset) - len(examples),
    }
    found = []
    for name, find in finders.items():
        started = time.monotonic()
        values: dict[str, list[float]] = {}
        for number in np.unique(classes):
            members = np.flatnonzero(classes == number)
            foregrounds = find(torch.stack([resize(examples[member].image, size) for member in members]))
            for rule, masks in foregrounds.items():
                scores = values.setdefault(rule, [0.0] * len(examples))
                for member, mask in zip(members, masks, strict=True):
                    scores[member] = foreground_iou(mask, torch.from_numpy(examples[member].semantic))
        own = {field: by_name[name] for field, by_name in identity.items() if name in by_name}
        measured = [
            mean_record(f"pca_foreground_iou/{rule}/layer{layer}", name, scores, settings=settings, **{**common, **own})
            for rule, scores in values.items()
        ]
        found += timed(measured, started)
    return found


def main_class(example: Example) -> int:
    """The class of most of an image's pixels, background and void aside; 0 if there is none."""
    if example.semantic is None:
        return 0
    counts = np.bincount(example.semantic.ravel(), minlength=VOID + 1)
    counts[[0, VOID]] = 0
    return int(counts.argmax())


class Portrait(NamedTuple):
    """What one model's components show of images of one class, to be drawn; transparent where there is background."""

    cutouts: list[UInt8[np.ndarray, "_h _w 4"]]
    colours: list[Float[np.ndarray, "rows cols 4"]]


def portrait(
    model: Backbone, examples: Sequence[Example], *, size: int, layer: int = -1, rule: str = "code"
) -> Portrait:
    """Foreground and components of some images of one class, each resized to ``size`` for the model."""
    images = torch.stack([resize(example.image, size) for example in examples])
    features = patch_features(model, images, layers=(layer,))[layer].cpu()
    found = class_components(features, model.layout(images).grid, rule=rule)
    alpha = found.foreground[..., None].double()
    cutouts = [_cut_out(example.image, mask) for example, mask in zip(examples, found.foreground, strict=True)]
    return Portrait(cutouts, list(torch.cat([found.colours, alpha], dim=-1).numpy()))


def depth_pictures(
    model: Backbone, examples: Sequence[Example], *, size: int, layers: Sequence[int] = (-1,)
) -> dict[int, list[Float[np.ndarray, "rows cols 3"]]]:
    """Two pictures of every image, by layer: the first component in grey, then the next three in colour.

    The images are resized to ``size`` and analysed together, each layer by itself; the background stays.
    """
    images = torch.stack([resize(example.image, size) for example in examples])
    found = {}
    for layer, features in patch_features(model, images, layers=layers).items():
        first, colours = depth_components(features.cpu(), model.layout(images).grid)
        found[layer] = list(torch.stack([first[..., None].expand_as(colours), colours], dim=1).flatten(0, 1).numpy())
    return found


def _cut_out(image: UInt8[np.ndarray, "h w 3"], mask: Bool[Tensor, "rows cols"]) -> UInt8[np.ndarray, "h w 4"]:
    alpha = to_pixels(mask, (image.shape[0], image.shape[1])).numpy()
    return np.dstack([image, 255 * alpha.astype(np.uint8)])
