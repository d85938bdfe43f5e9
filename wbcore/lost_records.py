"""LOST measured: CorLoc of a model's features under every bias, and what is chosen of them on other images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from tqdm import tqdm

from wbcore.data.example import VOID, Dataset, Example
from wbcore.errors import InputError
from wbcore.evaluate import BATCH, resize
from wbcore.metrics.attention import NoObjectError
from wbcore.metrics.intervals import bootstrap, bootstrap_mean
from wbcore.metrics.lost import Box, Discovery, box_in_pixels, discover, localises, mask_boxes, pad_to_patches
from wbcore.models import Backbone
from wbcore.provenance import provenance
from wbcore.records import Record

BIASES = (-0.9, -0.8, -0.7, -0.6, -0.5, -0.4, -0.3, -0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""What is added to the Gram matrix, in units of a squared length; finer where features of mean zero need it."""
TREATMENTS = ("scaled", "unit", "centred")
"""Features divided by one number an image, so that the bias has a unit and none of it is LOST as published; each of
length one; the mean of the image's patches taken off first."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the image, that a box in its centre covers."""
MOST_CANDIDATES, PATCHES_A_CANDIDATE = 100, 10
"""LOST's k is 100 of some thousand patches; on smaller grids it is a tenth of them."""
FRAME = 1000
"""Into how many parts a side is divided to place a box that looks at nothing."""


FEW_BIASES = (-0.6, -0.4, -0.2, -0.1, 0.0, 0.1, 0.2)
"""For large grids, where each costs forty times as much."""


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
        return localises(_stretched(box, width, height), truth * np.array([cols, rows, cols, rows]))


def _stretched(box: Box, width: int, height: int) -> Box:
    return Box(box.left * width, box.top * height, box.right * width, box.bottom * height)


def see(model: Backbone, dataset: Dataset | Sequence[Example], *, own_size: bool = False) -> Iterator[Seen]:
    """Every image with a model's features, resized to the model's native square, or at its ``own_size``.

    Source: the latter is the official LOST code: normalised, then continued with zeros to whole patches.
    """
    device, wanted = model.position.device, dict.fromkeys(facets(model), (-1,))
    step = 1 if own_size else BATCH
    for first in tqdm(range(0, len(dataset), step), desc="images", disable=None, leave=False):
        examples = [dataset[index] for index in range(first, min(first + step, len(dataset)))]
        if own_size:
            pixels = torch.from_numpy(np.ascontiguousarray(examples[0].image)).permute(2, 0, 1)[None]
            shown = pad_to_patches(model.normalise(pixels.to(device)), model.config.patch_size)
        else:
            pixels = torch.stack([resize(example.image, model.config.size[0]) for example in examples])
            shown = model.normalise(pixels.to(device))
        layout = model.layout(shown)
        with torch.inference_mode():
            taps = {name: layout.patches(found[-1]).cpu() for name, found in model.taps(shown, wanted).items()}
        for index, example in enumerate(examples):
            features = {name: tokens[index] for name, tokens in taps.items()}
            yield Seen(example, features, layout.grid, model.config.patch_size if own_size else None)


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


@dataclass(frozen=True)
class Origin:
    """What every record of a model on some data says."""

    name: str
    data: str
    dataset: Dataset
    chosen_on: str
    """Name of the images on which ways were chosen."""
    command: str
    seed: int | None = None
    weights_sha256: str | None = None
    device: str = "cpu"
    settings: dict[str, Any] = field(default_factory=dict)

    def record(self, metric: str, model: str, values: Shaped[np.ndarray, "n"], **settings: Any) -> Record:
        """The mean over images, with its interval."""
        return Record(
            metric=metric,
            model=model,
            data=self.data,
            **bootstrap_mean(values.astype(float))._asdict(),
            seeds=() if self.seed is None else (self.seed,),
            settings={"dataset": self.dataset.name, "chosen_on": self.chosen_on, **self.settings, **settings},
            data_sha256=self.dataset.fingerprint,
            weights_sha256=self.weights_sha256,
            command=self.command,
            values=tuple(round(float(value), 4) for value in values),
            **provenance(self.device),
        )


