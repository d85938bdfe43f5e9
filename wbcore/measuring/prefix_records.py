"""What is recorded of the class token and the registers: how long they are, and where they look."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wbcore.data.example import Dataset, Example
from wbcore.metrics.attention import to_tokens
from wbcore.metrics.norms import log_histogram, token_norms
from wbcore.models import Backbone
from wbcore.records import Record
from wbcore.records.measured import Origin, mean_record, timed
from wbcore.showing import shown_batches


@dataclass(frozen=True, eq=False)
class PrefixReading:
    """What a model makes of ``n`` images in its last layer: ``t`` prefix tokens, class token first, ``p`` patches."""

    norms: Float[Tensor, "n t"]
    """Of the prefix tokens, before the final LayerNorm."""
    patch_norms: Float[Tensor, "n p"]
    attention: Float[Tensor, "n t p"]
    """How each prefix token divides among the patches what it pays to them; mean over heads, sum 1."""
    grid: tuple[int, int]

    @property
    def names(self) -> list[str]:
        """Of the prefix tokens."""
        return ["cls", *(f"register{number}" for number in range(1, self.norms.shape[1]))]


def read_prefix(model: Backbone, dataset: Dataset | Sequence[Example], *, size: int | None = None) -> PrefixReading:
    """The prefix tokens of all images, shown as squares of ``size`` pixels (default: the model's native size)."""
    norms, patch_norms, attention, grid = [], [], [], (0, 0)
    for shown in shown_batches(model, dataset, size=size):
        with torch.inference_mode():
            layout, taps = model.layout(shown), model.taps(shown, {"tokens": (-1,), "prefix_attention": (-1,)})
        grid, tokens = layout.grid, taps["tokens"][-1]
        norms.append(token_norms(layout.prefix(tokens)).cpu())
        patch_norms.append(token_norms(layout.patches(tokens)).cpu())
        rows = layout.patches(taps["prefix_attention"][-1], dim=-1).float().mean(dim=1)
        attention.append((rows / rows.sum(dim=-1, keepdim=True)).cpu())
    return PrefixReading(torch.cat(norms), torch.cat(patch_norms), torch.cat(attention), grid)


def similarity(attention: Float[Tensor, "n t p"]) -> Float[Tensor, "n t t"]:
    """The cosine of every two attention maps of an image: 1 for the same map, 0 for maps without a common patch."""
    directions = F.normalize(attention, dim=-1)
    return directions @ directions.transpose(-1, -2)


def prefix_records(model: Backbone, dataset: Dataset, origin: Origin) -> list[Record]:
    """The class token and the registers of one model on one data set, in its last layer.

    - ``prefix/norm`` of ``<name>_cls``, ``<name>_register1``, …, and ``<name>_patches``: L2 norms before the final
      LayerNorm, the patches' as the image's mean; the histogram over all images stands in the settings;
    - ``prefix/on_objects`` of the prefix tokens: the part of their attention to patches that falls on objects, and of
      ``<name>_patches``: the part of the patches that do, which is what a token that looks everywhere alike has;
    - ``prefix/like_cls`` of the registers: the cosine of their attention map with the class token's;
    - ``prefix/alike`` of ``<name>``, with two registers or more: the mean cosine of two registers' maps.

    Images without an annotation or an object are left out of ``prefix/on_objects``.
    Source: Registers, Figs. 7 and 15 (norms) and Fig. 9 (where registers look), which has no numbers.
    """
    started, found = time.monotonic(), read_prefix(model, dataset)
    protocol = {"dataset": dataset.name, "size": model.config.size[0], **origin.settings}
    common = origin.common(model.position.device, dataset.fingerprint)

    def record(metric: str, token: str, values: Float[Tensor, "_n"], **more: Any) -> Record:
        model_name = f"{origin.name}_{token}" if token else origin.name
        return mean_record(f"prefix/{metric}", model_name, values, settings={**protocol, **more}, **common)

    columns = dict(zip(found.names, found.norms.T, strict=True))
    records = [record("norm", token, norms, histogram=_histogram(norms)) for token, norms in columns.items()]
    patches = found.patch_norms
    records.append(record("norm", "patches", patches.mean(dim=-1), histogram=_histogram(patches)))
    records += _on_objects(found, dataset, record)
    alike = similarity(found.attention)
    registers = range(1, len(found.names))
    records += [record("like_cls", found.names[place], alike[:, 0, place]) for place in registers]
    if pairs := list(combinations(registers, 2)):
        records.append(record("alike", "", torch.stack([alike[:, a, b] for a, b in pairs]).mean(dim=0)))
    return timed(records, started)


def _on_objects(found: PrefixReading, dataset: Dataset, record: Callable[..., Record]) -> list[Record]:
    annotated, objects = [], []
    for index in range(len(dataset)):
        if (semantic := dataset[index].semantic) is not None:
            on_object = to_tokens(torch.from_numpy((semantic > 0).astype(np.uint8)), found.grid).flatten() == 1
            if on_object.any():
                annotated.append(index)
                objects.append(on_object.float())
    if not objects:
        return []
    mask = torch.stack(objects)
    shares = torch.einsum("ntp,np->nt", found.attention[annotated], mask)
    left_out = len(dataset) - len(annotated)
    columns = dict(zip((*found.names, "patches"), (*shares.T, mask.mean(dim=-1)), strict=True))
    return [record("on_objects", token, values, images_without_object=left_out) for token, values in columns.items()]


def _histogram(norms: Float[Tensor, "*n"]) -> dict[str, list]:
    edges, counts = log_histogram(norms)
    return {"edges": [round(float(edge), 4) for edge in edges], "counts": [int(one) for one in counts]}
