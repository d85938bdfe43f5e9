"""Weights in and out: safetensors with a model card beside them, and other people's formats into ours."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from wbcore.conversion import (
    from_official_crate,
    from_official_crate_file,
    from_timm_vit,
    from_timm_vit_file,
    from_timm_vit_pretrained,
)
from wbcore.devices import choose_device
from wbcore.errors import InputError
from wbcore.files import open_atomically, sha256
from wbcore.models.backbone import Backbone, BackboneConfig
from wbcore.models.dovit import DoViT, SegmenterConfig
from wbcore.models.loading import load_strictly

__all__ = [
    "ModelCard",
    "card_path",
    "from_official_crate",
    "from_official_crate_file",
    "from_timm_vit",
    "from_timm_vit_file",
    "from_timm_vit_pretrained",
    "load_model",
    "load_segmenter",
    "load_weights",
    "quantised",
    "read_card",
    "read_safetensors",
    "save_model",
]


_PICKLE = re.compile(rb"PK\x03\x04|\x80[\x02-\x05][^\x00]", re.DOTALL)
"""How a file of torch.save begins: a zip archive, or a bare pickle."""

_STEP = ".step"


@dataclass(frozen=True)
class ModelCard:
    """Where weights come from: everything needed to train them again and to judge them."""

    name: str
    config: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    commit: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    """Device, seconds, software."""
    origin: str = "trained by this project"
    licence: str = "same as the project's code"
    weights_sha256: str | None = None


def card_path(weights: Path | str) -> Path:
    """The card of a weights file: the same name with the ending ``.json``."""
    return Path(weights).with_suffix(".json")


def save_model(model: Backbone | DoViT, path: Path | str, card: ModelCard, *, dtype: torch.dtype | None = None) -> None:
    """Write weights (in ``dtype``, or as they are) and their card, both complete or neither.

    ``torch.int8`` keeps matrices as :func:`quantised` makes them, and everything else as it is.

    Raises: InputError if the folder cannot be written or the disk is full; what was there stays.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if dtype == torch.int8:
        state = quantised(state)
    elif dtype is not None:
        state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    content = save(state)
    digest = hashlib.sha256(content).hexdigest()
    document = {**asdict(card), "config": asdict(model.config), "weights_sha256": digest}
    with open_atomically(card_path(path)) as card_stream, open_atomically(path) as stream:
        card_stream.write((json.dumps(document, indent=2) + "\n").encode())
        card_stream.flush()  # both have their room on the disk before either takes its name
        stream.write(content)


def quantised(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every matrix in 8 bits: one step size per row, its largest magnitude divided by 127.

    Vectors (biases, norms) stay as they are.  The steps of ``name`` are stored beside it as ``name.step``, and
    :func:`read_safetensors` puts the two together again; a weight is then off by half a step at most.
    """
    stored = {}
    for name, tensor in state.items():
        if tensor.is_floating_point() and tensor.ndim >= 2:
            step = tensor.float().abs().amax(dim=-1, keepdim=True) / 127
            stored[name + _STEP] = step
            stored[name] = (tensor / step.clamp(min=torch.finfo(torch.float32).tiny)).round().to(torch.int8)
        else:
            stored[name] = tensor
    return stored


def read_card(weights: Path | str) -> ModelCard:
    """The card beside a weights file.  Raises: InputError if it is missing or not a card."""
    path = card_path(weights)
    try:
        return ModelCard(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: every weights file needs its model card beside it") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not a model card ({error}): write it with checkpoints.save_model") from error


def load_model(weights: Path | str, *, device: str = "cpu") -> tuple[Backbone, ModelCard]:
    """The model that a weights file and its card describe, in evaluation mode on ``device``, and the card.

    Raises: InputError if a file is missing, damaged, or not the one that the card was written for, or there is no such
    device.
    """
    card = read_card(weights)
    return _filled(Backbone(BackboneConfig.from_dict(card.config)), weights, card, device), card


def load_segmenter(weights: Path | str, *, device: str = "cpu") -> tuple[DoViT, ModelCard]:
    """The segmentation model that a weights file and its card describe, as :func:`load_model`."""
    card = read_card(weights)
    return _filled(DoViT(SegmenterConfig.from_dict(card.config)), weights, card, device), card


_Model = TypeVar("_Model", bound=nn.Module)


def _filled(model: _Model, weights: Path | str, card: ModelCard, device: str) -> _Model:
    device = choose_device(device)
    load_weights(model, weights)
    if card.weights_sha256 is not None and sha256(weights) != card.weights_sha256:
        raise InputError(f"{weights} is not the file its card describes (SHA-256 differs): restore both together")
    return model.eval().to(device)


def load_weights(model: nn.Module, weights: Path | str) -> None:
    """Fill ``model`` from a safetensors file, strictly.  Half precision is widened to the model's type.

    Raises: InputError for a missing or damaged file, a pickle, or tensors of other names or shapes.
    """
    load_strictly(model, read_safetensors(weights), source=str(weights))


def read_safetensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, those in 8 bits as the numbers that they stand for.

    Raises: InputError if it is missing, damaged, or another format.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is missing: check the path to the weights")
    try:
        stored = load_file(path)
    except SafetensorError as error:
        with path.open("rb") as stream:
            beginning = stream.read(4)
        if _PICKLE.match(beginning):
            raise InputError(
                f"{path} is a pickle, not safetensors: read an official CRATE file with "
                "wbcore.checkpoints.from_official_crate_file, a timm model with from_timm_vit"
            ) from error
        raise InputError(f"{path} is damaged or cut short ({error}): copy it again") from error
    return {
        name: tensor.float() * stored[name + _STEP] if name + _STEP in stored else tensor
        for name, tensor in stored.items()
        if not name.endswith(_STEP)
    }
