"""Features to cut: synthetic ones, a random network's on drawn images, trained networks' on photographs."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from wbcore._compat import import_timm
from wbcore.checkpoints import load_model
from wbcore.files import DATA


def blobs(seed: int, grid: tuple[int, int], *, dim: int = 384, count: int = 4, noise: float = 1.0) -> Tensor:
    """Features [n, d] of discs on a background, one random direction each, under Gaussian noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = _discs(generator, grid, count)
    directions = torch.randn(count + 1, dim, generator=generator)
    return directions[labels.flatten()] + noise * torch.randn(math.prod(grid), dim, generator=generator)


def random_network(seed: int, grid: tuple[int, int], *, dim: int = 384) -> Tensor:
    """Features [n, d], less their mean, that two layers of random convolutions see in a drawing of coloured discs."""
    generator = torch.Generator().manual_seed(seed)
    size = (8 * grid[0], 8 * grid[1])
    colours = torch.rand(6, 3, generator=generator)
    image = colours[_discs(generator, size, 5)].permute(2, 0, 1) + 0.2 * torch.rand(3, *size, generator=generator)
    hidden = F.conv2d(image[None], torch.randn(32, 3, 7, 7, generator=generator), stride=2, padding=3).relu()
    tokens = F.conv2d(hidden, torch.randn(dim, 32, 4, 4, generator=generator), stride=4).flatten(2)[0].T
    return tokens - tokens.mean(dim=0)


def _discs(generator: torch.Generator, size: tuple[int, int], count: int) -> Tensor:
    """An image of numbers: 0 outside all discs, else that of the last drawn."""
    row, col = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    labels = torch.zeros(size, dtype=torch.long)
    for number in range(1, count + 1):
        y, x, radius = torch.rand(3, generator=generator).tolist()
        inside = (row - y * size[0]) ** 2 + (col - x * size[1]) ** 2 < (min(size) * (0.1 + 0.2 * radius)) ** 2
        labels[inside] = number
    return labels


class TrainedCrate:
    """The segmentation features of the CRATE that the project trained and ships."""

    def __init__(self) -> None:
        self.model, _ = load_model(DATA / "weights" / "crate_lab_patch8_72.safetensors")

    @torch.no_grad()
    def __call__(self, photograph: np.ndarray, grid: tuple[int, int]) -> Tensor:
        """Features [n, d] of a photograph [h, w, 3] resized to 8 pixels a patch."""
        size = (8 * grid[1], 8 * grid[0])
        resized = Image.fromarray(photograph).resize(size, Image.Resampling.LANCZOS)
        image = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None]
        taps = self.model.taps(self.model.normalise(image), {"segmentation_feature": (-1,)})
        return self.model.layout(image).patches(taps["segmentation_feature"][-1])[0].clone()


class PretrainedKeys:
    """The keys of the last block of a ViT-Ti/16 of 224 px, its weights under timm's names in a file."""

    def __init__(self, weights: Path):
        self.model = import_timm().create_model("vit_tiny_patch16_224", dynamic_img_size=True).eval()
        self.model.load_state_dict(torch.load(weights, weights_only=True))

    @torch.no_grad()
    def __call__(self, photograph: Path, grid: tuple[int, int]) -> Tensor:
        """Features [n, d] of a photograph resized to 16 pixels a patch, position embedding interpolated."""
        with Image.open(photograph) as image:
            resized = image.convert("RGB").resize((16 * grid[1], 16 * grid[0]), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.asarray(resized) / np.float32(127.5) - 1).permute(2, 0, 1)[None]
        captured = []
        hook = self.model.blocks[-1].attn.qkv.register_forward_hook(lambda *call: captured.append(call[-1]))
        self.model.forward_features(pixels)
        hook.remove()
        return captured[0].chunk(3, dim=-1)[1][0, 1:].clone()
