"""Where segmentation goes when outliers come: attention mIoU by layer, with and without them, as records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wbcore.data.example import Dataset, Example
from wbcore.errors import InputError
from wbcore.evaluate import RULES
from wbcore.measuring.norm_records import TIMES, border
from wbcore.metrics.attention import NoObjectError, label_iou, to_tokens
from wbcore.metrics.baselines import centred_blob
from wbcore.metrics.intervals import Interval
from wbcore.metrics.norm_tail import over_median, pooled_tail
from wbcore.metrics.norms import outliers, token_norms
from wbcore.metrics.outlier_attention import as_many, budget, is_object, leave_out, longest, object_auc, on_object
from wbcore.models import Backbone
from wbcore.records import Record
from wbcore.records.measured import common_fields, mean_record
from wbcore.showing import shown_batches
from wbcore.tokens import TokenLayout

SHARE = 0.02
"""Of a model without outliers, the share of its longest patches that stands for them: what the pretrained ViT has."""
SHOWN_RULES = ("mass60", "entries20")
"""How attention becomes a mask (:data:`wbcore.evaluate.RULES`): 60 % of the mass, and a fifth of the entries, about the
share of an image that objects cover."""


@dataclass(frozen=True, eq=False)
class AttentionReading:
    """What a model makes of ``n`` images: ``l`` layers, ``h`` heads, ``p`` patches, ``t`` tokens, ``r`` registers."""

    norms: Float[Tensor, "l n p"]
    """Of the patches after each layer, before the final LayerNorm."""
    registers: Float[Tensor, "n r"]
    """Norms of the registers after the last layer."""
    attention: Float[Tensor, "l n h t"]
    """The class token's rows, prefix tokens included."""
    layout: TokenLayout

    @property
    def patches(self) -> Float[Tensor, "l n h p"]:
        """The attention on patches."""
        return self.layout.patches(self.attention, dim=-1)

    def outliers(self, threshold: float | None) -> Bool[Tensor, "n p"]:
        """The patches that are longer than ``threshold`` after the last layer; without one the longest
        :data:`SHARE`."""
        last = self.norms[-1]
        return longest(last, SHARE) if threshold is None else outliers(last, threshold=threshold)


def read_attention(
    model: Backbone, dataset: Dataset | Sequence[Example], *, size: int | None = None
) -> AttentionReading:
    """Attention and norms of all images and layers, on the CPU; ``size`` as in
    :func:`wbcore.measuring.norm_records.read_norms`."""
    layers = range(model.config.depth)
    norms, registers, attention = [], [], []
    layout = None
    for shown in shown_batches(model, dataset, size=size):
        with torch.inference_mode():
            layout, taps = model.layout(shown), model.taps(shown, {"tokens": layers, "cls_attention": layers})
            lengths = torch.stack([token_norms(taps["tokens"][layer]) for layer in layers]).cpu()
            norms.append(layout.patches(lengths, dim=-1))
            registers.append(layout.prefix(lengths[-1], dim=-1)[:, 1:])
            attention.append(torch.stack([taps["cls_attention"][layer] for layer in layers]).float().cpu())
    if layout is None:
        raise InputError("no image to read: give at least one")
    return AttentionReading(torch.cat(norms, dim=1), torch.cat(registers), torch.cat(attention, dim=1), layout)


def patch_labels(dataset: Dataset | Sequence[Example], grid: tuple[int, int]) -> Int[Tensor, "n p"]:
    """Every image's annotation on the token grid.

    Raises: InputError naming an image that is not annotated.
    """
    found = []
    for index in range(len(dataset)):
        example = dataset[index]
        if example.semantic is None:
            raise InputError(f"{example.name} is not annotated with classes: measure on annotated data")
        found.append(to_tokens(torch.from_numpy(np.array(example.semantic)), grid).flatten())
    return torch.stack(found)


def attention_miou(patches: Float[Tensor, "n h p"], labels: Int[Tensor, "n p"], *, rule: str) -> Float[np.ndarray, "n"]:
    """Each image's mIoU of one layer, best head for each class; NaN where there is no object.

    Source: CRATE, Eqs. (13) and (14), as :func:`wbcore.metrics.attention.paper_miou` has it.
    """
    masks = RULES[rule](patches)
    found = np.full(len(patches), np.nan)
    for image, (heads, classes) in enumerate(zip(masks, labels, strict=True)):
        try:
            found[image] = label_iou(heads[:, None], classes[None]).amax(-1).mean()
        except NoObjectError:
            continue  # stays NaN, and is left out of the means
    return found


