"""Batches depend on seed, epoch and position alone."""

import numpy as np
import pytest
import torch

from wbcore.data.batches import Batches, CutoutBatches, PhotographBatches
from wbcore.data.example import Example
from wbcore.errors import InputError


class Stripes:
    """Image ``i`` is ``i`` everywhere but for a right half that is brighter by ``step``; its label is ``i % 3``."""

    name, classes, fingerprint = "stripes", ("a", "b", "c"), "0" * 64

    def __init__(self, *, step=0, labelled=True):
        self.step, self.labelled = step, labelled

    def __len__(self):
        return 7

    def __getitem__(self, index):
        image = np.full((31, 43, 3), index, np.uint8)
        image[:, 22:] += self.step
        return Example(name=str(index), image=image, label=index % 3 if self.labelled else None)


def photographs(*, step=0, **options):
    return PhotographBatches(Stripes(step=step), **{"size": 16, **options})


def test_photographs_of_an_epoch_are_each_shown_once_and_keep_their_label():
    batches = photographs()
    orders = []
    for epoch in range(2):
        images, labels = batches.batch(epoch, range(7))
        assert images.shape == (7, 3, 16, 16)
        shown = images.flatten(1).amin(dim=1)
        assert sorted(shown.tolist()) == list(range(7))
        assert torch.equal(labels, shown.long() % 3)
        orders.append(shown.tolist())
    assert orders[0] != orders[1]


def test_an_example_does_not_depend_on_its_batch():
    images, labels = photographs(step=100).batch(3, range(7))
    for position in (6, 0, 4):
        alone, label = photographs(step=100).batch(3, [position])
        assert torch.equal(alone[0], images[position])
        assert torch.equal(label[0], labels[position])


def test_another_seed_is_another_order():
    assert not torch.equal(photographs().batch(0, range(7))[0], photographs(seed=1).batch(0, range(7))[0])


def test_a_central_crop_is_central_and_mirrored_half_of_the_time():
    batches = photographs(step=100, crop_scale=(1.0, 1.0))
    assert (batches.num_examples, batches.num_classes, batches.name) == (7, 3, "stripes-16px")
    brighter_left = 0
    for epoch in range(12):
        images, _ = batches.batch(epoch, range(7))
        left, right = images[:, 0, :, 0].long(), images[:, 0, :, -1].long()
        assert ((left - right).abs() == 100).all()  # the step in the middle is always seen
        brighter_left += int((left > right).all(dim=1).sum())
    assert abs(brighter_left - 42) < 4 * (84 / 4) ** 0.5


def test_unlabelled_photographs_are_refused():
    with pytest.raises(InputError, match=r"0 of stripes has no label"):
        PhotographBatches(Stripes(labelled=False), size=16)


def test_cutouts_are_new_in_every_epoch():
    batches = CutoutBatches(size=8, num_examples=5)
    both: list[Batches] = [batches, photographs()]
    assert all(one.num_classes > 1 and len(one.fingerprint) == 64 for one in both)
    first, labels = batches.batch(0, range(5))
    second, _ = batches.batch(1, range(5))
    assert first.shape == (5, 3, 8, 8)
    assert int(labels.max()) < batches.num_classes
    assert not any(torch.equal(one, other) for one in first for other in second)
    assert torch.equal(batches.batch(1, [0])[0], batches.batch(0, [5])[0])
