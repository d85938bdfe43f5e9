"""Batches depend on seed, epoch and position alone."""

import numpy as np
import pytest
import torch

from tests.data import miniatures
from wbcore.data.batches import Batches, CutoutBatches, PhotographBatches, crop_box, stream
from wbcore.data.example import Example
from wbcore.data.readers import ImageFolder
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


def test_crop_box_by_hand():
    assert crop_box(40, 60, [0.9] * 4, (1.0, 1.0)) == (0, 10, 40, 40)
    # A quarter of the area at aspect 1, in the top left and as far right and down as it goes.
    assert crop_box(60, 60, [0.0, 0.5, 0.0, 0.0], (0.25, 1.0)) == (0, 0, 30, 30)
    assert crop_box(60, 60, [0.0, 0.5, 0.999, 0.999], (0.25, 1.0)) == (30, 30, 30, 30)
    assert crop_box(48, 48, [0.0, 1.0, 0.0, 0.0], (1 / 3, 1.0)) == (0, 0, 24, 32)  # 4:3
    assert crop_box(2, 90, [1.0, 0.5, 0.5, 0.5], (0.25, 1.0))[2] == 2  # what sticks out is cut off


def test_crops_show_what_their_box_says():
    class Ramp(Stripes):
        def __getitem__(self, index):
            rows, columns = np.mgrid[:100, :200]
            image = np.stack([rows, columns, np.full_like(rows, 7)], axis=2).astype(np.uint8)
            return Example(name=str(index), image=image, label=0)

    images, _ = PhotographBatches(Ramp(), size=20, crop_scale=(0.3, 0.3)).batch(0, range(7))
    for image in images.long():
        tall, wide = image[0, -1, 0] - image[0, 0, 0], (image[1, 0, -1] - image[1, 0, 0]).abs()
        assert (image[2] == 7).all()
        assert abs(int(tall * wide) / 20_000 - 0.3 * 0.95**2) < 0.02  # between the centres of the outer pixels
        assert 0.7 < wide / tall < 1.4
        assert torch.equal(image[0, :, 0], image[0, :, -1])


@pytest.fixture
def folder(tmp_path):
    miniatures.image_folder(tmp_path)
    return ImageFolder(tmp_path / "imagenet", "train")


SCHEDULE = [(0, range(3)), (0, range(3, 6)), (1, range(2, 5))]


@pytest.mark.parametrize("options", [{}, {"rand_augment": (2, 14)}])
def test_streamed_and_kept_photographs_are_the_same(folder, options):
    kept = PhotographBatches(folder, size=24, **options)
    streamed = PhotographBatches(folder, size=24, keep_bytes=0, workers=2, **options)
    state = torch.get_rng_state()
    for one, other, place in zip(stream(kept, SCHEDULE), stream(streamed, SCHEDULE), SCHEDULE, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert torch.equal(streamed.batch(*place)[0], one[0])
    assert torch.equal(torch.get_rng_state(), state)  # training's own random numbers are left alone


def test_kept_photographs_are_read_once_and_others_each_time(folder):
    both = PhotographBatches(folder, size=24), PhotographBatches(folder, size=24, keep_bytes=10_000)
    for path in folder.root.rglob("*.JPEG"):
        path.unlink()
    both[0].batch(0, range(6))
    with pytest.raises(InputError, match="does not exist"):
        both[1].batch(0, range(6))


def test_rand_augment_changes_pixels_and_is_of_its_seed(folder):
    plain, augmented, same, other = (
        PhotographBatches(folder, size=24, **options).batch(0, range(6))[0]
        for options in ({}, {"rand_augment": (2, 14)}, {"rand_augment": (2, 14)}, {"rand_augment": (3, 30)})
    )
    assert not torch.equal(augmented, plain)
    assert torch.equal(augmented, same)
    assert not torch.equal(augmented, other)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photograph_that_cannot_be_read_is_named(folder, workers):
    batches = PhotographBatches(folder, size=24, keep_bytes=0, workers=workers)
    broken = folder.root / "train" / "n02102040" / "n02102040_1.JPEG"
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(InputError) as caught:
        list(stream(batches, SCHEDULE))
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=str(broken)):
        PhotographBatches(folder, size=24)


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
