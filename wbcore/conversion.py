"""Other people's weights as our backbone: checkpoints of the official CRATE repository, and timm's transformers."""

import math
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError
from torch import Tensor, nn

from wbcore._compat import import_timm
from wbcore.errors import InputError
from wbcore.models.backbone import Backbone, BackboneConfig
from wbcore.models.feedforward import ACTIVATIONS, Activation
from wbcore.models.loading import load_strictly

timm = import_timm()

# How our names of tensors begin, and theirs; the first that fits counts.
_OFFICIAL_NAMES = (
    (r"class_token", r"cls_token"),
    (r"position", r"pos_embedding"),
    (r"patch_embedding\.0\.", r"to_patch_embedding.1."),  # their number 0 cuts the image into patches
    (r"patch_embedding\.1\.", r"to_patch_embedding.2."),
    (r"patch_embedding\.2\.", r"to_patch_embedding.3."),
    (r"blocks\.(\d+)\.norm\.", r"transformer.layers.\1.0.norm."),
    (r"blocks\.(\d+)\.attention\.subspaces\.", r"transformer.layers.\1.0.fn.qkv."),
    (r"blocks\.(\d+)\.attention\.output\.", r"transformer.layers.\1.0.fn.to_out.0."),
    (r"blocks\.(\d+)\.feedforward\.norm\.", r"transformer.layers.\1.1.norm."),
    (r"blocks\.(\d+)\.feedforward\.dictionary", r"transformer.layers.\1.1.fn.weight"),
    (r"norm\.", r"mlp_head.0."),
    (r"head\.0\.", r"mlp_head.1."),  # the demo's head of two layers
    (r"head\.1\.", r"head."),
    (r"head\.", r"mlp_head.1."),
)
_TIMM_NAMES = (
    (r"class_token", r"cls_token"),
    (r"position", r"pos_embed"),
    (r"registers", r"reg_token"),
    (r"patch_embedding\.", r"patch_embed.proj."),
    (r"pre_norm\.", r"norm_pre."),
    (r"blocks\.(\d+)\.norm\.", r"blocks.\1.norm1."),
    (r"blocks\.(\d+)\.attention\.qkv\.", r"blocks.\1.attn.qkv."),
    (r"blocks\.(\d+)\.attention\.output\.", r"blocks.\1.attn.proj."),
    (r"blocks\.(\d+)\.scale_attention\.", r"blocks.\1.ls1."),
    (r"blocks\.(\d+)\.feedforward\.norm\.", r"blocks.\1.norm2."),
    (r"blocks\.(\d+)\.feedforward\.expand\.", r"blocks.\1.mlp.fc1."),
    (r"blocks\.(\d+)\.feedforward\.gate\.", r"blocks.\1.mlp.gate."),  # see _split_gates
    (r"blocks\.(\d+)\.feedforward\.contract\.", r"blocks.\1.mlp.fc2."),
    (r"blocks\.(\d+)\.scale_feedforward\.", r"blocks.\1.ls2."),
)


def from_official_crate_file(path: Path | str, *, heads: int) -> Backbone:
    """The backbone in a checkpoint file of the official CRATE repository; see :func:`from_official_crate`.

    Only tensors and plain containers are read; code in the file is never run.
    Raises: InputError if the file is missing, damaged, holds code, or is another architecture.
    """
    return _from_official_crate(_read_mapping(path), heads, source=str(path))


def from_timm_vit_pretrained(name: str) -> Backbone:
    """The backbone with timm's released weights of ``name``, which timm fetches; see :func:`from_timm_vit`.

    Raises: InputError if timm has no such weights, or there is no way to fetch them.
    """
    if not timm.models.is_model_pretrained(name):
        raise InputError(f"timm has no released weights {name!r}: timm.list_pretrained() lists all")
    try:
        model = timm.create_model(name, pretrained=True)
    except (OSError, HfHubHTTPError) as error:  # without a network, or where the host refuses
        reason = " ".join(str(error).split())
        raise InputError(
            f"the weights of timm's {name} could not be fetched ({reason}): connect, and run again"
        ) from error
    return from_timm_vit(model)


