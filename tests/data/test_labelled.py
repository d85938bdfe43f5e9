"""CIFAR, Flowers-102 and Pets: the examples of every layout, and one line for what is damaged."""

import shutil

import numpy as np
import pytest
from scipy import io

from tests.data import labelled
from wbcore.data.readers import Cifar, Flowers102, OxfordPets
from wbcore.data.registry import open_dataset
from wbcore.errors import InputError


@pytest.mark.parametrize("layout", ["bin", "png"])
def test_cifar10(tmp_path, layout):
    for split, (images, labels) in labelled.cifar10(tmp_path, layout=layout).items():
        dataset = open_dataset("cifar10", data_root=tmp_path, split=split)
        assert (len(dataset), len(dataset.classes), dataset.classes[3]) == (len(labels), 10, "cat")
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            example = dataset[index]
            assert example.label == label
            np.testing.assert_array_equal(example.image, image)
        assert dataset[1].name == f"{split}/00001"


def test_both_layouts_of_cifar10_are_one_data_set(tmp_path):
    for layout in ("bin", "png"):
        labelled.cifar10(tmp_path / layout, layout=layout)
    for split in labelled.CIFAR10:
        one, other = (open_dataset("cifar10", data_root=tmp_path / kind, split=split) for kind in ("bin", "png"))
        assert one.fingerprint == other.fingerprint
    assert open_dataset("cifar10", data_root=tmp_path / "bin", split="train").fingerprint != one.fingerprint


def test_the_official_folder_is_found(tmp_path):
    labelled.cifar10(tmp_path)
    (tmp_path / "cifar10").rename(tmp_path / "cifar-10-batches-bin")
    assert len(open_dataset("cifar10", data_root=tmp_path, split="test")) == 3
    with pytest.raises(InputError, match=r"cifar10 is not below data_root .*expected .*cifar10/test_batch\.\*; get it"):
        open_dataset("cifar10", data_root=tmp_path / "elsewhere", split="test")


def test_cifar100_has_fine_labels(tmp_path):
    for split, (images, labels) in labelled.cifar100(tmp_path).items():
        dataset = Cifar(tmp_path / "cifar-100-binary", split, classes=7)
        assert dataset.classes == list(labelled.FINE)
        assert [dataset[index].label for index in range(len(dataset))] == labels
        np.testing.assert_array_equal(dataset[2].image, images[2])


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def halve(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def broken_label(path):
    content = bytearray(path.read_bytes())
    content[0] = 10
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("layout", "file", "damage", "message"),
    [
        ("bin", "test_batch.bin", cut, "test_batch.bin has 9218 bytes, which is no number of records of 3073"),
        ("bin", "test_batch.bin", lambda path: path.write_bytes(b""), "has 0 bytes"),
        ("bin", "test_batch.bin", broken_label, "photograph 0 of test has label 10, and there are 10 classes"),
        ("bin", "test_batch.bin", lambda path: path.unlink(), "test_batch.bin does not exist"),
        ("png", "test_batch.png", halve, "test_batch.png cannot be read"),
        ("png", "test_lables.json", lambda path: path.unlink(), "test_lables.json does not exist"),
        ("png", "test_lables.json", cut, "is no list of labels"),
        ("png", "test_lables.json", lambda path: path.write_text("[1, null, 2]"), "is no list of labels"),
        ("png", "test_lables.json", lambda path: path.write_text("[1, 2]"), "has 2 labels for 3 photographs"),
        ("png", "test_lables.json", lambda path: path.write_text("[1, -1, 2]"), "photograph 1 of test has label -1"),
        ("png", "test_batch.png", lambda path: shutil.copy(path.parent / "other", path), "31 pixels wide, not 1024"),
    ],
)
def test_damaged_cifar10_is_named(tmp_path, layout, file, damage, message):
    labelled.cifar10(tmp_path, layout=layout)
    labelled.Image.fromarray(np.zeros((3, 31, 3), np.uint8)).save(tmp_path / "cifar10" / "other", format="png")
    damage(tmp_path / "cifar10" / file)
    with pytest.raises(InputError, match=message):
        Cifar(tmp_path / "cifar10", "test")


