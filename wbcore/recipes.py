"""Training recipes: the lab's, and the papers', each with its source."""

import difflib
from dataclasses import dataclass
from typing import Literal

from wbcore.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.  The learning rate rises linearly over the warm-up and falls as half a cosine."""

    epochs: int
    batch_size: int
    """Images per step over all devices."""
    optimizer: Literal["adamw", "lion"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    decay_all: bool = False
    """Also decay biases, norms and embeddings, as plain optimisers do."""
    warmup_epochs: float = 0.5
    label_smoothing: float = 0.0
    clip_norm: float | None = 1.0
    ema_decay: float | None = None
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    compile: bool = False
    crop_scale: tuple[float, float] = (0.35, 1.0)
    """Share of a photograph's area in a random training crop; (1, 1) is the central crop."""


RECIPES: dict[str, Recipe] = {
    # Two cores: the size of model and data for which five variants fit into a few hours.
    "lab": Recipe(epochs=6, batch_size=64, learning_rate=1e-3, label_smoothing=0.1),
    # One GPU: depth 12 at 128 px.
    "lab12": Recipe(
        epochs=80, batch_size=512, learning_rate=2e-3, warmup_epochs=5.0, label_smoothing=0.1, compile=True
    ),
    # CRATE, appendix C.1: ImageNet-21k, resize + centre crop + flip.
    "crate_in21k": Recipe(
        epochs=90,
        batch_size=4096,
        optimizer="lion",
        learning_rate=9.6e-5,
        weight_decay=0.05,
        decay_all=True,
        warmup_epochs=20.0,
        clip_norm=None,
        crop_scale=(1.0, 1.0),
    ),
    # Official repository's README, CRATE-Tiny on ImageNet-1k.
    "crate_in1k": Recipe(
        epochs=200,
        batch_size=512,
        optimizer="lion",
        learning_rate=2e-4,
        weight_decay=0.05,
        decay_all=True,
        warmup_epochs=20.0,
        label_smoothing=0.1,
        clip_norm=None,
        crop_scale=(0.08, 1.0),
    ),
    # CRATE, appendix C.2 (epochs: official README); 128 images a step for base models.
    "crate_finetune": Recipe(
        epochs=200,
        batch_size=256,
        learning_rate=5e-5,
        weight_decay=0.01,
        decay_all=True,
        warmup_epochs=20.0,
        clip_norm=None,
        crop_scale=(0.08, 1.0),
    ),
}


def recipe(name: str) -> Recipe:
    """A recipe by name.  Raises: InputError for an unknown name, with the nearest known ones."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.3) or list(RECIPES)
        raise InputError(f"unknown recipe {name!r}: did you mean {', '.join(near)}?")
    return RECIPES[name]
