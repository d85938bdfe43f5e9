"""Every reading of "coarse segmentation" at once: IoU by layer, rule, share and head, and readings chosen elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from tqdm import tqdm

from wbcore.data.example import VOID, Dataset, Example
from wbcore.errors import InputError
from wbcore.metrics.attention import (
    keep_entries,
    keep_mass,
    kept_by_entries,
    kept_by_mass,
    label_counts,
    nested_iou,
    to_tokens,
)
from wbcore.metrics.norms import outliers, token_norms
from wbcore.models import Backbone
from wbcore.plots import Overlay
from wbcore.showing import BATCH, resize
from wbcore.subjects import Reading, Subject

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
RULES = {"mass": keep_mass, "entries": keep_entries}
_COUNTS = {"mass": kept_by_mass, "entries": kept_by_entries}
COMPARED = ("tokens", "pixels")
BEST, MEAN = "best", "mean"
"""Of heads: the one that fits a class best, class by class and image by image, or the mean of their attention."""


class Targets(NamedTuple):
    """The classes of an image on the token grid: how much of each token is of each class, and how much is known."""

    weights: Shaped[Tensor, "m p"]
    valid: Shaped[Tensor, "p"]


def targets(semantic: UInt8[np.ndarray, "h w"], grid: tuple[int, int], compared: str) -> Targets | None:
    """What :func:`wbcore.metrics.attention.nested_iou` needs to compare at ``tokens`` or ``pixels``.

    Background is no class, void pixels do not count.  None where no class is present.
    """
    labels = torch.from_numpy(semantic)
    if compared == "tokens":
        tokens = to_tokens(labels, grid).flatten()
        found = tokens.unique()
        found = found[(found > 0) & (found != VOID)]
        return Targets(tokens == found[:, None], tokens != VOID) if len(found) else None
    found, counts = label_counts(labels, grid)
    known = found != VOID
    chosen = known & (found > 0)
    return Targets(counts[chosen], counts[known].sum(0)) if chosen.any() else None


@dataclass(frozen=True, eq=False)
class Shown:
    """Images as squares of one size, with their classes as both comparisons need them."""

    images: UInt8[Tensor, "n 3 s s"]
    targets: Mapping[str, Sequence[Targets | None]]
    grid: tuple[int, int]


def show(dataset: Dataset | Sequence[Example], *, size: int, patch_size: int) -> Shown:
    """A data set as a model with this patch sees it at ``size`` pixels.

    Raises: InputError if an image has no semantic annotation.
    """
    grid = size // patch_size, size // patch_size
    images, found = [], {compared: [] for compared in COMPARED}
    for index in tqdm(range(len(dataset)), desc=f"images at {size} px", disable=None, leave=False):
        example = dataset[index]
        if example.semantic is None:
            raise InputError(f"{example.name} has no semantic annotation: use a data set that has masks")
        images.append(resize(example.image, size))
        for compared in COMPARED:
            found[compared].append(targets(example.semantic, grid, compared))
    return Shown(torch.stack(images), found, grid)


@dataclass(frozen=True, eq=False)
class Scores:
    """IoU, mean over the classes of an image, under every reading; NaN where an image has no class.

    The axes are images, layers, :data:`RULES`, :data:`SHARES`, and heads: best, mean, then each by itself.
    """

    found: Mapping[str, Float[np.ndarray, "n l r s k"]]
    """By what is compared, ``tokens`` or ``pixels``."""
    grid: tuple[int, int]

    @cached_property
    def means(self) -> dict[str, Float[np.ndarray, "l r s k"]]:
        """Over the images that have a class."""
        return {compared: np.nanmean(one, axis=0) for compared, one in self.found.items()}


def read_scores(subject: Subject, shown: Shown) -> Scores:
    """The scores of a subject, all layers from one forward pass.

    Raises: InputError if the subject's token grid is not that of ``shown``.
    """
    found: dict[str, list[np.ndarray]] = {compared: [] for compared in COMPARED}
    for first in tqdm(range(0, len(shown.images), BATCH), desc=subject.name, disable=None, leave=False):
        reading = subject.read(shown.images[first : first + BATCH])
        if reading.grid != shown.grid:
            raise InputError(f"{subject.name} has {reading.grid} tokens, the images are for {shown.grid}: same patch")
        layers = torch.stack([reading.attention[layer] for layer in sorted(reading.attention)], dim=1)
        rows = torch.cat([layers.mean(dim=2, keepdim=True), layers], dim=2)
        kept = torch.stack([count(rows, SHARES) for count in _COUNTS.values()], dim=-2)
        for place, (attn, counts) in enumerate(zip(rows, kept, strict=True)):
            for compared in COMPARED:
                wanted = shown.targets[compared][first + place]
                found[compared].append(_image_scores(attn, counts, wanted).numpy())
    return Scores({compared: np.stack(each) for compared, each in found.items()}, shown.grid)


def _image_scores(
    attn: Float[Tensor, "l h p"], kept: Shaped[Tensor, "l h r s"], wanted: Targets | None
) -> Float[Tensor, "l r s k"]:
    """Of one image; row 0 of ``attn`` is the mean of the heads."""
    layers, rows, rules, shares = kept.shape
    if wanted is None:
        return torch.full((layers, rules, shares, rows + 1), torch.nan)
    nested = nested_iou(attn, *wanted)
    index = kept.flatten(2)[:, :, None].expand(-1, -1, nested.shape[2], -1)
    iou = nested.gather(-1, index)
    best = iou[:, 1:].amax(1, keepdim=True).mean(2)
    return torch.cat([best, iou.mean(2)], dim=1).float().unflatten(-1, (rules, shares)).movedim(1, -1)


def whole_image(shown: Shown) -> Float[np.ndarray, "n"]:
    """IoU at pixels of a mask of the whole image, mean over its classes: what a subject gets by keeping everything."""
    found = [
        np.nan if one is None else float((one.weights.sum(-1) / one.valid.sum()).mean())
        for one in shown.targets["pixels"]
    ]
    return np.array(found)


class Freedom(NamedTuple):
    """Readings from which a subject gets its best one, on other images; by default only the paper's, so no choice.

    Source: CRATE, Fig. 4 and appendix B.3, with DINO's masks by mass.
    """

    compared: str = "tokens"
    layer: Literal["last_but_one", "last", "own"] | int = "last_but_one"
    rule: str = "mass"
    """One of :data:`RULES`, or ``own``."""
    share: float | None = 0.6
    """One of :data:`SHARES`, or None for its own."""
    head: str = BEST
    """``best``, ``mean``, or ``fixed``: one for all images and classes."""


READINGS = {
    "paper": Freedom(),
    "pixels": Freedom("pixels"),
    "fixed_head": Freedom("pixels", head="fixed"),
    "own_layer": Freedom("pixels", "own", head="fixed"),
    "own_share": Freedom("pixels", "own", share=None, head="fixed"),
    "own_rule": Freedom("pixels", "own", "own", None, "fixed"),
    "best_head": Freedom("pixels", "own", "own", None, BEST),
    "mean_head": Freedom("pixels", "own", "own", None, MEAN),
    "last_layer": Freedom("pixels", "last"),
    "best_layer": Freedom("pixels", "own"),
    "mean_of_heads": Freedom("pixels", head=MEAN),
    "mass10": Freedom("pixels", share=0.1),
    "mass90": Freedom("pixels", share=0.9),
    "entries20": Freedom("pixels", rule="entries", share=0.2),
    "entries60": Freedom("pixels", rule="entries"),
}
"""By the names that records give them.  The first six free one choice after the other; those from ``last_layer`` on
change one thing of ``pixels``."""
STEPS = tuple(READINGS)[:6]


class Choice(NamedTuple):
    """One reading."""

    compared: str
    layer: int
    """From 0."""
    rule: str
    share: float
    head: str | int


def choose(scores: Scores, freedom: Freedom) -> Choice:
    """The reading with the highest mean among those that ``freedom`` allows, the first of equal ones."""
    means = scores.means[freedom.compared]
    depth, _, _, heads = means.shape
    own, named = freedom.layer == "own", {"last_but_one": max(depth - 2, 0), "last": depth - 1}
    layers = range(depth) if own else [named[freedom.layer] if isinstance(freedom.layer, str) else freedom.layer]
    rules = range(len(RULES)) if freedom.rule == "own" else [list(RULES).index(freedom.rule)]
    shares = range(len(SHARES)) if freedom.share is None else [SHARES.index(freedom.share)]
    columns = range(2, heads) if freedom.head == "fixed" else [(BEST, MEAN).index(freedom.head)]
    allowed = means[np.ix_(layers, rules, shares, columns)]
    place = np.unravel_index(int(allowed.argmax()), allowed.shape)
    layer, rule, share, column = (axis[at] for axis, at in zip((layers, rules, shares, columns), place, strict=True))
    head = (BEST, MEAN)[column] if column < 2 else column - 2
    return Choice(freedom.compared, int(layer), list(RULES)[rule], SHARES[share], head)


def values(scores: Scores, choice: Choice) -> Float[np.ndarray, "n"]:
    """IoU of each image under one reading."""
    column = (BEST, MEAN).index(choice.head) if isinstance(choice.head, str) else choice.head + 2
    rule, share = list(RULES).index(choice.rule), SHARES.index(choice.share)
    return scores.found[choice.compared][:, choice.layer, rule, share, column]


def chosen_values(held_back: Scores, scored: Scores, freedom: Freedom) -> Float[np.ndarray, "n"]:
    """IoU of each scored image under the reading that held-back images choose."""
    return values(scored, choose(held_back, freedom))


def attention_subject(
    model: Backbone,
    *,
    name: str,
    outliers_above: float | None = None,
    device: str = "cpu",
    seed: int | None = None,
    weights_sha256: str | None = None,
) -> Subject:
    """A model as a subject of which only attention is asked, in all layers.

    ``outliers_above`` takes the attention from patches that are longer than that after the last layer, in every layer:
    Registers, section 2.1.
    """
    layers, model = range(model.config.depth), model.to(device).eval()

    def read(images: UInt8[Tensor, "b 3 h w"]) -> Reading:
        images, wanted = images.to(device), {"cls_attention": layers}
        if outliers_above is not None:
            wanted["tokens"] = layers[-1:]
        layout = model.layout(images)
        with torch.inference_mode():
            taps = model.taps(model.normalise(images), wanted)
        attention = {layer: layout.patches(row, dim=-1).float().cpu() for layer, row in taps["cls_attention"].items()}
        if outliers_above is not None:
            norms = token_norms(layout.patches(taps["tokens"][layers[-1]])).cpu()
            out = outliers(norms, threshold=outliers_above)[:, None]
            attention = {layer: row.masked_fill(out, 0) for layer, row in attention.items()}
        return Reading(attention, layout.grid, _no_masks)

    return Subject(name, read, seed, weights_sha256)


def _no_masks() -> Tensor:
    raise InputError("this subject is for attention only: use model_subject for MaskCut")


def chosen_masks(subject: Subject, examples: Sequence[Example], choice: Choice, *, size: int) -> list[Overlay]:
    """The mask of each image under one reading with a fixed head or the mean of heads; its caption is the IoU.

    Raises: InputError for the best head, which is another one for every class, or an image without an object.
    """
    if choice.head == BEST:
        raise InputError("the best head has no single mask for an image: give a fixed head or mean")
    reading = subject.read(torch.stack([resize(example.image, size) for example in examples]))
    attention = reading.attention[sorted(reading.attention)[choice.layer]]
    row = attention.mean(dim=1) if choice.head == MEAN else attention[:, int(choice.head)]
    kept = RULES[choice.rule](row, choice.share)
    found = []
    for example, mask in zip(examples, kept, strict=True):
        if example.semantic is None or not (
            wanted := targets((example.semantic > 0).astype(np.uint8), reading.grid, choice.compared)
        ):
            raise InputError(f"{example.name} has no annotated object: leave it out")
        nested = nested_iou(mask.float(), *wanted)[0, int(mask.sum())]
        found.append(Overlay(masks=mask.view(1, *reading.grid).numpy(), caption=f"IoU {100 * float(nested):.0f} %"))
    return found
