"""LOST on a model's features: every way of running it on every image, and the best of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from wbcore.data.example import VOID, Dataset, Example
from wbcore.errors import InputError
from wbcore.metrics.attention import NoObjectError
from wbcore.metrics.lost import Box, Discovery, box_in_pixels, discover, localises, mask_boxes, pad_to_patches
from wbcore.models import Backbone
from wbcore.showing import example_batches, in_batches

BIASES = (-0.9, -0.8, -0.7, -0.6, -0.5, -0.4, -0.3, -0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""What is added to the Gram matrix, in units of a squared length; finer where features of mean zero need it."""
FEW_BIASES = (-0.6, -0.4, -0.2, -0.1, 0.0, 0.1, 0.2)
"""For large grids, where each costs forty times as much."""
TREATMENTS = ("scaled", "unit", "centred")
"""Features divided by one number an image, so that the bias has a unit and none of it is LOST as published; each of
length one; the mean of the image's patches taken off first."""
MOST_CANDIDATES, PATCHES_A_CANDIDATE = 100, 10
"""LOST's k is 100 of some thousand patches; on smaller grids it is a tenth of them."""


class Way(NamedTuple):
    """One way of running LOST."""

    facet: str
    treatment: str
    bias: float


def facets(model: Backbone) -> tuple[str, ...]:
    """What LOST can be given of a model's last layer: the subspace projections of MSSA, else keys, queries, values."""
    return ("projections",) if model.config.attention == "mssa" else ("keys", "queries", "values")


def stock(model: Backbone) -> Way:
    """LOST as it was published: keys, as long as they are, no bias.  In CRATE the projections take their place."""
    return Way(facets(model)[0], "scaled", 0.0)


def treated(features: Float[Tensor, "n d"], treatment: str) -> Float[Tensor, "n d"]:
    """Features as one of :data:`TREATMENTS` has them.

    Source: ``scaled`` without a bias is the official LOST code.  Registers, appendix C, adds a bias to the Gram matrix
    and says neither which nor of what; ``unit`` and ``centred`` are what two replications did (the code of Jiang et
    al. 2025, and of Bach et al. 2025).
    Raises: InputError for another treatment.
    """
    if treatment not in TREATMENTS:
        raise InputError(f"treatment={treatment!r}: choose one of {', '.join(TREATMENTS)}")
    features = features.double()
    if treatment == "scaled":
        return features / features.square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
    return F.normalize(features - features.mean(dim=0) if treatment == "centred" else features, dim=1)


def candidates(patches: int) -> int:
    """LOST's k for a grid of so many patches."""
    return min(MOST_CANDIDATES, max(1, round(patches / PATCHES_A_CANDIDATE)))


def object_boxes(example: Example) -> Int[np.ndarray, "k 4"]:
    """The boxes of an image's objects; groups are none.  Without single objects, of all that is not background.

    Raises: InputError if nothing is annotated.
    """
    if example.instances is not None:
        crowd = np.zeros(len(example.instances), bool) if example.crowd is None else example.crowd
        return mask_boxes(example.instances[~crowd])
    if example.semantic is None:
        raise InputError(f"{example.name} is not annotated: CorLoc needs objects, choose another data set")
    return mask_boxes(((example.semantic > 0) & (example.semantic != VOID))[None])


@dataclass(frozen=True, eq=False)
class Seen:
    """One image as LOST gets it."""

    example: Example
    features: Mapping[str, Float[Tensor, "n d"]]
    """By facet."""
    grid: tuple[int, int]
    patch_size: int | None = None
    """Of an image at its own size, padded to whole patches; None: the image was resized to the grid."""

    def localises(self, box: Box, truth: Int[np.ndarray, "k 4"]) -> bool:
        """Whether a box of patches is right; compared in whole numbers, so nothing is rounded."""
        height, width = self.example.image.shape[:2]
        if self.patch_size is not None:
            return localises(box_in_pixels(box, patch_size=self.patch_size, size=(height, width)), truth)
        rows, cols = self.grid
        return localises(stretched(box, width, height), truth * np.array([cols, rows, cols, rows]))


def stretched(box: Box, width: int, height: int) -> Box:
    """A box with its sides multiplied."""
    return Box(box.left * width, box.top * height, box.right * width, box.bottom * height)


def see(model: Backbone, dataset: Dataset | Sequence[Example], *, own_size: bool = False) -> Iterator[Seen]:
    """Every image with a model's features, resized to the model's native square, or at its ``own_size``.

    Source: the latter is the official LOST code: normalised, then continued with zeros to whole patches.
    """
    wanted = dict.fromkeys(facets(model), (-1,))
    for examples, shown in _at_own_size(model, dataset) if own_size else example_batches(model, dataset):
        layout = model.layout(shown)
        with torch.inference_mode():
            taps = {name: layout.patches(found[-1]).cpu() for name, found in model.taps(shown, wanted).items()}
        for index, example in enumerate(examples):
            features = {name: tokens[index] for name, tokens in taps.items()}
            yield Seen(example, features, layout.grid, model.config.patch_size if own_size else None)


