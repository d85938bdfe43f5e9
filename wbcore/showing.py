"""Images as a model is shown them: resized, in batches, normalised, on its device."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from wbcore.data.example import Dataset, Example
from wbcore.models import Backbone

BATCH = 16
"""Images at a time."""


def resize(image: UInt8[np.ndarray, "h w 3"], size: int | tuple[int, int]) -> UInt8[Tensor, "3 rows cols"]:
    """An image as a square of ``size`` pixels, or of ``size = (rows, cols)``; the aspect is not kept.

    Bilinear with antialiasing.
    Source: CRATE, appendix C.1 (224 px); MaskCut's code does the same at 480 px.
    """
    rows, cols = (size, size) if isinstance(size, int) else size
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if tensor.shape[-2:] == (rows, cols):
        return tensor
    resized = F.interpolate(tensor[None].float(), (rows, cols), mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)


def in_batches(
    dataset: Dataset | Sequence[Example], count: int = BATCH, *, progress: bool = False
) -> Iterator[list[Example]]:
    """All examples, ``count`` at a time; with ``progress`` a terminal shows a bar, which leaves nothing behind."""
    starts = range(0, len(dataset), count)
    for first in tqdm(starts, desc="images", disable=None if progress else True, leave=False):
        yield [dataset[index] for index in range(first, min(first + count, len(dataset)))]


def example_batches(
    model: Backbone, dataset: Dataset | Sequence[Example], *, size: int | tuple[int, int] | None = None
) -> Iterator[tuple[list[Example], Float[Tensor, "_b c rows cols"]]]:
    """All examples with their images as :meth:`Backbone.normalise` makes them, on the model's device.

    ``size`` is that of :func:`resize`; default: the model's native size.
    """
    for examples in in_batches(dataset, progress=True):
        images = torch.stack([resize(example.image, size or model.config.size) for example in examples])
        yield examples, model.normalise(images.to(model.position.device))


def shown_batches(
    model: Backbone, dataset: Dataset | Sequence[Example], *, size: int | tuple[int, int] | None = None
) -> Iterator[Float[Tensor, "_b c rows cols"]]:
    """The images of :func:`example_batches` alone."""
    for _, shown in example_batches(model, dataset, size=size):
        yield shown
