"""Test-time registers: outliers moved out of the image in a model that was trained without registers.

A few units of the MLPs make the outliers.  A token of zeros joins the sequence as a register would, and what those
units say of the patches is said of it instead.  Nothing is trained.

Source: Jiang et al., Vision Transformers Don't Need Trained Registers (arXiv 2506.08010).
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wbcore.errors import InputError
from wbcore.models.backbone import Backbone
from wbcore.models.feedforward import MLP


class RegisterNeuron(NamedTuple):
    """A unit of a layer's MLP and how active it is at outliers."""

    layer: int
    unit: int
    activation: float


@torch.no_grad()
def find_register_neurons(
    model: Backbone, batches: Iterable[Float[Tensor, "_b c h w"]], *, threshold: float, top_layer: int, count: int
) -> list[RegisterNeuron]:
    """The ``count`` units of the layers up to ``top_layer`` (0-based) that are most active where outliers will be.

    Outliers are the patches whose norm after the last layer, before the final LayerNorm, exceeds ``threshold``.  A
    unit's activation is its mean magnitude over an image's outliers, and then over the images that have one;
    ``top_layer`` is the layer where outliers arise.  The most active unit comes first, so fewer are a slice.

    Source: Jiang et al., Algorithm 1; magnitudes, and the mean over images, as in their code.
    Raises: InputError if the model has no MLP or no such layer, or no image has an outlier, or ``count`` is not from 1
    to the number of units.
    """
    mlps = _mlps(model)
    if not 0 <= top_layer < len(mlps):
        raise InputError(f"top_layer={top_layer}: the model has the layers 0 to {len(mlps) - 1}")
    units = mlps[0].expand.out_features
    if not 1 <= count <= (top_layer + 1) * units:
        raise InputError(f"count={count}: layers 0 to {top_layer} have {(top_layer + 1) * units} units, choose fewer")
    wanted = {"tokens_after_attention": range(top_layer + 1), "tokens": (-1,)}
    total, images = torch.zeros(top_layer + 1, units, device=model.position.device), 0
    for batch in batches:
        layout, taps = model.layout(batch), model.taps(batch, wanted)
        outlier = (layout.patches(taps["tokens"][-1]).norm(dim=-1) > threshold).float()
        number = outlier.sum(dim=-1, keepdim=True)
        weight = outlier / number.clamp(min=1)
        images += int(number.count_nonzero())
        for layer, tokens in taps["tokens_after_attention"].items():
            total[layer] += torch.einsum("bn,bnu->u", weight, mlps[layer].hidden(layout.patches(tokens)).abs())
    if not images:
        raise InputError(f"no patch of any image has a norm above {threshold}: lower the threshold or give more images")
    best = (total / images).flatten().sort(descending=True, stable=True)
    return [
        RegisterNeuron(*divmod(int(index), units), float(value))
        for value, index in zip(best.values[:count], best.indices[:count], strict=True)
    ]


def with_test_time_register(model: Backbone, neurons: Sequence[RegisterNeuron]) -> Backbone:
    """A copy of a model with one more register, into which the activity of ``neurons`` is moved.

    The register starts as zeros, after the registers that the model may have.  Each neuron has there the largest
    activation that it has at any token, and zero at all other tokens.  Nothing else is changed, and no weight.

    Source: Jiang et al., section 4.
    Deviates: none from the text; their code leaves the class token's own activations as they are.
    Raises: InputError if the model has no MLP, no such neuron, or the largest number of registers.
    """
    mlps = _mlps(model)
    for layer, unit, _ in neurons:
        if not (0 <= layer < len(mlps) and 0 <= unit < mlps[layer].expand.out_features):
            raise InputError(f"the model has no unit {unit} in layer {layer}: find the neurons of this model")
    edited = copy.deepcopy(model)
    edited.config = replace(model.config, num_registers=model.config.num_registers + 1)
    edited.registers = nn.Parameter(torch.cat([model.registers, torch.zeros_like(model.class_token)], dim=1).detach())
    register = edited.config.num_prefix - 1
    for layer, here in groupby(sorted(neurons), key=lambda neuron: neuron.layer):
        block = edited.blocks[layer]
        units = [neuron.unit for neuron in here]
        block.add_module("feedforward", MovedActivity(cast(MLP, block.feedforward), units, register))
    return edited


class MovedActivity(nn.Module):
    """An MLP some of whose units are active at one token alone, and as active there as at any token before."""

    def __init__(self, mlp: MLP, units: Sequence[int], register: int) -> None:
        super().__init__()
        self.mlp, self.units, self.register = mlp, list(units), register

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        hidden = self.mlp.hidden(tokens)
        largest = hidden[..., self.units].amax(dim=1)
        hidden[..., self.units] = 0
        hidden[:, self.register, self.units] = largest
        return self.mlp.contract(hidden)


def _mlps(model: Backbone) -> list[MLP]:
    """The MLP of every layer.  Raises: InputError if there is a layer without one."""
    parts = [block.feedforward for block in model.blocks]
    if not all(isinstance(part, MLP) for part in parts):
        raise InputError(
            f"the layers of this model are {type(parts[0]).__name__}: register neurons are units of an MLP, "
            "give a model with feedforward='mlp' that has no test-time register yet"
        )
    return cast(list[MLP], parts)
