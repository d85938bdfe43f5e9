"""A test double: a ViT with outlier tokens planted by construction.  For tests only; no result ever comes from it.

The patches at ``PLACES`` carry a mark in a channel of their own.  In layer ``LAYER`` one unit of the MLP, ``UNIT``,
fires at the mark and writes a long vector; a second one, ``MINOR``, fires there too and writes nothing.
"""

import torch

from wbcore.models import Backbone, BackboneConfig

GRID, PLACES = (5, 7), (0, 11, 29)
LAYER, UNIT, MINOR = 1, 13, 5
CONFIG = BackboneConfig(
    image_size=(15, 21),
    patch_size=3,
    dim=22,
    depth=3,
    heads=2,
    num_classes=7,
    attention="mhsa",
    feedforward="mlp",
    patch_embedding="plain",
    position_std=0.02,
)
_MARK, _LONG = 3, 19  # channels
LENGTH = 400.0
"""About the norm of a planted outlier; the other tokens are shorter than 10."""


def planted(config: BackboneConfig = CONFIG) -> Backbone:
    torch.manual_seed(0)
    model = Backbone(config).eval()
    marked = torch.tensor(PLACES) + (config.position_embedding == "with_class")
    mlp = model.blocks[LAYER].feedforward
    with torch.no_grad():
        for weight in (model.patch_embedding.weight, model.patch_embedding.bias, model.position):
            (weight.select(-1, _MARK) if weight is model.position else weight[_MARK]).zero_()
        model.position[:, marked, _MARK] = 8.0
        for block in model.blocks:  # attention neither reads the mark nor writes it
            block.attention.qkv.weight[:, _MARK] = 0
            block.attention.output.weight[_MARK] = 0
        for unit, gain in ((UNIT, 5.0), (MINOR, 2.0)):
            mlp.expand.weight[unit] = 0
            mlp.expand.weight[unit, _MARK] = gain
            mlp.expand.bias[unit] = -2 * gain  # the mark is about 4 after LayerNorm, any other value below 1
        mlp.contract.weight[:, MINOR] = 0
        mlp.contract.weight[:, UNIT] = 0
        mlp.contract.weight[_LONG, UNIT] = LENGTH / (2 * 5.0)
    return model


def photographs(batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 3, *CONFIG.size, generator=torch.Generator().manual_seed(1))
