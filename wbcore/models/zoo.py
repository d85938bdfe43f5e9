"""Named models: one cited row each."""

import dataclasses
import difflib
import fnmatch
from pathlib import Path
from typing import Any

from wbcore._compat import import_timm
from wbcore.errors import InputError
from wbcore.models.backbone import Backbone, BackboneConfig

_VARIANTS: dict[str, dict[str, Any]] = {
    # CRATE, Table 2: attention × non-linearity.  crate_sth: Fig. 13.
    "crate": {"attention": "mssa", "feedforward": "ista"},
    "crate_mlp": {"attention": "mssa", "feedforward": "mlp"},
    "crate_mhsa": {"attention": "mhsa", "feedforward": "ista"},
    "crate_sth": {"attention": "mssa", "feedforward": "ista_soft"},
}
# As in ViT (Dosovitskiy et al., 2021) and timm.
_VIT: dict[str, Any] = {
    "attention": "mhsa",
    "feedforward": "mlp",
    "patch_embedding": "plain",
    "qkv_bias": True,
    "position_std": 0.02,
    "norm_eps": 1e-6,
}
_CRATE_SIZES: dict[str, dict[str, Any]] = {
    # CRATE, Table 3: parameter counts with a 21,841-way head are those of ViT's widths (5.74, 14.12, 38.83 M).
    "tiny_patch8_224": {"dim": 192, "depth": 12, "heads": 3, "patch_size": 8},
    "small_patch8_224": {"dim": 384, "depth": 12, "heads": 6, "patch_size": 8},
    "base_patch8_224": {"dim": 768, "depth": 12, "heads": 12, "patch_size": 8},
    # README of the official repository, ImageNet-1k (6.09, 13.12, 22.80, 77.64 M).
    "tiny_patch16_224": {"dim": 384, "depth": 12, "heads": 6, "patch_size": 16},
    "small_patch16_224": {"dim": 576, "depth": 12, "heads": 12, "patch_size": 16},
    "base_patch16_224": {"dim": 768, "depth": 12, "heads": 12, "patch_size": 16},
    "large_patch16_224": {"dim": 1024, "depth": 24, "heads": 16, "patch_size": 16},
}
_VIT_SIZES: dict[str, dict[str, Any]] = {
    # ViT (Dosovitskiy et al., 2021), Table 1, and DeiT (Touvron et al., 2021), Table 1.
    f"{size}_patch{patch}_224": {"dim": dim, "depth": depth, "heads": heads, "patch_size": patch}
    for size, dim, depth, heads in (
        ("tiny", 192, 12, 3),
        ("small", 384, 12, 6),
        ("base", 768, 12, 12),
        ("large", 1024, 24, 16),
    )
    for patch in (8, 16)
}
_LAB_SIZES: dict[str, dict[str, Any]] = {
    # The lab study: CRATE-Tiny's width with the paper's six heads, small enough for two cores (or one GPU).
    "lab_patch8_72": {"dim": 192, "depth": 6, "heads": 6, "patch_size": 8, "image_size": 72},
    "lab12_patch8_128": {"dim": 192, "depth": 12, "heads": 6, "patch_size": 8, "image_size": 128},
}
# In the lab, ViT shares every part with CRATE but attention and feed-forward: the ablation changes nothing else.
_LAB_VARIANTS = {**_VARIANTS, "vit": {"attention": "mhsa", "feedforward": "mlp"}}
# What CRATE's text and code disagree on: U itself as the output projection (Eq. 5), the skip path of Algorithm 1.
_LAB_VARIANTS |= {
    "crate_tied": {**_VARIANTS["crate"], "output_projection": "tied"},
    "crate_normalised": {**_VARIANTS["crate"], "skip": "normalised"},
}
# Registers, Figs. 7 and 8: the same with register tokens, in the numbers of the paper.
_LAB_VARIANTS |= {
    f"{variant}_reg{number}": {**options, "num_registers": number}
    for variant, options in _LAB_VARIANTS.items()
    if variant in ("crate", "crate_mlp", "crate_mhsa", "vit")
    for number in (1, 2, 4, 8, 16)
}

MODELS: dict[str, BackboneConfig] = {
    **{f"{v}_{s}": BackboneConfig(**_VARIANTS[v], **size) for v in _VARIANTS for s, size in _CRATE_SIZES.items()},
    **{f"vit_{s}": BackboneConfig(**_VIT, **size) for s, size in _VIT_SIZES.items()},
    **{f"{v}_{s}": BackboneConfig(**_LAB_VARIANTS[v], **size) for v in _LAB_VARIANTS for s, size in _LAB_SIZES.items()},
}


def list_models(pattern: str = "*") -> list[str]:
    """The names of all models that match a shell pattern such as ``"crate*patch8*"``, sorted."""
    return sorted(fnmatch.filter(MODELS, pattern))


def model_config(name: str, **overrides: Any) -> BackboneConfig:
    """The configuration of a named model, with fields replaced.

    Raises: InputError for an unknown name (with the nearest known ones) or field.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.4) or list_models()[:3]
        raise InputError(f"unknown model {name!r}: did you mean {', '.join(near)}? `wbcore models` lists all")
    return BackboneConfig.from_dict({**dataclasses.asdict(MODELS[name]), **overrides})


def create_model(name: str, *, weights: str | Path | None = None, **overrides: Any) -> Backbone:
    """Build a named model in evaluation mode, randomly initialised or with ``weights``.

    ``weights`` is a file written by :func:`wbcore.checkpoints.save_model`; its tensors must have exactly the
    shapes of the configuration that ``name`` and ``overrides`` describe.
    Raises: InputError for an unknown name or field, or a file that does not fit.
    """
    model = Backbone(model_config(name, **overrides)).eval()
    if weights is not None:
        from wbcore.checkpoints import load_weights

        load_weights(model, weights)
    return model


def _register_with_timm(name: str) -> None:
    """Make ``timm.create_model(name)`` build our model: timm looks names up by the function's name and module."""

    def entrypoint(pretrained: bool = False, **overrides: Any) -> Backbone:
        if pretrained:
            raise InputError(f"{name}: no released weights are known; pass weights=FILE to wbcore.create_model")
        for unused in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            overrides.pop(unused, None)
        return create_model(name, **overrides)

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__module__ = __name__
    import_timm().models.register_model(entrypoint)


for _name in list_models("crate*"):
    _register_with_timm(_name)
