"""Cityscapes and ADE20K in their own formats, on miniatures of them."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data import miniatures
from wbcore.data.example import VOID
from wbcore.data.readers import ADE20K, CamVid, Cityscapes
from wbcore.errors import InputError

BUILDERS = {Cityscapes: (miniatures.cityscapes, "cityscapes"), ADE20K: (miniatures.ade20k, "ADEChallengeData2016")}
# Class → train id, as the evaluation's own table has them.
TRAIN_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15,
    31: 16, 32: 17, 33: 18,
}  # fmt: skip


@pytest.fixture(params=BUILDERS, ids=lambda reader: reader.__name__)
def built(request, tmp_path):
    """A reader's class, the folder of its miniature and the scenes in it."""
    build, folder = BUILDERS[request.param]
    scenes = build(tmp_path)
    return request.param, tmp_path / folder, scenes


def mask_of(root, name):
    """The file that a reader takes its classes from."""
    (path,) = (*root.rglob(f"val*/*/{name}_gtFine_labelIds.png"), *root.rglob(f"annotations/validation/{name}.png"))
    return path


def test_cityscapes_ids_become_train_ids(tmp_path):
    scenes = miniatures.cityscapes(tmp_path)
    dataset = Cityscapes(tmp_path / "cityscapes", "val")
    assert len(dataset) == 3
    assert [dataset.classes[number] for number in (0, 2, 8, 10, 18)] == [
        "road", "building", "vegetation", "sky", "bicycle",
    ]  # fmt: skip
    for index, one in enumerate(scenes):
        example = dataset[index]
        assert example.name == f"{one.name}_leftImg8bit"
        np.testing.assert_array_equal(example.image, one.image)
        ids = miniatures.cityscapes_ids(one)
        np.testing.assert_array_equal(example.semantic, np.vectorize(lambda v: TRAIN_IDS.get(int(v), VOID))(ids))


def test_ade20k_has_no_class_of_its_zeros(tmp_path):
    scenes = miniatures.ade20k(tmp_path)
    dataset = ADE20K(tmp_path / "ADEChallengeData2016")
    assert (len(dataset.classes), len(set(dataset.classes))) == (150, 150)
    assert [dataset.classes[number] for number in (0, 1, 2, 12, 20, 149)] == [
        "wall", "building", "sky", "person", "car", "flag",
    ]  # fmt: skip
    assert len(ADE20K(dataset.root, "train")) == 1
    for index, one in enumerate(scenes):
        example = dataset[index]
        assert example.name == one.name
        assert example.image.shape == one.image.shape
        np.testing.assert_array_equal(example.semantic, np.array([VOID, 0, 149, 12])[one.objects])


def test_fingerprint_follows_classes_names_and_masks(built, tmp_path):
    reader, root, scenes = built
    first = reader(root).fingerprint
    assert len(bytes.fromhex(first)) == 32
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    assert reader(moved).fingerprint == first
    path = mask_of(moved, scenes[1].name)
    Image.fromarray(np.array(Image.open(path))[::-1].copy()).save(path)
    assert reader(moved).fingerprint != first


def test_missing_mask_is_named(built):
    reader, root, scenes = built
    mask_of(root, scenes[2].name).unlink()
    with pytest.raises(InputError, match=rf"{scenes[2].name}.*\.png should be there"):
        reader(root)


def test_mask_of_another_size(built):
    reader, root, scenes = built
    path = mask_of(root, scenes[0].name)
    mask = Image.open(path)
    mask.resize((mask.width, mask.height - 1)).save(path)
    with pytest.raises(InputError, match=r"\.png is 131×88 pixels but its photograph is 131×89"):
        reader(root)[0]


@pytest.mark.parametrize(("reader", "value"), [(Cityscapes, 34), (ADE20K, 151), (CamVid, 12)])
def test_value_that_is_no_class(tmp_path, reader, value):
    build, folder = {**BUILDERS, CamVid: (miniatures.camvid, "camvid")}[reader]
    build(tmp_path)
    dataset = reader(tmp_path / folder)
    path = dataset._files[0][1]
    mask = np.array(Image.open(path))
    mask[5, 3] = value
    Image.fromarray(mask).save(path)
    with pytest.raises(InputError, match=f"{path.name} holds the value {value}, which is no class"):
        dataset[0]


def test_coloured_mask_is_refused(built):
    reader, root, scenes = built
    path = mask_of(root, scenes[0].name)
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(InputError, match=r"one channel of 8 bits, and this image is of mode RGB"):
        reader(root)[0]


def test_absent_split_and_root(built):
    reader, root, _ = built
    with pytest.raises(InputError, match=r"does not exist|has no split"):
        reader(root, "test")
    with pytest.raises(InputError, match="does not exist"):
        reader(root / "elsewhere")


def test_empty_split(tmp_path):
    (tmp_path / "images" / "validation").mkdir(parents=True)
    (tmp_path / "leftImg8bit" / "val").mkdir(parents=True)
    for reader in BUILDERS:
        with pytest.raises(InputError, match=r"val.* holds no image: .*split"):
            reader(tmp_path)
