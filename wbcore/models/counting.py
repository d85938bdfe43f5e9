"""How many parameters a model has, by part: from a formula, and counted on the model itself."""

from collections import Counter

import torch

from wbcore.models.backbone import Backbone, BackboneConfig

PARTS: tuple[str, ...] = ("embedding", "position", "attention", "feedforward", "norms", "head")
"""``embedding`` holds the class token, registers and the patch embedding with its own norms, ``norms`` those of the
layers, the ones before the first and after the last, and LayerScale."""


def parameters_by_formula(config: BackboneConfig) -> dict[str, int]:
    """The number of parameters of each of :data:`PARTS`, in closed form.

    Source: CRATE, Eqs. (5), (7) and (11) with appendix A; ViT (Dosovitskiy et al., 2021), Eqs. (1) to (4).
    """
    dim, depth, inner, classes = config.dim, config.depth, config.inner_dim, config.num_classes
    patch = config.in_channels * config.patch_size**2
    embedding = (1 + config.num_registers) * dim + patch * dim + config.patch_bias * dim
    if config.patch_embedding == "normalised":
        embedding += 2 * patch + 2 * dim
    tokens = config.grid[0] * config.grid[1] + (config.position_embedding == "with_class")
    if config.attention == "mssa":  # U, and the way back
        attention = dim * inner + (config.output_projection == "free") * (inner * dim + dim)
    else:  # queries, keys and values, and the way back
        attention = 3 * (dim * inner + config.qkv_bias * inner) + inner * dim + dim
    mlp_dim = round(dim * config.mlp_ratio)
    feedforward = {
        "mlp": 2 * dim * mlp_dim + mlp_dim + dim,
        "swiglu": 3 * dim * mlp_dim + 2 * mlp_dim + dim,
    }.get(config.feedforward, dim * dim)  # or D
    norms = 2 * 2 * dim + 2 * dim * (config.layer_scale is not None)
    head = (config.head_dim or dim) * classes + classes
    if config.head_dim:
        head += dim * config.head_dim + config.head_dim
    return {
        "embedding": embedding,
        "position": tokens * dim,
        "attention": depth * attention,
        "feedforward": depth * feedforward,
        "norms": depth * norms + 2 * dim * (1 + config.pre_norm),
        "head": head if classes else 0,
    }


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