def interventions(
    outlier: Bool[Tensor, "n p"], grid: tuple[int, int], *, seed: int = 0
) -> dict[str, Bool[Tensor, "n p"]]:
    """What is left out of the attention maps, by the ending of a subject's name: the outliers, and to compare with them
    as many other patches of each image, drawn from all (``_clean_rand``) and from the border (``_clean_edge``)."""
    generator = torch.Generator().manual_seed(seed)
    everywhere = torch.ones_like(outlier)
    on_border = (border(grid) > 0).expand_as(outlier)
    return {
        "_clean": outlier,
        "_clean_rand": as_many(outlier, everywhere, generator=generator),
        "_clean_edge": as_many(outlier, on_border, generator=generator),
    }


class Recorder:
    """Makes the records of one data set alike: the same provenance, and images without an object left out."""

    def __init__(self, dataset: Dataset, *, data: str, command: str, device: torch.device | str = "cpu") -> None:
        self.dataset = dataset
        self.common = common_fields(data=data, command=command, device=device, data_sha256=dataset.fingerprint)
        self._labels: dict[tuple[int, int], Int[Tensor, "n p"]] = {}

    def labels(self, grid: tuple[int, int]) -> Int[Tensor, "n p"]:
        """The annotations on a token grid, made once."""
        if grid not in self._labels:
            self._labels[grid] = patch_labels(self.dataset, grid)
        return self._labels[grid]

    def record(
        self,
        metric: str,
        model: str,
        interval: Interval,
        *,
        origin: Mapping[str, Any],
    ) -> Record:
        """One record of all images together; ``origin`` holds seeds and the weights' digest."""
        settings = {"dataset": self.dataset.name}
        return Record(metric=metric, model=model, **interval._asdict(), settings=settings, **{**self.common, **origin})

    def mean(
        self,
        metric: str,
        model: str,
        values: Float[np.ndarray, "n"],
        *,
        origin: Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
        by_image: bool = True,
    ) -> Record:
        """The mean over the images that have a value, which NaN says that they have not.

        Raises: InputError if none has.
        """
        known = values[np.isfinite(values)]
        if not known.size:
            raise InputError(f"{self.dataset.name} has no object in any of its {len(values)} images: use other data")
        left_out = {"images_without_object": len(values) - len(known)} if len(known) < len(values) else {}
        said = {"dataset": self.dataset.name, **left_out, **(settings or {})}
        record = mean_record(metric, model, known, settings=said, **{**self.common, **origin})
        return record if by_image else replace(record, values=None)

    def segmentation(
        self,
        reading: AttentionReading,
        name: str,
        *,
        origin: Mapping[str, Any],
        without: Bool[Tensor, "n p"] | None = None,
        settings: Mapping[str, Any] | None = None,
        rules: Sequence[str] = SHOWN_RULES,
        by_image: bool = True,
    ) -> list[Record]:
        """``attention_miou/<rule>`` of ``<name>_layer<l>``, with the patches ``without`` left out of the maps.

        Without ``by_image`` what stays of each image is that of the last layer only.
        """
        labels, found = self.labels(reading.layout.grid), []
        for layer, patches in enumerate(reading.patches, start=1):
            shown = patches if without is None else leave_out(patches, without)
            for rule in rules:
                values, model = attention_miou(shown, labels, rule=rule), f"{name}_layer{layer}"
                kept = by_image or layer == len(reading.patches)
                metric = f"attention_miou/{rule}"
                found.append(self.mean(metric, model, values, origin=origin, settings=settings, by_image=kept))
        return found

    def width(
        self,
        reading: AttentionReading,
        name: str,
        *,
        origin: Mapping[str, Any],
        without: Bool[Tensor, "n p"] | None = None,
    ) -> list[Record]:
        """Whether the attention of ``<name>_layer<l>`` is in the right place and how wide it is: ``attention_auc``
        (:func:`wbcore.metrics.outlier_attention.object_auc`, mean of the heads) and ``mask_size/mass60``, the share of
        the patches that 60 % of a head's mass lie on (mean over heads)."""
        labels, found = self.labels(reading.layout.grid), []
        for layer, patches in enumerate(reading.patches, start=1):
            shown = patches if without is None else leave_out(patches, without)
            numbers = {
                "attention_auc": object_auc(shown.mean(dim=1), labels, without=without),
                "mask_size/mass60": RULES["mass60"](shown).double().mean(dim=(1, 2)).numpy(),
            }
            for metric, values in numbers.items():
                kept = layer == len(reading.patches)
                found.append(self.mean(metric, f"{name}_layer{layer}", values, origin=origin, by_image=kept))
        return found

    def spending(
        self, reading: AttentionReading, name: str, *, outlier: Bool[Tensor, "n p"], origin: Mapping[str, Any]
    ) -> list[Record]:
        """Where the class token's attention goes, of ``<name>_layer<l>``: ``attention_to/<part>``, the parts of
        :class:`wbcore.metrics.outlier_attention.Budget` but the background, which is the rest, and
        ``attention_on_object``; of ``<name>``, ``object_share``: what the latter would be if the class token looked at
        all normal patches alike."""
        labels, found = self.labels(reading.layout.grid), []
        seen = is_object(labels).any(dim=-1).numpy()
        for layer, attention in enumerate(reading.attention, start=1):
            spent = budget(attention, reading.layout, outlier=outlier, labels=labels)
            model = f"{name}_layer{layer}"
            parts = {f"attention_to/{part}": values for part, values in spent._asdict().items() if part != "background"}
            for metric, values in {**parts, "attention_on_object": on_object(spent)}.items():
                shown = np.where(seen, values.double().numpy(), np.nan)
                by_image = metric == "attention_on_object"
                found.append(self.mean(metric, model, shown, origin=origin, by_image=by_image))
        share = (is_object(labels) & ~outlier).sum(-1) / (~outlier).sum(-1)
        return [*found, self.mean("object_share", name, np.where(seen, share.numpy(), np.nan), origin=origin)]

    def tail(self, reading: AttentionReading, name: str, *, origin: Mapping[str, Any]) -> list[Record]:
        """How long the longest tokens are, in units of their image's median.

        ``tail/largest`` and ``tail/triple_share`` (above :data:`wbcore.measuring.norm_records.TIMES` medians) of
        ``<name>_layer<l>``; of ``<name>`` the same of the last layer, ``tail/quantile999`` and ``tail/kurtosis`` of all
        patches together, and ``tail/register``, the longest register, where there are any.
        """
        found = []
        for layer, norms in enumerate(reading.norms, start=1):
            relative = over_median(norms.double().numpy())
            numbers = {"largest": relative.max(axis=-1), "triple_share": (relative > TIMES).mean(axis=-1)}
            for metric, values in numbers.items():
                model = f"{name}_layer{layer}"
                found.append(self.mean(f"tail/{metric}", model, values, origin=origin, by_image=False))
                if layer == len(reading.norms):
                    found.append(self.mean(f"tail/{metric}", name, values, origin=origin))
        last = reading.norms[-1].double().numpy()
        for metric, interval in zip(("quantile999", "kurtosis"), pooled_tail(last), strict=True):
            found.append(self.record(f"tail/{metric}", name, interval, origin=origin))
        if reading.registers.shape[-1]:
            register = reading.registers.double().amax(-1).numpy() / np.median(last, axis=-1)
            found.append(self.mean("tail/register", name, register, origin=origin, by_image=False))
        return found

    def blob(self, name: str, grid: tuple[int, int]) -> list[Record]:
        """``attention_miou/<rule>`` and ``attention_auc`` of the centred blob on a token grid."""
        labels = self.labels(grid)
        attention = centred_blob(grid).expand(len(labels), -1, -1)
        numbers = {f"attention_miou/{rule}": attention_miou(attention, labels, rule=rule) for rule in SHOWN_RULES}
        numbers["attention_auc"] = object_auc(attention[:, 0], labels)
        return [self.mean(metric, name, values, origin={}) for metric, values in numbers.items()]


def best_layers(reading: AttentionReading, labels: Int[Tensor, "n p"]) -> dict[str, int]:
    """For each rule the layer (from 1) whose attention segments best, on images that are not measured later."""
    means = {
        rule: [np.nanmean(attention_miou(patches, labels, rule=rule)) for patches in reading.patches]
        for rule in SHOWN_RULES
    }
    return {rule: 1 + int(np.argmax(by_layer)) for rule, by_layer in means.items()}
