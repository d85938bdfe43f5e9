"""Training batches that depend on nothing but (seed, epoch, step): a resumed run sees what it would have seen."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, Integer, UInt8
from PIL import Image
from torch import Tensor
from torch.utils import data as loading

from wbcore._compat import import_timm
from wbcore.data.cutouts import Composer, SceneConfig, Scenes
from wbcore.data.example import Dataset, Example
from wbcore.data.shuffling import KEEP_BYTES, ShuffledExamples
from wbcore.errors import InputError


@runtime_checkable
class Batches(Protocol):
    """Where a training loop gets its images from."""

    name: str
    num_classes: int
    num_examples: int
    """Examples of one epoch."""
    fingerprint: str
    workers: int
    """Processes that should make batches ahead (:func:`stream`)."""

    def batch(
        self, epoch: int, positions: Sequence[int]
    ) -> tuple[UInt8[Tensor, "b 3 h w"], Integer[Tensor, "b *pixels"]]:
        """Images and labels, of each image or each pixel, at ``positions`` (0 … num_examples - 1) of an epoch."""
        ...


def stream(batches: Batches, schedule: Iterable[tuple[int, range]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of ``schedule``, pairs of an epoch and positions, in order, as many processes as they may make them.

    Raises: InputError, as it was raised in the process that made the batch.
    """
    loader = loading.DataLoader(
        _Answers(batches),
        batch_size=None,  # a worker makes a whole batch
        sampler=schedule,
        num_workers=batches.workers,
        pin_memory=batches.workers > 0 and torch.cuda.is_available(),
        generator=torch.Generator(),  # starting a loader must not draw from the generator that training draws from
    )
    for answer in loader:
        if isinstance(answer, InputError):
            raise answer
        images, labels = answer
        yield images, labels


class _Answers(loading.Dataset):
    """Batches as DataLoader wants them.  An InputError is handed over, since DataLoader would rewrite its message."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, place: tuple[int, range]) -> tuple[Tensor, Tensor] | InputError:
        try:
            return self._batches.batch(*place)
        except InputError as error:
            return error


class CutoutBatches:
    """Cutouts scenes, new ones in every epoch; the label is the identity of the main object."""

    workers = 0  # composed on the device, faster than any model learns from them
    _composer_type: type[Composer] = Composer

    def __init__(
        self,
        split: str = "train",
        *,
        size: int,
        num_examples: int = 30_000,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        config = SceneConfig(**{"size": size, **self._composer_type.look})  # pyright: ignore[reportArgumentType]
        self._composer = self._composer_type(split, config, seed=seed, device=device)
        self.name = f"{self._composer.name}-{split}-{size}px"
        self.num_classes = len(self._composer.identities)
        self.num_examples = num_examples
        self.fingerprint = self._composer.fingerprint()

    def batch(self, epoch: int, positions: Sequence[int]) -> tuple[UInt8[Tensor, "b 3 s s"], Int[Tensor, "b"]]:
        scenes = self._scenes(epoch, positions)
        return scenes.images, scenes.labels

    def _scenes(self, epoch: int, positions: Sequence[int]) -> Scenes:
        return self._composer([epoch * self.num_examples + position for position in positions])


class PhotographBatches:
    """Photographs of a labelled data set: shuffled each epoch, randomly cropped, resized and mirrored.

    ``crop_scale`` is the share of the area that a crop keeps; (1, 1) is the central square.  ``rand_augment`` adds
    RandAugment (Cubuk et al., 2020): number of operations, and magnitude of 0 … 30.
    A set that fits into ``keep_bytes`` when decoded is decoded once, with the same result.
    Raises: InputError if the data set has no labels, or a photograph cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        size: int,
        crop_scale: tuple[float, float] = (0.35, 1.0),
        rand_augment: tuple[int, int] | None = None,
        seed: int = 0,
        workers: int = 0,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self.name, self.fingerprint = f"{dataset.name}-{size}px", dataset.fingerprint
        self.num_examples, self.num_classes = len(dataset), len(dataset.classes)
        self.workers = workers
        self._size, self._crop_scale = size, crop_scale
        self._augment = None if rand_augment is None else _rand_augment(*rand_augment)
        require = functools.partial(_require_label, dataset.name)
        self._examples = ShuffledExamples(dataset, require, seed=seed, keep_bytes=keep_bytes)

    def batch(self, epoch: int, positions: Sequence[int]) -> tuple[UInt8[Tensor, "b 3 s s"], Int[Tensor, "b"]]:
        examples, u = zip(*self._examples.draw(epoch, positions, 6), strict=True)
        images = [self._view(example.image, row) for example, row in zip(examples, u, strict=True)]
        return torch.stack(images), torch.tensor([example.label for example in examples])

    def _view(self, image: UInt8[np.ndarray, "h w 3"], u: list[float]) -> UInt8[Tensor, "3 s s"]:
        view = resized_crop(image, crop_box(image.shape[0], image.shape[1], u[:4], self._crop_scale), self._size)
        view = view.flip(-1) if u[4] < 0.5 else view
        if self._augment is None:
            return view.contiguous()
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.manual_seed(int(u[5] * 2**24))
            augmented = self._augment(Image.fromarray(view.permute(1, 2, 0).numpy()))  # faster than on tensors
        return torch.from_numpy(np.array(augmented)).permute(2, 0, 1)


def crop_box(height: int, width: int, u: Sequence[float], scale: tuple[float, float]) -> tuple[int, int, int, int]:
    """(top, left, rows, cols) of a random crop, from four uniform numbers: area, aspect, and the two places.

    Source: torchvision's RandomResizedCrop: the area's share lies in ``scale``, the aspect in 3:4 … 4:3.
    Deviates: a box that sticks out is cut off, not drawn again; ``scale=(1, 1)`` is the central square.
    """
    if scale == (1.0, 1.0):
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side
    area = (scale[0] + u[0] * (scale[1] - scale[0])) * height * width
    aspect = (3 / 4) ** (1 - 2 * u[1])
    rows = min(max(1, round((area / aspect) ** 0.5)), height)
    cols = min(max(1, round((area * aspect) ** 0.5)), width)
    return int(u[2] * (height - rows + 1)), int(u[3] * (width - cols + 1)), rows, cols


def resized_crop(
    image: UInt8[np.ndarray, "h w 3"], box: tuple[int, int, int, int], size: int
) -> UInt8[Tensor, "3 s s"]:
    """The part (top, left, rows, cols) of an image as a square of ``size`` pixels (bilinear with antialiasing)."""
    top, left, rows, cols = box
    crop = torch.from_numpy(image[top : top + rows, left : left + cols].copy()).permute(2, 0, 1)
    return F.interpolate(crop[None], (size, size), mode="bilinear", antialias=True)[0]


def _rand_augment(operations: int, magnitude: int) -> Callable[[Image.Image], Image.Image]:
    import_timm()  # makes torchvision importable beside any build of torch
    from torchvision.transforms import RandAugment

    return RandAugment(operations, magnitude, num_magnitude_bins=31)


def _require_label(dataset: str, example: Example) -> None:
    if example.label is None:
        raise InputError(f"{example.name} of {dataset} has no label: choose a classification data set")
