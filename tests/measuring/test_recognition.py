"""Top-1 on held-out scenes and photographs, and its record."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from tests import tiny
from tests.data import labelled, miniatures
from wbcore.data.cutouts import CutoutScenes
from wbcore.data.example import Example
from wbcore.data.readers import ImageFolder
from wbcore.data.registry import open_dataset
from wbcore.errors import InputError
from wbcore.measuring import recognition


def test_photographs_are_counted_one_by_one(tmp_path):
    miniatures.image_folder(tmp_path)
    dataset = ImageFolder(tmp_path / "imagenet", "val")
    images = recognition.photographs(dataset, data="imagenet", size=24)
    labels = [dataset[index].label for index in range(len(dataset))]
    model = tiny.model().eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]))  # always answers class 1
    assert recognition.top1_share(model, images) == pytest.approx(np.mean(np.array(labels) == 1))
    assert (images.name, images.fingerprint, images.count) == (dataset.name, dataset.fingerprint, len(dataset))
    pixels, found = images.batch(range(1, 4))
    assert pixels.shape == (3, 3, 24, 24)
    assert found.tolist() == labels[1:4]


def test_photographs_of_the_right_size_are_not_touched(tmp_path):
    images, labels = labelled.cifar10(tmp_path)["test"]
    held_out = recognition.held_out("cifar10", "test", size=32, data_root=tmp_path)
    pixels, found = held_out.batch(range(3))
    np.testing.assert_array_equal(pixels.permute(0, 2, 3, 1).numpy(), images)
    assert found.tolist() == labels
    assert (held_out.data, held_out.name, held_out.num_classes) == ("cifar10", "cifar10/test", 10)
    assert recognition.held_out("cifar10", "test", size=32, data_root=tmp_path, limit=2).count == 2


@pytest.mark.parametrize("split", ["recognition", "transfer"])
def test_scenes_are_those_of_the_data_set(split):
    held_out = recognition.held_out("cutouts", split, size=24, limit=5)
    scenes = CutoutScenes(split, size=24, count=5, seed=recognition.SEED)
    pixels, labels = held_out.batch(range(1, 4))
    for place, index in enumerate(range(1, 4)):
        np.testing.assert_array_equal(pixels[place].permute(1, 2, 0).numpy(), scenes[index].image)
        assert scenes[index].label == labels[place]
    assert (held_out.data, held_out.name) == (f"cutouts_{split}", scenes.name)
    assert recognition.held_out("cutouts", split, size=24).count == recognition.SCENES
    assert held_out.num_classes == {"recognition": 227, "transfer": 55}[split]


def test_the_record_holds_wilsons_interval(tmp_path):
    labelled.cifar10(tmp_path)
    images = recognition.held_out("cifar10", "train", size=24, data_root=tmp_path)
    model = tiny.model(replace(tiny.CONFIG, num_classes=10)).eval()
    record = recognition.recognition(model, images, name="crate", seed=3, weights_sha256="ab", command="test")
    share = recognition.top1_share(model, images)
    right = round(11 * share)
    # Wilson, by hand: the shares p whose distance from the found one is 1.96 standard deviations of p's own.
    z = stats.norm.ppf(0.975)
    middle, half = (right + z**2 / 2) / (11 + z**2), z / (11 + z**2) * (right * (11 - right) / 11 + z**2 / 4) ** 0.5
    assert (record.value, record.n, record.seeds, record.metric) == (pytest.approx(right / 11), 11, (3,), "top1")
    assert (record.low, record.high) == (pytest.approx(middle - half, abs=1e-9), pytest.approx(middle + half))
    assert (record.data, record.data_sha256) == ("cifar10", images.fingerprint)


def test_a_head_for_other_classes_is_named(tmp_path):
    labelled.cifar10(tmp_path)
    images = recognition.held_out("cifar10", "test", size=24, data_root=tmp_path)
    with pytest.raises(InputError, match="crate has a head of 5 classes and cifar10/test has 10: fine-tune"):
        recognition.recognition(tiny.model(), images, name="crate", seed=0, weights_sha256=None, command="test")


def test_photographs_without_labels_are_named():
    class Unlabelled:
        name, classes, fingerprint = "nameless", ("a",), "0" * 64

        def __len__(self):
            return 3

        def __getitem__(self, index):
            return Example(name=f"photograph {index}", image=np.zeros((7, 5, 3), np.uint8))

    images = recognition.photographs(Unlabelled(), data="nameless", size=8)
    with pytest.raises(InputError, match="photograph 1 of nameless has no label"):
        images.batch(range(1, 3))
    with pytest.raises(InputError, match="is unknown"):
        open_dataset("nameless")
