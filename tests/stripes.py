"""Images with the class of every pixel and a segmentation model, small enough to check by hand."""

import numpy as np
import torch

from wbcore.data.example import VOID, Example
from wbcore.models.backbone import BackboneConfig
from wbcore.models.dovit import DoViT, SegmenterConfig

CLASSES = 5


class Stripes:
    """Images of odd sizes; the class of a pixel is how bright its column is."""

    name, classes, fingerprint = "stripes", tuple("abcde"), "7" * 64

    def __init__(self, count: int = 3, *, annotated: bool = True) -> None:
        self.count, self.annotated = count, annotated

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        semantic = (np.arange(19) * CLASSES // 19).astype(np.uint8)[None].repeat(13, axis=0)
        image = (semantic[..., None] * 40 + 7 * index).repeat(3, axis=-1).astype(np.uint8)
        semantic[0] = VOID
        return Example(name=f"stripes/{index}", image=image, semantic=semantic if self.annotated else None)


def stripes_model() -> DoViT:
    """Four layers, a decision after each but the last, patches of 4: 13 × 19 pixels are 4 × 5 patches."""
    torch.manual_seed(0)
    backbone = BackboneConfig(image_size=16, patch_size=4, dim=12, depth=4, heads=3, attention="mhsa")
    network = DoViT(SegmenterConfig(backbone, CLASSES, decisions=(1, 2, 3))).eval()
    for probe in network.probes:
        torch.nn.init.normal_(probe.classify.weight, std=1.0)
    return network
