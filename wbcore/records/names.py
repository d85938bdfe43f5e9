"""What the names of models say: which layer of which model, which way of segmenting."""

import re
from typing import NamedTuple


class Step(NamedTuple):
    """Which layer, epoch or further training run of a model was measured."""

    model: str
    kind: str = ""
    """``layer``, ``epoch`` or ``seed``; empty for a model as a whole."""
    number: int = 0
    """From 1."""


def step_of(name: str) -> Step:
    """What a record's ``model`` names: ``crate_layer3`` is layer 3 of ``crate``."""
    found = re.fullmatch(r"(.+)_(layer|epoch|seed)(\d+)", name)
    return Step(found[1], found[2], int(found[3])) if found else Step(name)


class SegmenterName(NamedTuple):
    """What a record's ``model`` says of a segmentation model."""

    decoder: str
    backbone: str
    variant: str
    """``dense``, ``dovit``, ``dyvit``, ``tome``, or what is left out of DoViT: ``nomerge``, ``nodistil``, ``plain``."""
    setting: str = ""
    """With what it was run: ``xi950`` (ξ = 0.95), ``70`` (ρ = 0.7), ``50`` (half of the patches merged), or
    ``untuned``, dense weights with DoViT's decisions."""


_SEGMENTER = re.compile(
    r"(?P<decoder>setr|segmenter)_(?P<backbone>.+)_"
    r"(?:dense_(?P<tome>tome)|(?P<variant>dense|dovit|dyvit|nomerge|nodistil|plain))_?(?P<setting>[a-z]*\d*)"
)


def segmenter_of(model: str) -> SegmenterName | None:
    """What a record's ``model`` names, if it is a segmentation model: ``setr_vit_tiny_dovit_xi950``.

    A further training run of one (``…_seed1``) is none: it stands behind the first (:func:`wbcore.records.runs_of`).
    """
    found = _SEGMENTER.fullmatch(model) if step_of(model).kind != "seed" else None
    if found is None:
        return None
    return SegmenterName(found["decoder"], found["backbone"], found["tome"] or found["variant"], found["setting"])
