"""What tokens hold of the whole image: classification from frozen features by logistic regression and by neighbours.

Features are one row an image: the class token, a register, or one patch chosen at random (:func:`one_token`).  Give
them after the final LayerNorm, as a head would see them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from wbcore.errors import InputError

OFFICIAL_STRENGTHS = tuple(10 ** np.linspace(-6, 5, 45))
"""The inverse penalties that DINOv2's code tries, for :func:`fit_linear`."""

_VALIDATION_SHARE = 0.1
_MAX_STEPS = 1000


def one_token(
    tokens: Float[Tensor, "b n d"], where: Bool[Tensor, "b n"], *, generator: torch.Generator
) -> tuple[Float[Tensor, "m d"], Int[Tensor, "m"]]:
    """One token of each image, drawn evenly from those ``where`` marks, and the numbers of the images that have one.

    Source: Registers, section 2.2, "artifacts hold global information".
    """
    draw = torch.rand(where.shape, generator=generator).to(where.device)
    chosen = draw.masked_fill(~where, -1.0).argmax(dim=-1)
    images = where.any(dim=-1).nonzero().squeeze(1)
    return tokens[images, chosen[images]], images


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier of features; ``strength`` is the inverse penalty that it was fitted with."""

    pipeline: Any
    strength: float

    @property
    def classes(self) -> Int[Tensor, "c"]:
        """The labels it knows, ascending."""
        return torch.from_numpy(self.pipeline.classes_).long()

    def logits(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """One number a class, up to a constant: their differences are the log odds."""
        scores = torch.from_numpy(self.pipeline.decision_function(_array(features))).float()
        return torch.stack([-scores / 2, scores / 2], dim=1) if scores.dim() == 1 else scores

    def predict(self, features: Float[Tensor, "m d"]) -> Int[Tensor, "m"]:
        """The most probable label of each row."""
        return self.classes[self.logits(features).argmax(dim=1)]


def fit_linear(
    features: Float[Tensor, "m d"], labels: Int[Tensor, "_m"], *, strengths: Sequence[float] = (1.0,), seed: int = 0
) -> LinearProbe:
    """Multinomial logistic regression with an L2 penalty, on features scaled to mean 0 and deviation 1.

    A strength is the inverse C of the penalty.  Of several the one that classifies a tenth of the training data best
    is taken, the smallest of equal ones, and fitted again to all; ``seed`` draws that tenth, each class in proportion.

    Source: Registers, section 2.2; DINOv2's code, ``log_regression.py``, whose C are :data:`OFFICIAL_STRENGTHS`.
    Deviates: features are scaled, so that one C serves several models; the tenth is ours.
    Raises: InputError if features or labels do not fit, there is only one class, or, for a choice of strength, a class
    has one example.
    """
    _check(features, labels)
    if not strengths or min(strengths) <= 0:
        raise InputError(f"strengths={tuple(strengths)}: give one or more positive numbers, such as (1.0,)")
    rows, classes = _array(features), labels.cpu().numpy()
    chosen = sorted(strengths)[0]
    if len(strengths) > 1:
        _, counts = np.unique(classes, return_counts=True)
        held = max(round(_VALIDATION_SHARE * len(classes)), len(counts))
        if counts.min() < 2 or len(classes) - held < len(counts):
            raise InputError(f"{len(classes)} examples are too few to choose a strength: give one, or 2 of each class")
        parts = train_test_split(rows, classes, test_size=held, stratify=classes, random_state=seed)
        x, x_held, y, y_held = (np.asarray(part) for part in parts)
        chosen = max(sorted(strengths), key=lambda strength: _fit(x, y, strength).score(x_held, y_held))
    return LinearProbe(_fit(rows, classes, chosen), chosen)


def _fit(rows: np.ndarray, labels: np.ndarray, strength: float) -> Any:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_MAX_STEPS))
    return model.fit(rows, labels)


def k_nearest(
    features: Float[Tensor, "m d"],
    labels: Int[Tensor, "_m"],
    queries: Float[Tensor, "q d"],
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> Int[Tensor, "q"]:
    """The label of each query by a vote of its ``k`` nearest features, each weighted ``exp(cosine / temperature)``.

    Of equal votes the smallest label wins.

    Source: Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination (2018), section 3.4;
    as DINO and DINOv2 evaluate.
    Raises: InputError if features or labels do not fit, there is only one class, or ``k`` is not from 1 to ``m``.
    """
    _check(features, labels)
    if not 1 <= k <= len(features):
        raise InputError(f"k={k}: there are {len(features)} neighbours, give a number from 1 to that")

    def vote(distances: np.ndarray) -> np.ndarray:
        return np.exp((1 - distances) / temperature)

    weights: Any = vote  # a function is documented, the inferred type is that of the default
    voters = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights)
    return torch.from_numpy(voters.fit(_array(features), labels.cpu().numpy()).predict(_array(queries)))


def hits(predicted: Int[Tensor, "m"], labels: Int[Tensor, "m"], *, known: Int[Tensor, "k"]) -> Float[Tensor, "m"]:
    """One for each right prediction, zero for each wrong one; top-1 is their mean.

    ``known`` are the labels of the training data.
    Raises: InputError if a label is not among them, so that no prediction could have been right.
    """
    if len(strange := labels[~torch.isin(labels, known)]):
        raise InputError(
            f"label {int(strange[0])} never occurs in the training data: add images of it, or leave it out of the test"
        )
    return (predicted == labels).float()


def _array(features: Tensor) -> Float[np.ndarray, "m d"]:
    return features.detach().double().cpu().numpy()


def _check(features: Tensor, labels: Tensor) -> None:
    if len(features) != len(labels):
        raise InputError(f"{len(features)} features and {len(labels)} labels: give one label for each row")
    if not features.isfinite().all():
        raise InputError("features hold NaN or infinite values: check the model and its input")
    if len(found := labels.unique()) < 2:
        raise InputError(f"{len(found)} class in the training data: a probe needs at least two")