def lost_records(model: Backbone, other: Sweep, found: Sweep, origin: Origin) -> list[Record]:
    """CorLoc of a model from what LOST ``found``; whatever is chosen, is chosen on ``other`` images.

    - ``corloc`` of ``<name>`` (facet, treatment and bias chosen), ``<name>_<facet>`` (treatment and bias chosen) and
      ``<name>_stock`` (LOST as published); the other :data:`METRICS` of the same;
    - ``corloc/<treatment>`` of ``<name>_<facet>`` (bias chosen), with the curve over biases in its settings: value,
      lower and upper bound for each, and the values on the other images.

    Source: Registers, Table 3; Siméoni et al., LOST (2021).
    """
    name = origin.name
    ways = {f"{name}_{facet}": choose(other, facet=facet) for facet in facets(model)}
    ways |= {name: choose(other), f"{name}_stock": stock(model)}
    records = []
    for subject, way in ways.items():
        said = {**way._asdict(), "images_without_object": found.left_out}
        records += [origin.record(metric, subject, found.of(way, metric), **said) for metric in METRICS]
    for facet, treatment in found.numbers:
        hits, there = found.hits(facet, treatment), other.hits(facet, treatment)
        place = _best(there, found.biases)
        said = {"bias": found.biases[place], **curve(hits, there, found.biases)}
        records.append(origin.record(f"corloc/{treatment}", f"{name}_{facet}", hits[:, place], **said))
    return records


def measure(
    model: Backbone,
    others: Dataset,
    scenes: Dataset,
    *,
    name: str,
    data: str,
    command: str,
    device: str = "cpu",
    biases: Sequence[float] = FEW_BIASES,
) -> list[Record]:
    """:func:`lost_records` of a model on ``scenes``, everything chosen on ``others``."""
    there, here = (sweep(see(model, images), biases=biases) for images in (others, scenes))
    return lost_records(model, there, here, Origin(name, data, scenes, others.name, command, device=device))


def differing(live: Record, recorded: Record) -> float:
    """The share of ``live``'s images about which ``recorded``, which begins with the same images, says otherwise.

    Raises: InputError if a record holds no values, or ``recorded`` has fewer images.
    """
    mine, theirs = live.values, recorded.values
    if mine is None or theirs is None or len(theirs) < len(mine):
        raise InputError(f"{recorded.model} has no values of all images of {live.model}: record it again")
    return float(np.mean([one != other for one, other in zip(mine, theirs, strict=False)]))


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


def curve(hits: Shaped[np.ndarray, "n s"], there: Shaped[np.ndarray, "m s"], places: Sequence[float]) -> dict[str, Any]:
    """CorLoc along ``places`` for a record's settings: value and bounds here, and values ``there``, where chosen."""
    found = bootstrap(lambda drawn: hits[drawn].mean(axis=0), len(hits))
    return {
        "places": list(places),
        "curve": [[None if bound is None else round(bound, 4) for bound in one[:3]] for one in found],
        "curve_where_chosen": np.round(there.mean(axis=0), 4).tolist(),
    }


def _best(hits: Shaped[np.ndarray, "n s"], places: Sequence[float]) -> int:
    """The place with the highest mean; of equal ones the one nearest to zero."""
    means = hits.mean(axis=0)
    return max(range(len(places)), key=lambda place: (means[place], -abs(places[place])))


def centred_box(example: Example, share: float) -> Box:
    """A box in the centre of an image that covers ``share`` of it, its sides in proportion, in pixels times 1000."""
    height, width = example.image.shape[:2]
    margin = round(FRAME * (1 - share**0.5) / 2)
    return _stretched(Box(margin, margin, FRAME - margin, FRAME - margin), width, height)


def box_hits(dataset: Dataset, shares: Sequence[float]) -> Bool[np.ndarray, "n s"]:
    """Whether boxes in the centre, of each of ``shares``, are right about the images that have an object."""
    rows = []
    for example in (dataset[index] for index in range(len(dataset))):
        truth = object_boxes(example)
        if len(truth):
            rows.append([localises(centred_box(example, share), FRAME * truth) for share in shares])
    return np.array(rows, bool).reshape(-1, len(shares))


def box_records(other: Dataset, origin: Origin) -> list[Record]:
    """CorLoc of boxes that look at nothing: ``centred_box``, its share chosen on ``other``, and ``whole_image``."""
    there, here = box_hits(other, SHARES), box_hits(origin.dataset, (*SHARES, 1.0))
    place = _best(there, SHARES)
    said = {"share": SHARES[place], **curve(here[:, :-1], there, SHARES)}
    return [
        origin.record("corloc", "centred_box", here[:, place], **said),
        origin.record("corloc", "whole_image", here[:, -1], share=1.0),
    ]
