"""How many parameters a model has, by part, counted on the model itself."""

from collections import Counter

import torch

from wbcore.models.backbone import Backbone, BackboneConfig

PARTS: tuple[str, ...] = ("embedding", "position", "attention", "feedforward", "norms", "head")
"""As :func:`wbcore.metrics.parameters.parameters_by_part` has them, which says what belongs to which."""


def parameters_by_count(config: BackboneConfig) -> dict[str, int]:
    """The number of parameters of each of :data:`PARTS`, counted on a model of this configuration."""
    with torch.device("meta"):  # shapes without memory
        model = Backbone(config)
    found = Counter(dict.fromkeys(PARTS, 0))
    for name, parameter in model.named_parameters():
        found[_part_of(name)] += parameter.numel()
    return dict(found)


def _part_of(name: str) -> str:
    first, *rest = name.split(".")
    if first in ("class_token", "registers", "patch_embedding"):
        return "embedding"
    if first == "blocks":
        _, part, *inner = rest
        return part if part in ("attention", "feedforward") and "norm" not in inner else "norms"
    return {"position": "position", "head": "head"}.get(first, "norms")
