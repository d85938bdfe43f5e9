"""Training crops whose labels are per pixel, augmented as mmsegmentation does."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from wbcore.data.example import VOID, Dataset, Example
from wbcore.data.shuffling import KEEP_BYTES, ShuffledExamples
from wbcore.errors import InputError

MEAN_COLOUR = (124, 116, 104)
"""ImageNet's mean, which is 0 after normalisation: what fills a crop beside a picture that is smaller."""
REDRAWS = 10
"""How often a crop is drawn again while one class has too much of it."""
_DISTORTION = 9
"""How many random numbers a photometric distortion uses."""


class SegmentationBatches:
    """Crops of photographs with the class of every pixel: scaled, cropped, mirrored, photometrically distorted.

    A photograph is brought to ``shorter`` (rows or columns, whichever is fewer; None: its own) times a factor from
    ``scale``; a crop of ``size`` (rows, columns) is drawn from it, up to ten times again while one class has
    ``max_share`` or more of the known pixels (1: never again).  An epoch is the data set ``repeats`` times.  Where the
    scaled picture is smaller than the crop, below it and to its right, the image is ``MEAN_COLOUR`` and the labels are
    ``VOID``.

    Source: mmsegmentation's pipeline Resize (ratio_range), RandomCrop (cat_max_ratio), RandomFlip,
    PhotoMetricDistortion, Normalize, Pad.
    Deviates: the crop alone is resampled, from the original, with antialiasing; that saves most of the work.
    Raises: InputError if an option is out of its range, a photograph has no semantic mask, or cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        size: tuple[int, int],
        shorter: int | None = None,
        scale: tuple[float, float] = (0.5, 2.0),
        max_share: float = 0.75,
        photometric: bool = True,
        flip: float = 0.5,
        seed: int = 0,
        workers: int = 0,
        repeats: int = 1,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        _require(min(size) >= 1, f"size={size}: a crop has 1 or more rows and columns")
        _require(shorter is None or shorter >= 1, f"shorter={shorter}: give 1 or more pixels, or None")
        _require(0 < scale[0] <= scale[1], f"scale={scale}: give two positive factors, the smaller first")
        _require(0 < max_share <= 1, f"max_share={max_share}: give a share above 0 and at most 1")
        _require(0 <= flip <= 1, f"flip={flip}: give a probability")
        _require(repeats >= 1, f"repeats={repeats}: give 1 or more")
        self.name, self.fingerprint = f"{dataset.name}-{size[0]}x{size[1]}px", dataset.fingerprint
        self.num_examples, self.num_classes = len(dataset) * repeats, len(dataset.classes)
        self.workers = workers
        self._size, self._shorter, self._scale = size, shorter, scale
        self._max_share, self._photometric, self._flip = max_share, photometric, flip
        self._mask = functools.partial(_mask, dataset.name)
        self._examples = ShuffledExamples(dataset, self._mask, seed=seed, repeats=repeats, keep_bytes=keep_bytes)

    def batch(self, epoch: int, positions: Sequence[int]) -> tuple[UInt8[Tensor, "b 3 h w"], UInt8[Tensor, "b h w"]]:
        count = 2 + _DISTORTION + 2 * (REDRAWS + 1)
        crops = [self._crop(example, u) for example, u in self._examples.draw(epoch, positions, count)]
        images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*crops, strict=True))
        return images.permute(0, 3, 1, 2).contiguous(), labels

    def _crop(self, example: Example, u: list[float]) -> tuple[np.ndarray, np.ndarray]:
        """One image [h, w, 3] and its labels [h, w]."""
        semantic = self._mask(example)
        factor = self._scale[0] + u[0] * (self._scale[1] - self._scale[0])
        scaled = scaled_size(semantic.shape[0], semantic.shape[1], (self._shorter or min(semantic.shape)) * factor)
        rows, cols = min(self._size[0], scaled[0]), min(self._size[1], scaled[1])
        top, left, labels = 0, 0, semantic
        for place in range(2 + _DISTORTION, len(u), 2):
            top, left = int(u[place] * (scaled[0] - rows + 1)), int(u[place + 1] * (scaled[1] - cols + 1))
            labels = _nearest(_nearest(semantic, 0, top, rows, scaled[0]), 1, left, cols, scaled[1])
            if self._max_share == 1 or largest_share(labels) < self._max_share:
                break
        image = resized(example.image, scaled, box=(top, left, rows, cols))
        if self._photometric:
            image = distorted(image, u[2 : 2 + _DISTORTION])
        pixels = np.asarray(image)
        if u[1] < self._flip:
            pixels, labels = pixels[:, ::-1], labels[:, ::-1]
        whole, known = np.empty((*self._size, 3), np.uint8), np.full(self._size, VOID, np.uint8)
        whole[:] = MEAN_COLOUR
        whole[:rows, :cols], known[:rows, :cols] = pixels, labels
        return whole, known


def scaled_size(rows: int, cols: int, shorter: float) -> tuple[int, int]:
    """(rows, cols) at which the lesser of the two becomes ``shorter``, rounded, with the aspect kept."""
    factor = shorter / min(rows, cols)
    return max(1, round(rows * factor)), max(1, round(cols * factor))


def to_size(image: UInt8[np.ndarray, "h w 3"], shorter: int) -> UInt8[np.ndarray, "rows cols 3"]:
    """An image whose lesser side has ``shorter`` pixels, the aspect kept: what training shows at a factor of 1."""
    scaled = scaled_size(image.shape[0], image.shape[1], shorter)
    return np.array(resized(image, scaled, box=(0, 0, *scaled)))


def resized(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], *, box: tuple[int, int, int, int]) -> Image.Image:
    """The part (top, left, rows, cols) of an image brought to ``size`` (bilinear with antialiasing)."""
    top, left, rows, cols = box
    upper, lower = (edge * image.shape[0] / size[0] for edge in (top, top + rows))
    west, east = (edge * image.shape[1] / size[1] for edge in (left, left + cols))
    return Image.fromarray(image).resize((cols, rows), Image.Resampling.BILINEAR, box=(west, upper, east, lower))


def _nearest(labels: np.ndarray, axis: int, first: int, count: int, size: int) -> np.ndarray:
    """Places ``first`` … of an axis resampled to ``size``: each shows the label under its centre."""
    centres = (2 * np.arange(first, first + count) + 1) * labels.shape[axis] // (2 * size)
    return labels.take(centres, axis=axis)


def largest_share(labels: UInt8[np.ndarray, "h w"]) -> float:
    """The share of the known pixels that the most frequent class has; 1 where nothing is known."""
    counts = np.bincount(labels.reshape(-1), minlength=VOID + 1)[:VOID]
    return float(counts.max() / counts.sum()) if counts.any() else 1.0


def distorted(image: Image.Image, u: Sequence[float]) -> Image.Image:
    """Brightness, contrast, saturation and hue changed, each with probability ½; ``u`` are nine uniform numbers.

    Brightness adds -32 … 32, contrast and saturation multiply by 0.5 … 1.5, hue turns by up to 18/180 of the circle.
    Contrast comes after brightness or, with probability ½, last.
    Source: mmsegmentation's PhotoMetricDistortion.
    Deviates: saturation and hue are changed in one step, in Pillow's 8-bit HSV.
    """
    levels = np.arange(256.0)
    brightness, contrast, saturation, hue = (u[i + 4] - 0.5 if u[i] < 0.5 else 0.0 for i in range(4))
    contrast_last = u[8] < 0.5
    if brightness:
        image = _mapped(image, levels + 64 * brightness)
    if contrast and not contrast_last:
        image = _mapped(image, levels * (1 + contrast))
    if saturation or hue:
        turned = (levels + 255 * 0.2 * hue) % 255  # Pillow's circle has 255 steps
        image = _mapped(image.convert("HSV"), turned, levels * (1 + saturation), levels).convert("RGB")
    if contrast and contrast_last:
        image = _mapped(image, levels * (1 + contrast))
    return image


def _mapped(image: Image.Image, *tables: np.ndarray) -> Image.Image:
    """Each channel through its table of 256 values, or all through one."""
    table = np.concatenate(tables * (3 // len(tables))).round().clip(0, 255)
    return image.point(table.astype(int).tolist())


def _mask(dataset: str, example: Example) -> UInt8[np.ndarray, "h w"]:
    if example.semantic is None:
        raise InputError(f"{example.name} of {dataset} has no semantic mask: choose a segmentation data set")
    return example.semantic


def _require(fine: bool, message: str) -> None:
    if not fine:
        raise InputError(message)
