"""A model is shown every image once, at the size that was asked for."""

import numpy as np
import pytest
import torch

from tests import tiny
from wbcore.data.example import Example
from wbcore.showing import example_batches, in_batches, resize, shown_batches

SIDE = tiny.CONFIG.size[0]


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    return [Example(f"{n}", rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)) for n in range(37)]


def test_resize():
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    assert np.array_equal(resize(image, SIDE).permute(1, 2, 0).numpy(), image)
    assert torch.equal(resize(image, 17), resize(image, (17, 17)))
    assert resize(image, (11, 23)).shape == (3, 11, 23)
    assert resize(np.full((31, 53, 3), 9, np.uint8), 24).unique().tolist() == [9]


def test_batches_hold_every_image_once(examples):
    assert [len(batch) for batch in in_batches(examples)] == [16, 16, 5]
    assert [one for batch in in_batches(examples, 3, progress=True) for one in batch] == examples


def test_what_is_shown_is_normalised_at_the_models_own_size(examples):
    model = tiny.model()
    batches = list(example_batches(model, examples))
    assert [one for batch, _ in batches for one in batch] == examples
    first = model.normalise(torch.from_numpy(examples[0].image).permute(2, 0, 1)[None])
    assert torch.equal(batches[0][1][:1], first)
    assert {batch.shape[-2:] for batch in shown_batches(model, examples, size=(16, 32))} == {(16, 32)}
