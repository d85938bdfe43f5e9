"""What tokens hold of their own patch and of the whole image: outliers against other patches, as records."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wbcore.data.example import Dataset, Example
from wbcore.data.views import subset
from wbcore.errors import InputError
from wbcore.measuring.norm_records import border
from wbcore.metrics.local_probes import patch_pixels, position_errors, reconstruction_errors
from wbcore.metrics.norms import image_means, token_norms, valley_threshold
from wbcore.metrics.probes import fit_linear, hits, one_token
from wbcore.models import Backbone
from wbcore.records import Record
from wbcore.records.measured import Origin, mean_record, timed
from wbcore.showing import example_batches, shown_batches

DRAWS = 5
"""How many times the patch of an image is drawn anew, so that the spread over the draws can be told (Table 6)."""
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse penalties of the one-token classifiers, the best on a tenth of the fitting images."""


@dataclass(frozen=True, eq=False)
class PatchReading:
    """A data set's patches, as a model makes them: ``n`` images, ``p`` patches."""

    tokens: Float[Tensor, "n p d"]
    """After some layer, the last one as a rule, and the final LayerNorm."""
    norms: Float[Tensor, "n p"]
    """After the last layer, before the final LayerNorm."""
    pixels: Float[Tensor, "n p q"]
    grid: tuple[int, int]
    data: dict[str, Any]
    """Name, size and fingerprint of the images."""
    device: torch.device


@torch.inference_mode()
def read_patches(model: Backbone, dataset: Dataset, *, size: int | None = None, layer: int = -1) -> PatchReading:
    """The patches of all images, shown as squares of ``size`` pixels (default: the model's native size).

    Tokens are those after ``layer`` (0-based).  The model stays on its device; the result is on the CPU.
    """
    tokens, norms, pixels, grid = [], [], [], (0, 0)
    for shown in shown_batches(model, dataset, size=size):
        layout = model.layout(shown)
        grid, after = layout.grid, model.taps(shown, {"tokens": (layer, -1)})["tokens"]
        tokens.append(layout.patches(model.norm(after[layer])).float().cpu())
        norms.append(token_norms(layout.patches(after[-1])).cpu())
        pixels.append(patch_pixels(shown, model.config.patch_size).cpu())
    parts = torch.cat(tokens), torch.cat(norms), torch.cat(pixels)
    return PatchReading(*parts, grid, _of(dataset, size or model.config.size[0]), model.position.device)


def patch_kinds(
    norms: Float[Tensor, "n p"], grid: tuple[int, int], *, threshold: float | None, former: bool = False
) -> dict[str, Bool[Tensor, "n p"]]:
    """Which patches are ``outliers`` (longer than ``threshold``), and those that they are compared with.

    ``normal`` are all others, ``border`` those of them on the image's border, ``corners`` the four corners, whatever
    their norm.  Without a threshold there are no outliers and every patch is normal.  ``former`` says that the norms
    are those of a network before it was changed: what were outliers there is then named so.
    """
    outlier = torch.zeros_like(norms, dtype=torch.bool) if threshold is None else norms > threshold
    sides = border(grid).to(norms.device).expand_as(outlier)
    marked = {} if threshold is None else {"former" if former else "outliers": outlier}
    return {**marked, "normal": ~outlier, "border": ~outlier & (sides > 0), "corners": sides == 2}