def test_cifar_that_is_not_what_it_should_be(tmp_path):
    labelled.cifar100(tmp_path)
    with pytest.raises(InputError, match="names 7 classes, not 100"):
        open_dataset("cifar100", data_root=tmp_path, split="test")
    with pytest.raises(InputError, match="CIFAR has no split 'val': choose train or test"):
        Cifar(tmp_path / "cifar-100-binary", "val", classes=7)
    (tmp_path / "cifar-100-binary" / "fine_label_names.txt").unlink()
    with pytest.raises(InputError, match=r"fine_label_names\.txt does not exist"):
        Cifar(tmp_path / "cifar-100-binary", classes=7)
    with pytest.raises(InputError, match="does not exist"):
        Cifar(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["flowers102", "pets"])
def test_photographs_in_lists(tmp_path, name):
    for split, rows in getattr(labelled, name)(tmp_path).items():
        dataset = open_dataset(name, data_root=tmp_path, split=split)
        found = [dataset[index] for index in range(len(dataset))]
        assert [(one.name, one.label) for one in found] == rows
        assert found[0].image.shape == (37, 43, 3)
        assert abs(int(found[0].image.mean()) - 2 * (rows[0][1] + 1)) <= 2  # the photograph of this label
    assert len(dataset.classes) == {"flowers102": 102, "pets": 3}[name]


def test_breeds_have_names(tmp_path):
    labelled.pets(tmp_path)
    assert OxfordPets(tmp_path / "oxford-iiit-pet", "test").classes == ["Abyssinian", "american_bulldog", "Bengal"]


def test_fingerprints_follow_the_lists(tmp_path):
    labelled.flowers102(tmp_path)
    root = tmp_path / "flowers-102"
    first = Flowers102(root).fingerprint
    assert first != Flowers102(root, "train").fingerprint
    io.savemat(root / "imagelabels.mat", {"labels": np.array([[5, 101, 1, 5, 1, 102, 1]])})
    assert Flowers102(root).fingerprint != first


def matrix(name, values):
    return lambda path: io.savemat(path, {name: np.array([values])})


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("setid.mat", lambda path: path.unlink(), r"setid\.mat does not exist"),
        ("setid.mat", halve, r"setid\.mat has no tstid"),
        ("setid.mat", lambda path: path.write_text("no matrix"), r"setid\.mat has no tstid"),
        ("setid.mat", matrix("trnid", [1]), r"setid\.mat has no tstid"),
        ("setid.mat", matrix("tstid", [8]), "does not fit .*7 labels"),
        ("imagelabels.mat", matrix("labels", [1, 2, 3, 4, 5, 6, 103]), "labels outside 1 to 102"),
        ("jpg/image_00006.jpg", lambda path: path.unlink(), r"image_00006\.jpg should be there|does not exist"),
    ],
)
def test_damaged_flowers_are_named(tmp_path, file, damage, message):
    labelled.flowers102(tmp_path)
    damage(tmp_path / "flowers-102" / file)
    with pytest.raises(InputError, match=message):
        Flowers102(tmp_path / "flowers-102", "test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Bengal_13 3 1\n", r"test\.txt, line 1 is not .name class species breed."),
        ("# none\nBengal_13 0 1 1\n", r"test\.txt, line 2 is not"),
        ("Bengal_13 x 1 1\n", r"test\.txt, line 1 is not"),
        ("# nothing\n", r"test\.txt names no image"),
        ("Bengal_14 3 1 1\n", r"Bengal_14\.jpg should be there|do not exist"),
    ],
)
def test_damaged_pets_are_named(tmp_path, content, message):
    labelled.pets(tmp_path)
    root = tmp_path / "oxford-iiit-pet"
    (root / "annotations" / "test.txt").write_text(content)
    with pytest.raises(InputError, match=message):
        OxfordPets(root, "test")


def test_other_splits_are_named(tmp_path):
    labelled.pets(tmp_path)
    labelled.flowers102(tmp_path)
    with pytest.raises(InputError, match=r"val\.txt does not exist: the splits are trainval and test"):
        OxfordPets(tmp_path / "oxford-iiit-pet", "val")
    with pytest.raises(InputError, match="Flowers-102 has no split 'trainval': choose one of train, val, test"):
        Flowers102(tmp_path / "flowers-102", "trainval")
