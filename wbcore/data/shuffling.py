"""The examples of a data set in a new order each epoch, each with random numbers that are its own."""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from wbcore.data.cutouts import uniforms
from wbcore.data.example import Dataset, Example

KEEP_BYTES = 2 * 2**30
"""Examples that take no more memory than this are decoded once; larger sets are decoded anew in every epoch."""


class ShuffledExamples:
    """``repeats`` times all of ``dataset`` in each epoch, each time in another order, which the seed decides.

    A set that fits into ``keep_bytes`` when decoded is decoded once, with the same result.
    Raises: InputError as ``require`` raises it of an example, or if one cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        require: Callable[[Example], object],
        *,
        seed: int,
        repeats: int = 1,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self._length, self._seed, self._repeats = len(dataset), seed, repeats
        self._examples: Dataset | list[Example] = dataset
        sample = [dataset[index] for index in range(0, len(dataset), max(1, len(dataset) // 32))]
        for example in sample:
            require(example)
        if len(dataset) * np.mean([_size(example) for example in sample]) <= keep_bytes:
            with ThreadPoolExecutor() as pool:
                decoded = pool.map(dataset.__getitem__, range(len(dataset)))
                self._examples = list(tqdm(decoded, total=len(dataset), desc=f"decoding {dataset.name}", disable=None))
            for example in self._examples:
                require(example)

    def __len__(self) -> int:
        """Examples of one epoch."""
        return self._length * self._repeats

    @functools.lru_cache(maxsize=2)  # noqa: B019 - permutations of the current epoch
    def _order(self, turn: int) -> np.ndarray:
        return np.random.Generator(np.random.Philox(key=[self._seed, turn])).permutation(self._length)

    def draw(self, epoch: int, positions: Sequence[int], count: int) -> Iterator[tuple[Example, list[float]]]:
        """The examples at ``positions`` of an epoch, each with ``count`` uniform random numbers in [0, 1)."""
        places = [epoch * len(self) + position for position in positions]
        for place, u in zip(places, uniforms(self._seed + 1, places, count).tolist(), strict=True):
            turn, position = divmod(place, self._length)
            yield self._examples[int(self._order(turn)[position])], u


def _size(example: Example) -> int:
    return example.image.nbytes + (0 if example.semantic is None else example.semantic.nbytes)
