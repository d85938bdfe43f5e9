"""The networks that are compared with and without registers: a pretrained ViT, the same when cured, the lab's own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from wbcore.checkpoints import load_model
from wbcore.evaluate import Measurement
from wbcore.files import sha256
from wbcore.measuring.components import untrained_model
from wbcore.models import Backbone
from wbcore.recording.cells import Place
from wbcore.recording.networks import CURED, PRETRAINED, cured, first_runs, fix, moved, pretrained_at_hand
from wbcore.records import Origin
from wbcore.segmentation_study import pretrained_backbone

LAB = ("vit", "vit_reg4", "crate", "crate_reg4")
"""Each beside the same with four registers that were trained along."""
UNTRAINED = ("vit", "crate")
FIXED_ON = 100
"""Photographs of COCO-200's training split on which the outliers' threshold and the register neuron are fixed."""


@dataclass(frozen=True)
class Loaded:
    """A network in evaluation mode on its device, with what records say of it."""

    model: Backbone
    seed: int | None = None
    weights_sha256: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def origin(self, name: str, data: str, command: str, **settings: Any) -> Origin:
        """What its records on some data say; ``settings`` are said besides its own."""
        return Origin(name, data, command, self.seed, self.weights_sha256, settings | self.settings)


class Network(NamedTuple):
    """A network that is loaded when it is needed."""

    name: str
    seed: int | None
    load: Callable[[], Loaded]


def register_networks(place: Place) -> Iterator[Network]:
    """Those that are at hand: the lab's where they are trained, the pretrained ones where ``data_root`` has them."""
    trained = {variant: weights for variant, _, weights in first_runs(place, "table2", "registers")}
    for name in LAB:
        if name in trained:
            yield Network(name, 0, partial(_lab, trained[name], place.device))
    for name in UNTRAINED:
        yield Network(f"untrained_{name}", 0, partial(_untrained, f"{name}_lab_patch8_72", place.device))
    if pretrained_at_hand(place):
        for name in (PRETRAINED, CURED):
            yield Network(name, None, partial(_pretrained, name, place))


def _lab(weights: Path, device: str) -> Loaded:
    return Loaded(load_model(weights, device=device)[0], 0, sha256(weights))


def _untrained(model: str, device: str) -> Loaded:
    return Loaded(untrained_model(model).to(device).eval(), 0)


def _pretrained(name: str, place: Place) -> Loaded:
    model, origin = pretrained_backbone("vit_tiny", data_root=place.data_root)
    model, settings = model.to(place.device).eval(), {}
    if name == CURED:
        images = Measurement("coco200", "train", model.config.size[0], FIXED_ON).open(place.data_root)
        model, neurons = cured(model, images, fix(model, images))
        settings = {"register_fixed_on": images.name, "moved": moved(neurons)}
    return Loaded(model, None, origin["weights_sha256"], settings)