def sides(grid: tuple[int, int]) -> Bool[Tensor, "p"]:
    """The patch in the middle of each of the four sides: fixed places as the corners are, and on the border too."""
    rows, cols = grid
    middle = torch.zeros(grid, dtype=torch.bool)
    middle[[0, -1], cols // 2] = True
    middle[rows // 2, [0, -1]] = True
    return middle.flatten()


def outlier_threshold(model: Backbone, dataset: Dataset, *, size: int | None = None, count: int = 100) -> float | None:
    """The valley of the norms after the last layer in ``count`` evenly spaced images; None where there is one mode."""
    return valley_threshold(read_patches(model, subset(dataset, count), size=size).norms)


def local_records(
    fit: PatchReading,
    score: PatchReading,
    origin: Origin,
    *,
    threshold: float | None,
    before: PatchReading | None = None,
) -> list[Record]:
    """Position and pixels of a patch told by linear maps of its token, which are fitted on all patches of ``fit``.

    Scored on the patches of ``score``: all of them (of ``<name>``), and each kind of :func:`patch_kinds` by itself (of
    ``<name>_outliers``, ``<name>_normal``, ``<name>_border``, ``<name>_corners``).  ``before`` is ``score`` as the
    network without its test-time register reads it: then the kinds are those of that network, and what were outliers
    there is ``<name>_former``.  All are of the images that have every kind.

    - ``local/position_top1``: the share of patches whose position is named; of all patches, the share by position
      stands in its settings;
    - ``local/position_distance``: how many patches away the named position is;
    - ``local/reconstruction``: the L2 norm of what is missed of the patch's pixels, as the model gets them; of all
      patches, by position in its settings;
    - ``local/mean_patch``: the same when the mean patch is told, whatever the token.

    Source: Registers, section 2.2 and Fig. 5b; Table 5.
    Raises: InputError if no image has every kind of patch.
    """
    started = time.monotonic()
    position = position_errors(fit.tokens, score.tokens, score.grid)
    blind = score.pixels - fit.pixels.flatten(0, 1).mean(dim=0)
    numbers = {
        "position_top1": position.correct,
        "position_distance": position.distance,
        "reconstruction": reconstruction_errors(fit.tokens, fit.pixels, score.tokens, score.pixels),
        "mean_patch": blind.norm(dim=-1),
    }
    marked = score if before is None else before
    kinds = patch_kinds(marked.norms, score.grid, threshold=threshold, former=before is not None)
    complete = _complete(kinds)
    if not complete.any():
        raise InputError(f"no image of {score.data['dataset']} has patches of every kind: {', '.join(kinds)}")
    protocol = {
        **score.data,
        **_fitted_on(fit.data),
        "threshold": None if threshold is None else round(threshold, 4),
        "images_left_out": int((~complete).sum()),
        **origin.settings,
    }
    common = origin.common(score.device, protocol.pop("fingerprint"))
    records = []
    for metric, values in numbers.items():
        for kind, where in {"": torch.ones_like(complete)[:, None].expand_as(values), **kinds}.items():
            shown = dict(protocol)
            if not kind and metric in ("position_top1", "reconstruction"):
                shown["map"] = _by_position(values[complete], score.grid)
            means = image_means(values[complete], where[complete])
            subject = f"{origin.name}_{kind}" if kind else origin.name
            records.append(mean_record(f"local/{metric}", subject, means, settings=shown, **common))
    return timed(records, started)


@dataclass(frozen=True, eq=False)
class TokenReading:
    """Tokens of each image, by kind: ``r`` choices of one token, ``n`` images."""

    features: dict[str, Float[Tensor, "_r n d"]]
    """After the final LayerNorm.  Of ``cls`` there is one, of ``register`` each, of patches as many as were drawn."""
    labels: Int[Tensor, "n"]
    data: dict[str, Any]
    """Name, size and fingerprint of the images, and how many were left out."""
    device: torch.device


@torch.inference_mode()
def read_tokens(
    model: Backbone,
    dataset: Dataset,
    *,
    threshold: float | None,
    before: Backbone | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    size: int | None = None,
) -> TokenReading:
    """The class token, the registers, and random patches of each kind of :func:`patch_kinds`, of every image.

    Of ``sides`` too, the patches in the middle of the sides: a token from one of four fixed places is easier to read
    than one from anywhere, and outliers may keep to four places.

    ``before`` is the network without its test-time register, whose outliers then decide the kinds.  Images that lack
    a kind of patch are left out.  The model stays on its device; the result is on the CPU.

    Source: Registers, section 2.2 and Tables 1, 4 and 6.
    Raises: InputError if an image has no label, or no image has every kind of patch.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {}
    labels: list[int] = []
    for examples, shown in example_batches(model, dataset, size=size):
        layout, last = model.layout(shown), model.tap(shown, "tokens", -1)
        judged = last if before is None else before.tap(shown, "tokens", -1)
        norms = token_norms((layout if before is None else before.layout(shown)).patches(judged))
        kinds = patch_kinds(norms, layout.grid, threshold=threshold, former=before is not None)
        kinds["sides"] = sides(layout.grid).to(norms.device).expand_as(norms)
        kept = _complete(kinds).nonzero().squeeze(1)
        normed = model.norm(last)[kept].float()
        prefix, patches = layout.prefix(normed).transpose(0, 1), layout.patches(normed)
        chosen = {"cls": prefix[:1]} | ({"register": prefix[1:]} if len(prefix) > 1 else {})
        for kind, where in kinds.items():
            drawn = [one_token(patches, where[kept], generator=generator)[0] for _ in range(draws)]
            chosen[kind] = torch.stack(drawn)
        for kind, tokens in chosen.items():
            found.setdefault(kind, []).append(tokens.cpu())
        labels += [_label(examples[index], dataset) for index in kept]
    if not labels:
        raise InputError(f"no image of {dataset.name} has patches of every kind: another threshold, or more images")
    data = _of(dataset, size or model.config.size[0]) | {"images_left_out": len(dataset) - len(labels)}
    features = {kind: torch.cat(parts, dim=1) for kind, parts in found.items()}
    return TokenReading(features, torch.tensor(labels), data, model.position.device)


def register_cosine(reading: TokenReading) -> float | None:
    """The mean cosine between two registers of an image, over pairs and images; None with fewer than two.

    At 1 the registers of a model are one token several times over.
    """
    registers = reading.features.get("register")
    if registers is None or len(registers) < 2:
        return None
    unit = torch.nn.functional.normalize(registers, dim=-1)
    total = unit.sum(dim=0).square().sum(dim=-1).mean() - len(registers)  # the pairs, and each with itself
    return float(total / (len(registers) * (len(registers) - 1)))


def global_records(
    fit: TokenReading, score: TokenReading, origin: Origin, *, strengths: Sequence[float] = STRENGTHS
) -> list[Record]:
    """Images classified from one token each, by logistic regression fitted on the tokens of ``fit``.

    - ``global/top1`` of ``<name>_cls``, ``<name>_register`` and ``<name>_<kind of patch>``: top-1, mean over the
      choices of a token (registers one by one, or draws of a patch), which stand in its settings;
    - ``global/spread``: their standard deviation, where there are several.

    Source: Registers, section 2.2 and Tables 1, 4 and 6.
    Raises: InputError if a label is not among those of ``fit``.
    """
    started = time.monotonic()
    protocol = {**score.data, **_fitted_on(fit.data), **origin.settings}
    common = origin.common(score.device, protocol.pop("fingerprint"))
    records = []
    for kind, choices in fit.features.items():
        right, penalties = [], []
        for known, asked in zip(choices, score.features[kind], strict=True):
            probe = fit_linear(known, fit.labels, strengths=strengths)
            right.append(hits(probe.predict(asked), score.labels, known=probe.classes))
            penalties.append(probe.strength)
        by_choice = torch.stack(right).double()
        tops = by_choice.mean(dim=1)
        means = by_choice.mean(dim=0)
        said = {
            "classes": len(fit.labels.unique()),
            "choices": [round(float(top), 4) for top in tops],
            "strengths": penalties,
        }
        records.append(
            mean_record("global/top1", f"{origin.name}_{kind}", means, settings={**protocol, **said}, **common)
        )
        if len(tops) > 1:
            spread = float(tops.std())
            records.append(
                Record(
                    metric="global/spread",
                    model=f"{origin.name}_{kind}",
                    value=spread,
                    low=None,
                    high=None,
                    n=len(tops),
                    settings=protocol,
                    **common,
                )
            )
    return timed(records, started)


def _complete(kinds: dict[str, Bool[Tensor, "n p"]]) -> Bool[Tensor, "n"]:
    """Which images have a patch of every kind."""
    return torch.stack([where.any(dim=-1) for where in kinds.values()]).all(dim=0)


def _of(dataset: Dataset, size: int) -> dict[str, Any]:
    return {"dataset": dataset.name, "size": size, "fingerprint": dataset.fingerprint}


def _fitted_on(data: dict[str, Any]) -> dict[str, Any]:
    return {"fitted_on": data["dataset"], "fitted_on_sha256": data["fingerprint"]}


def _by_position(values: Float[Tensor, "n p"], grid: tuple[int, int]) -> list[list[float]]:
    return np.round(values.mean(dim=0).unflatten(0, grid).double().numpy(), 3).tolist()


def _label(example: Example, dataset: Dataset) -> int:
    if example.label is None:
        raise InputError(f"{example.name} of {dataset.name} has no label: choose a classification data set")
    return example.label
