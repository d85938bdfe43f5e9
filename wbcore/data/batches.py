"""Training batches that depend on nothing but (seed, epoch, step): a resumed run sees what it would have seen."""

import functools
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

from wbcore.data.cutouts import Composer, SceneConfig, fingerprint, uniforms
from wbcore.data.example import Dataset
from wbcore.errors import InputError


@runtime_checkable
class Batches(Protocol):
    """Where a training loop gets its images from."""

    name: str
    num_classes: int
    num_examples: int
    """Examples of one epoch."""
    fingerprint: str

    def batch(self, epoch: int, positions: Sequence[int]) -> tuple[UInt8[Tensor, "b 3 s s"], Int[Tensor, "b"]]:
        """Images and labels at ``positions`` (0 … num_examples - 1) of an epoch."""
        ...


class CutoutBatches:
    """Cutouts scenes, new ones in every epoch; the label is the identity of the main object."""

    def __init__(
        self, *, size: int, num_examples: int = 30_000, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        config = SceneConfig(size=size)
        self._composer = Composer("train", config, seed=seed, device=device)
        self.name = f"cutouts-train-{size}px"
        self.num_classes = len(self._composer.identities)
        self.num_examples = num_examples
        self.fingerprint = fingerprint()

    def batch(self, epoch: int, positions: Sequence[int]) -> tuple[UInt8[Tensor, "b 3 s s"], Int[Tensor, "b"]]:
        scenes = self._composer([epoch * self.num_examples + position for position in positions])
        return scenes.images, scenes.labels


class PhotographBatches:
    """Photographs of a labelled data set: shuffled each epoch, randomly cropped and mirrored on the device.

    Every photograph is decoded once and kept in memory with its shorter side at ``size``·8/7 pixels or less, so this is
    for sets of some ten thousand images.  ``crop_scale`` is the share of the area that a crop keeps.
    Raises: InputError if the data set has no labels.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        size: int,
        crop_scale: tuple[float, float] = (0.35, 1.0),
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.fingerprint = f"{dataset.name}-{size}px", dataset.fingerprint
        self.num_examples, self.num_classes = len(dataset), len(dataset.classes)
        self._size, self._crop_scale, self._seed, self._device = size, crop_scale, seed, torch.device(device)
        self._images, labels = [], []
        for index in range(len(dataset)):
            example = dataset[index]
            if example.label is None:
                raise InputError(f"{example.name} of {dataset.name} has no label: choose a classification data set")
            self._images.append(_shrink(example.image, round(size * 8 / 7)))
            labels.append(example.label)
        self._labels = torch.tensor(labels, device=self._device)

    @functools.lru_cache(maxsize=1)  # noqa: B019 - one permutation, of the current epoch
    def _order(self, epoch: int) -> np.ndarray:
        return np.random.Generator(np.random.Philox(key=[self._seed, epoch])).permutation(self.num_examples)

    def batch(self, epoch: int, positions: Sequence[int]) -> tuple[UInt8[Tensor, "b 3 s s"], Int[Tensor, "b"]]:
        u = uniforms(self._seed + 1, [epoch * self.num_examples + position for position in positions], 4)
        chosen = self._order(epoch)[list(positions)]
        crops = [self._crop(self._images[index], row.tolist()) for index, row in zip(chosen, u, strict=True)]
        return torch.stack(crops), self._labels[torch.from_numpy(chosen).to(self._device)]

    def _crop(self, image: UInt8[Tensor, "3 h w"], u: list[float]) -> UInt8[Tensor, "3 s s"]:
        height, width = image.shape[-2:]
        low, high = self._crop_scale
        if (low, high) == (1.0, 1.0):
            side, top, left = min(height, width), (height - min(height, width)) // 2, (width - min(height, width)) // 2
        else:
            area = (low + u[0] * (high - low)) * height * width
            side = max(8, min(round(area**0.5), height, width))
            top, left = int(u[1] * (height - side + 1)), int(u[2] * (width - side + 1))
        crop = image[:, top : top + side, left : left + side].to(self._device)
        resized = F.interpolate(crop[None].float(), (self._size,) * 2, mode="bilinear", antialias=True)[0]
        resized = resized.flip(-1) if u[3] < 0.5 else resized
        return resized.round().clamp(0, 255).to(torch.uint8)


def _shrink(image: UInt8[np.ndarray, "h w 3"], shorter: int) -> UInt8[Tensor, "3 rows cols"]:
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    height, width = tensor.shape[-2:]
    scale = shorter / min(height, width)
    if scale >= 1:
        return tensor
    size = (round(height * scale), round(width * scale))
    resized = F.interpolate(tensor[None].float(), size, mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)
