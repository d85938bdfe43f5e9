import pytest

from tests.data import miniatures
from wbcore.data.readers import ImageFolder, WeizmannHorses
from wbcore.data.views import every_other, joined, kept, subset
from wbcore.errors import InputError


@pytest.mark.parametrize(("count", "indices"), [(1, [0]), (2, [0, 3]), (4, [0, 1, 3, 4]), (6, range(6)), (7, range(6))])
def test_subset_is_evenly_spaced(tmp_path, count, indices):
    miniatures.image_folder(tmp_path)
    dataset = ImageFolder(tmp_path / "imagenet")
    part = subset(dataset, count)
    assert [part[place].name for place in range(len(part))] == [dataset[index].name for index in indices]
    assert len(part) == len(indices)
    assert (part.fingerprint == dataset.fingerprint) == (len(part) == len(dataset))


def test_subset_of_nothing(tmp_path):
    miniatures.image_folder(tmp_path)
    with pytest.raises(InputError, match="0 images"):
        subset(ImageFolder(tmp_path / "imagenet"), 0)


def test_joined(tmp_path):
    miniatures.image_folder(tmp_path)
    parts = [ImageFolder(tmp_path / "imagenet", split) for split in ("train", "val")]
    both = joined(parts, name="both")
    names = [part[place].name for part in parts for place in range(len(part))]
    assert [both[place].name for place in range(len(both))] == names
    assert both[-1].name == names[-1]
    assert both.fingerprint not in {part.fingerprint for part in parts}


def test_joined_needs_the_same_classes(tmp_path):
    miniatures.weizmann(tmp_path)
    miniatures.image_folder(tmp_path)
    parts = [WeizmannHorses(tmp_path / "weizmann-horses"), ImageFolder(tmp_path / "imagenet")]
    with pytest.raises(InputError, match="weizmann, imagefolder cannot be joined"):
        joined(parts, name="both")


def test_every_other_makes_two_halves(tmp_path):
    miniatures.image_folder(tmp_path)
    dataset = ImageFolder(tmp_path / "imagenet")
    halves = [every_other(dataset, first) for first in (0, 1)]
    names = [half[place].name for half in halves for place in range(len(half))]
    assert names == [dataset[index].name for index in (0, 2, 4, 1, 3, 5)]
    assert len({dataset.fingerprint, *(half.fingerprint for half in halves)}) == 3
    with pytest.raises(InputError, match="from 2: begin with 0 or 1"):
        every_other(dataset, 2)


def test_kept_reads_every_example_once(tmp_path):
    miniatures.image_folder(tmp_path)
    dataset = ImageFolder(tmp_path / "imagenet")
    held = kept(dataset)
    assert (held.name, held.fingerprint, len(held)) == (dataset.name, dataset.fingerprint, len(dataset))
    assert [held[place].name for place in range(len(held))] == [dataset[place].name for place in range(len(dataset))]
    assert held[-1] is held[len(held) - 1]