def _at_own_size(
    model: Backbone, dataset: Dataset | Sequence[Example]
) -> Iterator[tuple[list[Example], Float[Tensor, "1 c h w"]]]:
    for (example,) in in_batches(dataset, 1, progress=True):
        pixels = torch.from_numpy(np.ascontiguousarray(example.image)).permute(2, 0, 1)[None]
        yield [example], pad_to_patches(model.normalise(pixels.to(model.position.device)), model.config.patch_size)


METRICS = ("corloc", "seed_in_corner", "lost_alike", "lost_covered")
"""Of each image: whether the box is right; whether the seed, from which it is grown, lies in a corner; the share of
pairs of patches that resemble each other; the share of the image that the box covers."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """LOST on the ``n`` images that have an object, by facet and treatment, for each of ``s`` biases."""

    biases: tuple[float, ...]
    numbers: Mapping[tuple[str, str], Float[np.ndarray, "n s m"]]
    """The :data:`METRICS` of each image under each bias."""
    left_out: int
    """Images without an object."""

    def hits(self, facet: str, treatment: str) -> Float[np.ndarray, "n s"]:
        """Whether the box was right, by bias."""
        return self.numbers[facet, treatment][..., 0]

    def of(self, way: Way, metric: str = "corloc") -> Float[np.ndarray, "n"]:
        """A metric of each image under one way."""
        return self.numbers[way.facet, way.treatment][:, self.biases.index(way.bias), METRICS.index(metric)]


def sweep(images: Iterator[Seen], *, biases: Sequence[float] = BIASES) -> Sweep:
    """LOST on every image, under every treatment and bias.  Raises: NoObjectError if no image has an object."""
    numbers: dict[tuple[str, str], list[list[list[float]]]] = {}
    left_out = 0
    for seen in images:
        truth = object_boxes(seen.example)
        if not len(truth):
            left_out += 1
            continue
        for facet, features in seen.features.items():
            for treatment in TREATMENTS:
                found = discover(treated(features, treatment), seen.grid, k=candidates(len(features)), biases=biases)
                rows = [[float(seen.localises(one.box, truth)), *_described(one)] for one in found]
                numbers.setdefault((facet, treatment), []).append(rows)
    if not numbers:
        raise NoObjectError(f"none of {left_out} images has an object: choose another data set")
    return Sweep(tuple(biases), {way: np.array(rows) for way, rows in numbers.items()}, left_out)


def _described(found: Discovery) -> tuple[float, float, float]:
    """The last three of :data:`METRICS`."""
    (rows, cols), (row, col), box = found.degree.shape, found.seed, found.box
    patches = rows * cols
    corner = row in (0, rows - 1) and col in (0, cols - 1)
    alike = float(found.degree.sum()) / (patches * (patches - 1))
    return float(corner), alike, (box.right - box.left) * (box.bottom - box.top) / patches


def choose(found: Sweep, *, facet: str | None = None) -> Way:
    """The way with the highest CorLoc; of equal ones the one whose bias is nearest to zero, then the first.

    Give images that will not be measured.  ``facet`` keeps to one.
    """
    ways = [
        Way(name, treatment, bias)
        for name, treatment in found.numbers
        for bias in found.biases
        if facet is None or name == facet
    ]
    return max(ways, key=lambda way: (found.of(way).mean(), -abs(way.bias)))


class Picture(NamedTuple):
    """What LOST made of one image; lengths are shares of the image's sides, places (left, upper, right, lower)."""

    box: tuple[float, float, float, float]
    seed: tuple[float, float]
    """The middle of the patch from which the box was grown, from the left and from above."""
    degree: Int[np.ndarray, "rows cols"]
    """How many patches each patch resembles."""
    objects: list[tuple[float, float, float, float]]
    """The boxes of what is annotated."""
    right: bool | None
    """None where nothing is annotated."""


def picture(model: Backbone, examples: Sequence[Example], way: Way) -> list[Picture]:
    """LOST on some images, resized to the model's native square, to be drawn."""
    found = []
    for seen in see(model, examples):
        given = treated(seen.features[way.facet], way.treatment)
        (one,) = discover(given, seen.grid, k=candidates(len(given)), biases=(way.bias,))
        (rows, cols), (row, col) = seen.grid, one.seed
        height, width = seen.example.image.shape[:2]
        annotated = seen.example.instances is not None or seen.example.semantic is not None
        truth = object_boxes(seen.example) if annotated else np.zeros((0, 4), int)
        found.append(
            Picture(
                _shares(one.box, cols, rows),
                ((col + 0.5) / cols, (row + 0.5) / rows),
                one.degree.numpy(),
                [_shares(Box(*box), width, height) for box in truth.tolist()],
                seen.localises(one.box, truth) if len(truth) else None,
            )
        )
    return found


def _shares(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    return box.left / width, box.top / height, box.right / width, box.bottom / height
