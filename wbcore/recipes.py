"""Training recipes: the lab's, and the papers', each with its source."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from wbcore.errors import InputError


def _whole(value: Any, low: int = 1, high: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(value: Any, low: float = 0.0, high: float = math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and value < math.inf


def _pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


_TINY = 1e-12
_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": (_whole, "a whole number from 1"),
    "batch_size": (_whole, "a whole number from 1"),
    "optimizer": (lambda x: x in ("adamw", "lion", "sgd"), "adamw, lion or sgd"),
    "learning_rate": (lambda x: _number(x, _TINY), "a number above 0"),
    "least_learning_rate": (_number, "a number from 0"),
    "schedule": (lambda x: x in ("cosine", "poly"), "cosine or poly"),
    "power": (lambda x: _number(x, _TINY), "a number above 0"),
    "head_scale": (lambda x: _number(x, _TINY), "a number above 0"),
    "weight_decay": (_number, "a number from 0"),
    "decay_all": (lambda x: isinstance(x, bool), "true or false"),
    "warmup_epochs": (_number, "a number from 0"),
    "label_smoothing": (lambda x: _number(x) and x < 1, "a number from 0 and below 1"),
    "clip_norm": (lambda x: x is None or _number(x, _TINY), "a number above 0, or null for no clipping"),
    "ema_decay": (lambda x: x is None or (_number(x) and x < 1), "a number from 0 and below 1, or null for no average"),
    "precision": (lambda x: x in ("float32", "bfloat16"), "float32 or bfloat16"),
    "compile": (lambda x: isinstance(x, bool), "true or false"),
    "crop_scale": (
        lambda x: _pair(x) and _number(x[0], _TINY, 1) and _number(x[1], x[0], 1),
        "two shares above 0 and up to 1, the smaller first, such as [0.35, 1]",
    ),
    "rand_augment": (
        lambda x: x is None or (_pair(x) and _whole(x[0]) and _whole(x[1], 0, 30)),
        "a number of operations and a magnitude of 0 to 30, such as [2, 14], or null for none",
    ),
}


def require_allowed(field: str, value: Any) -> None:
    """Raises: InputError if a recipe's ``field`` cannot have ``value``."""
    allowed, wanted = _ALLOWED[field]
    if not allowed(value):
        raise InputError(f"recipe field {field}={value!r}: give {wanted}")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.  The learning rate rises linearly over the warm-up and falls by the schedule.

    Raises: InputError for a value that a field cannot have.
    """

    epochs: int
    batch_size: int
    """Images per step over all devices."""
    optimizer: Literal["adamw", "lion", "sgd"] = "adamw"
    """``sgd`` has a momentum of 0.9."""
    learning_rate: float = 1e-3
    least_learning_rate: float = 0.0
    """Where the schedule ends."""
    schedule: Literal["cosine", "poly"] = "cosine"
    """Half a cosine, or ``poly``: the share of the steps that are left, to the ``power``."""
    power: float = 0.9
    head_scale: float = 1.0
    """How much faster probes and decoder of a segmentation model learn than its backbone."""
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
    rand_augment: tuple[int, int] | None = None
    """RandAugment of photographs: number of operations, and magnitude of 0 … 30."""

    def __post_init__(self) -> None:
        for name in _ALLOWED:
            require_allowed(name, getattr(self, name))


_SCENES = Recipe(
    epochs=2,
    batch_size=16,
    learning_rate=1e-3,
    head_scale=2.0,
    weight_decay=0.01,
    schedule="poly",
    warmup_epochs=0.1,
)
# DoViT, section 4.1.2, and the official configurations: SETR on Cityscapes, 80,000 steps of 8 crops of 768 pixels.
_SETR = Recipe(
    epochs=216,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.01,
    least_learning_rate=1e-4,
    schedule="poly",
    weight_decay=0.0,
    warmup_epochs=0.0,
    head_scale=10.0,
    clip_norm=None,
)

RECIPES: dict[str, Recipe] = {
    # Two cores: the size of model and data for which five variants fit into a few hours.
    "lab": Recipe(epochs=6, batch_size=64, learning_rate=1e-3, label_smoothing=0.1),
    # The same number of images from 9,469 photographs (Imagenette).
    "lab_photographs": Recipe(epochs=19, batch_size=64, learning_rate=1e-3, warmup_epochs=1.5, label_smoothing=0.1),
    # CRATE, appendix C.2, for minutes on one core (crate_finetune below is the paper's own).  In so few epochs nothing
    # is learned by heart, so there is no RandAugment; steps are larger, and no crop is 8 % of 32 px.
    **{
        f"lab_finetune_{data}": Recipe(
            epochs=epochs, batch_size=64, learning_rate=1e-3, weight_decay=0.01, warmup_epochs=epochs / 12
        )
        for data, epochs in (("cifar10", 1), ("cutouts", 3))
    },
    # One GPU: depth 12 at 128 px.
    "lab12": Recipe(
        epochs=80, batch_size=512, learning_rate=2e-3, warmup_epochs=5.0, label_smoothing=0.1, compile=True
    ),
    # DoViT on two cores: a dense model of street scenes, and a third as long for what goes on from it.
    "camvid": Recipe(epochs=30, batch_size=8, learning_rate=4e-4, head_scale=3.0, weight_decay=0.01, schedule="poly"),
    "camvid_policy": Recipe(
        epochs=10, batch_size=8, learning_rate=2e-4, head_scale=3.0, weight_decay=0.01, schedule="poly"
    ),
    # The same on one GPU at twice the size.
    "camvid_gpu": Recipe(
        epochs=60, batch_size=8, learning_rate=4e-4, head_scale=3.0, weight_decay=0.01, schedule="poly"
    ),
    "camvid_gpu_policy": Recipe(
        epochs=20, batch_size=8, learning_rate=2e-4, head_scale=3.0, weight_decay=0.01, schedule="poly"
    ),
    # The same on composed scenes, 6,400 of them an epoch.
    "scenes": _SCENES,
    "scenes_policy": replace(_SCENES, epochs=1, learning_rate=5e-4),
    "dovit_cityscapes": _SETR,
    # The same on ADE20K: 160,000 steps of 16 crops of 512 pixels.
    "dovit_ade20k": replace(_SETR, epochs=127, batch_size=16, head_scale=1.0),
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
    # CRATE, appendix C.2 (epochs: official README; augmentation: official code); 128 images a step for base models.
    "crate_finetune": Recipe(
        epochs=200,
        batch_size=256,
        learning_rate=5e-5,
        weight_decay=0.01,
        decay_all=True,
        warmup_epochs=20.0,
        clip_norm=None,
        crop_scale=(0.08, 1.0),
        rand_augment=(2, 14),
    ),
}


def recipe(name: str) -> Recipe:
    """A recipe by name.  Raises: InputError for an unknown name, with the nearest known ones."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.3) or list(RECIPES)
        raise InputError(f"unknown recipe {name!r}: did you mean {', '.join(near)}?")
    return RECIPES[name]