def from_timm_vit_file(name: str, path: Path | str) -> Backbone:
    """The backbone in a file with the state dict of timm's model ``name``; see :func:`from_timm_vit`.

    Raises: InputError if timm has no such model, or the file is missing, damaged, holds code, or is another model's.
    """
    if not timm.is_model(name):
        raise InputError(f"timm has no model {name!r}: timm.list_models() lists all")
    model = timm.create_model(name)
    try:
        model.load_state_dict(_read_mapping(path))
    except RuntimeError as error:
        raise InputError(f"{path} does not hold the weights of timm's {name}: name the model they belong to") from error
    return from_timm_vit(model)


def _read_mapping(path: Path | str) -> Mapping[str, Any]:
    """What a file of :func:`torch.save` holds, if it is tensors and plain containers under names."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{path} is missing: check the path to the checkpoint") from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is damaged, or holds more than tensors and is not safe to read: copy it again, "
            "or have its author save the state dict alone"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise InputError(f"{path} cannot be read, it may be damaged or cut short: copy it again") from error
    if not isinstance(checkpoint, Mapping):
        raise InputError(f"{path} holds a {type(checkpoint).__name__}: give a file that holds a state dict")
    return checkpoint


def from_official_crate(state_dict: Mapping[str, Any], *, heads: int) -> Backbone:
    """The backbone that a state dict of the official CRATE repository describes, in evaluation mode.

    The tensors may lie under ``state_dict`` or ``model`` with other things beside them, and their names may begin
    with ``module.`` (DataParallel).  ``heads`` is the one number that no shape tells; the demo's base model has 6.
    Its head of two linear layers is recognised.  A single head as wide as the tokens has no output projection
    there; here it gets the identity.

    Source: official CRATE code; step size and sparsity are its constants 0.1.
    Raises: InputError for a tensor that is missing, unknown or of another shape, or if ``heads`` does not divide.
    """
    return _from_official_crate(state_dict, heads, source="the state dict")


def from_timm_vit(model: nn.Module) -> Backbone:
    """A timm ``VisionTransformer`` as our backbone with equal outputs, in evaluation mode.

    Plain ViTs, DINO, DINOv2 (LayerScale, registers, the giant's SwiGLU), DeiT-III and CLIP's image tower.  The mean
    and deviation of the colours come from its ``pretrained_cfg``; the rates of dropout and drop path are left behind.

    Raises: InputError naming the first feature that our backbone does not have.
    """
    kind = type(model).__name__
    if not isinstance(model, timm.models.vision_transformer.VisionTransformer):
        raise InputError(f"{kind} is not supported: give a timm VisionTransformer")
    for feature in _unsupported(model):
        raise InputError(f"{kind} with {feature} is not supported: give a plain, DINO, DINOv2, DeiT-III or CLIP ViT")
    config = _timm_config(model)
    state = model.state_dict()
    registers = state.pop("reg_token", torch.zeros(1, 0, config.dim))
    if config.position_embedding == "with_class" and config.num_registers:  # theirs have positions: add them up
        parts = (1, config.num_registers, math.prod(config.grid))
        of_class, of_registers, of_patches = state["pos_embed"].split(parts, dim=1)
        registers, state["pos_embed"] = registers + of_registers, torch.cat([of_class, of_patches], dim=1)
    if config.feedforward == "swiglu":
        state = _split_gates(state)
    converted = Backbone(config).eval()
    load_strictly(converted, {**state, "reg_token": registers}, source=kind, names=_names(converted, _TIMM_NAMES))
    return converted


def _split_gates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm packs the gate of a SwiGLU and what it gates into one map, the gate first."""
    split = {}
    for name, tensor in state.items():
        if ".mlp.fc1." in name:
            split[name.replace("fc1", "gate")], split[name] = tensor.chunk(2)
        else:
            split[name] = tensor
    return split


def _names(model: Backbone, rules: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Our name of each tensor → theirs."""
    names = {}
    for name in model.state_dict():
        match, theirs = next(((match, new) for old, new in rules if (match := re.match(old, name))), (None, ""))
        names[name] = name if match is None else match.expand(theirs) + name[match.end() :]
    return names


def _from_official_crate(checkpoint: Mapping[str, Any], heads: int, *, source: str) -> Backbone:
    for key in ("state_dict", "model"):
        if isinstance(inner := checkpoint.get(key), Mapping):
            checkpoint = inner
    state = {str(name).removeprefix("module."): tensor for name, tensor in checkpoint.items()}
    if strangers := [name for name, tensor in state.items() if not isinstance(tensor, Tensor)]:
        raise InputError(f"{source}: {strangers[0]} is no tensor: give the state dict, or keep it under state_dict")
    config = _official_config(state, heads, source)
    if heads == 1 and config.inner_dim == config.dim:
        for layer in range(config.depth):
            output = f"transformer.layers.{layer}.0.fn.to_out.0"
            state = {f"{output}.weight": torch.eye(config.dim), f"{output}.bias": torch.zeros(config.dim), **state}
    model = Backbone(config).eval()
    state["registers"] = model.registers
    load_strictly(model, state, source=source, names=_names(model, _OFFICIAL_NAMES))
    return model


def _official_config(state: Mapping[str, Tensor], heads: int, source: str) -> BackboneConfig:
    """Every dimension that the shapes of the tensors tell."""

    def shape(name: str, dims: int) -> torch.Size:
        if name not in state:
            raise InputError(f"{source} lacks {name}: give a checkpoint of the official CRATE repository")
        if state[name].dim() != dims:
            raise InputError(f"{source}: {name} has shape {tuple(state[name].shape)}: it needs {dims} dimensions")
        return state[name].shape

    inner_dim, dim = shape("transformer.layers.0.0.fn.qkv.weight", 2)
    patch_dim = shape("to_patch_embedding.2.weight", 2)[1]
    patch_size = math.isqrt(patch_dim // 3)
    if 3 * patch_size**2 != patch_dim:
        raise InputError(f"{source}: to_patch_embedding.2.weight takes {patch_dim} values, no square patch of RGB")
    patches = shape("pos_embedding", 3)[1] - 1
    side = math.isqrt(max(patches, 0))
    if side**2 != patches:
        raise InputError(f"{source}: pos_embedding is for {patches} patches: only square images are supported")
    if heads < 1 or inner_dim % heads:
        raise InputError(f"heads={heads} does not divide the {inner_dim} rows of qkv in {source}: give another number")
    first_layer, two_layers = shape("mlp_head.1.weight", 2)[0], "head.weight" in state
    return BackboneConfig(
        image_size=side * patch_size,
        patch_size=patch_size,
        num_classes=shape("head.weight", 2)[0] if two_layers else first_layer,
        head_dim=first_layer if two_layers else None,
        dim=dim,
        depth=1 + max(int(match[1]) for name in state if (match := re.match(r"transformer\.layers\.(\d+)\.", name))),
        heads=heads,
        dim_head=inner_dim // heads,
    )


def _timm_config(model: Any) -> BackboneConfig:
    """The configuration of a timm ViT, read from its modules."""
    patches, attention, mlp, scale = model.patch_embed, model.blocks[0].attn, model.blocks[0].mlp, model.blocks[0].ls1
    released = getattr(model, "pretrained_cfg", {})
    return BackboneConfig(
        image_size=(patches.grid_size[0] * patches.patch_size[0], patches.grid_size[1] * patches.patch_size[1]),
        patch_size=patches.patch_size[0],
        in_channels=patches.proj.in_channels,
        num_classes=model.num_classes,
        dim=model.embed_dim,
        depth=len(model.blocks),
        heads=attention.num_heads,
        dim_head=attention.head_dim,
        attention="mhsa",
        feedforward="swiglu" if _is_swiglu(mlp) else "mlp",
        mlp_ratio=mlp.fc2.in_features / model.embed_dim,
        activation=_activation(mlp.act) or "gelu",
        num_registers=model.num_reg_tokens,
        patch_embedding="plain",
        patch_bias=patches.proj.bias is not None,
        qkv_bias=attention.qkv.bias is not None,
        pre_norm=isinstance(model.norm_pre, nn.LayerNorm),
        layer_scale=getattr(scale, "init_values", None),
        position_embedding="patches_only" if model.no_embed_class else "with_class",
        position_std=0.02,
        norm_eps=model.norm.eps,
        mean=tuple(released.get("mean", BackboneConfig.mean)),
        std=tuple(released.get("std", BackboneConfig.std)),
    )


def _activation(activation: nn.Module) -> Activation | None:
    """Our name for an activation, known by what it computes: timm has several classes for each."""
    probe = torch.linspace(-4, 4, 97)
    return next((name for name, ours in ACTIVATIONS.items() if torch.allclose(ours()(probe), activation(probe))), None)


def _is_swiglu(mlp: Any) -> bool:
    """Whether a feed-forward part is DINOv2's for its largest model: half of the first map gates the other."""
    return type(mlp) is timm.layers.GluMlp and not mlp.gate_last and _activation(mlp.act) == "silu"


def _unsupported(model: Any) -> Iterator[str]:
    """What a timm ViT has that our backbone does not, in words."""
    patches, layers = model.patch_embed, timm.layers
    if hasattr(model, "dist_token"):
        yield "a distillation token"
    if model.cls_token is None:
        yield "no class token"
    if model.pos_embed is None:
        yield "no learned position embedding"
    if model.attn_pool is not None:
        yield "attention pooling"
    if model.global_pool != "token":
        yield f"pooling {model.global_pool!r} instead of the class token"
    if not isinstance(model.fc_norm, nn.Identity):
        yield "fc_norm"
    if type(patches) is not layers.PatchEmbed or not isinstance(patches.norm, nn.Identity):
        yield "a patch embedding that is more than a linear map"
    if patches.patch_size[0] != patches.patch_size[1]:
        yield "patches that are not square"
    for block in model.blocks:
        if type(block) is not timm.models.vision_transformer.Block:
            yield f"layers of type {type(block).__name__}"
        if type(block.attn) is not layers.Attention:
            yield f"attention of type {type(block.attn).__name__}"
        if not all(isinstance(norm, nn.Identity) for norm in (block.attn.q_norm, block.attn.k_norm)):
            yield "normalised queries and keys"
        if block.attn.gate is not None:
            yield "gated attention"
        if type(block.mlp) is not layers.Mlp and not _is_swiglu(block.mlp):
            yield f"a feed-forward part of type {type(block.mlp).__name__}"
        if not all(isinstance(norm, nn.Identity) for norm in (block.attn.norm, block.mlp.norm)):
            yield "norms inside attention or feed-forward"
        if _activation(block.mlp.act) is None:
            yield f"the activation {type(block.mlp.act).__name__}"
    norms = [model.norm, *(norm for block in model.blocks for norm in (block.norm1, block.norm2))]
    norms += [] if isinstance(model.norm_pre, nn.Identity) else [model.norm_pre]
    if not all(isinstance(norm, nn.LayerNorm) for norm in norms):
        yield "norms other than LayerNorm"
    if len({norm.eps for norm in norms}) > 1:
        yield "LayerNorms of different eps"
    if any(linear.bias is None for block in model.blocks for linear in (block.attn.proj, block.mlp.fc1, block.mlp.fc2)):
        yield "linear maps without bias"
    if type(model) is not timm.models.vision_transformer.VisionTransformer:
        yield "a forward pass of its own"
