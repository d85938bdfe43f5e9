"""Scenes of a pack whose pictures have one known colour each, so that every pixel says where it comes from."""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from wbcore.data.cutouts import Composer, CutoutScenes, SceneConfig, kinds, photographs, pictures, uniforms
from wbcore.data.example import Dataset
from wbcore.errors import InputError

PLAIN = {"light": 0.0, "colour": 0.0, "softness": 0.0}
"""No change of colours, so that a scene shows those of its pictures."""
# Green is full in every cut-out and absent from every background; red says which picture, blue which split.
CUTOUTS = {
    "train": {"ant": ("insect", 40), "bee": ("insect", 120), "cat": ("mammal", 200)},
    "eval": {"dog": ("mammal", 80), "elk": ("mammal", 160)},
}
BACKGROUNDS = {"train": {"field": 40, "glade": 120}, "eval": {"hill": 80}}
BLUE = {"train": 0, "eval": 255}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    root = tmp_path_factory.mktemp("pack")
    rows = []

    def add(name, role, kind, split, pixels):
        Image.fromarray(pixels).save(root / f"{name}.png")
        rows.append({"id": name, "role": role, "kind": kind, "split": split, "file": f"{name}.png"})

    for split, members in CUTOUTS.items():
        for name, (kind, red) in members.items():
            pixels = np.zeros((41, 29, 4), np.uint8)
            pixels[3:-3, 3:-3] = red, 255, BLUE[split], 255
            add(name, "cutout", kind, split, pixels)
    for split, members in BACKGROUNDS.items():
        for name, red in members.items():
            add(name, "background", "", split, np.full((61, 97, 3), (red, 0, BLUE[split]), np.uint8))
    add("whole", "photograph", "", "figure", np.full((11, 13, 3), 7, np.uint8))
    with (root / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


def compose(pack, indices, split="train", *, seed=0, **config):
    return Composer(split, SceneConfig(**{"size": 37, **config}), seed=seed, root=pack)(indices)


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_same_seed_same_scenes(pack):
    assert equal(compose(pack, range(7)), compose(pack, range(7)))


def test_another_seed_other_scenes(pack):
    one, other = compose(pack, range(7)), compose(pack, range(7), seed=1)
    assert all((a != b).any() for a, b in zip(one.images, other.images, strict=True))


def test_a_scene_alone_is_the_scene_in_any_batch(pack):
    batch = compose(pack, [5, 2, 11, 3])
    for place, index in enumerate([5, 2, 11, 3]):
        alone = compose(pack, [index])
        assert equal(alone, [part[place : place + 1] for part in batch])


@pytest.mark.parametrize(
    ("split", "objects", "backgrounds"),
    [
        ("train", "train", "train"),
        ("recognition", "train", "eval"),
        ("segmentation", "eval", "eval"),
        ("transfer_train", "eval", "train"),
        ("transfer", "eval", "eval"),
    ],
)
def test_a_split_shows_its_own_pictures_alone(pack, split, objects, backgrounds):
    scenes = compose(pack, range(40), split, object_counts=(1.0,), **PLAIN)
    image = scenes.images.long()
    pure_object, pure_background = image[:, 1] > 253, image[:, 1] == 0
    assert pure_object.any()
    assert (image[:, 2][pure_object] - BLUE[objects]).abs().max() <= 2
    assert set(image[:, 2][pure_background].tolist()) == {BLUE[backgrounds]}
    assert set(image[:, 0][pure_background].tolist()) == set(BACKGROUNDS[backgrounds].values())
    inner = {red for _, red in CUTOUTS[objects].values()}
    assert all(min(abs(red - known) for known in inner) <= 2 for red in image[:, 0][pure_object].tolist())


def test_random_numbers_stay_below_one():
    drawn = np.random.Generator(np.random.Philox(key=[4, 2766])).random(63)
    assert (drawn < 1).all()
    assert drawn.astype(np.float32).max() == 1  # one of them rounds up, and would name a picture that is not there
    assert uniforms(4, [2766], 63).max() < 1


def test_splits_of_the_shipped_pack_share_nothing():
    for role in ("cutout", "background"):
        train, held_out = ({one.file for one in pictures(role, split)} for split in ("train", "eval"))
        assert train
        assert held_out
        assert not train & held_out
    assert {one.kind for one in pictures("cutout", "eval")} <= set(kinds())


def test_masks_are_consistent(pack):
    scenes = compose(pack, range(60), object_counts=(0.25, 0.25, 0.25, 0.25))
    assert scenes.instances.shape == (60, 4, 37, 37)
    assert scenes.instances.sum(dim=1).max() == 1  # no pixel belongs to two
    assert not scenes.instances[scenes.categories == 0].any()
    for instances, categories, semantic in zip(scenes.instances, scenes.categories, scenes.semantic, strict=True):
        drawn = torch.zeros_like(semantic)
        for mask, category in zip(instances, categories, strict=True):
            drawn[mask] = int(category)
        assert torch.equal(drawn, semantic)


def test_labels_and_categories_are_those_of_the_pictures(pack):
    scenes = compose(pack, range(40), **PLAIN)
    identities = sorted(CUTOUTS["train"])
    for image, label, instances, categories in zip(
        scenes.images, scenes.labels, scenes.instances, scenes.categories, strict=True
    ):
        kind, red = CUTOUTS["train"][identities[int(label)]]
        assert int(image[0][instances[0]].float().median()) == pytest.approx(red, abs=2)
        assert kinds(pack)[int(categories[0])] == kind


def test_kinds(pack):
    assert kinds(pack) == ("background", "insect", "mammal")


def test_the_main_object_is_in_front(pack):
    alone, crowded = (compose(pack, range(30), object_counts=counts) for counts in ((1.0,), (0.0, 0.0, 0.0, 1.0)))
    assert torch.equal(alone.instances[:, 0], crowded.instances[:, 0])
    assert torch.equal(alone.labels, crowded.labels)
    assert crowded.instances[:, 1:].any()


def test_numbers_of_objects_follow_their_probabilities(pack):
    probabilities, count = (0.6, 0.2, 0.12, 0.08), 1500
    scenes = compose(pack, range(count), size=8, object_counts=probabilities)
    found = (scenes.categories > 0).sum(dim=1)
    for number, share in enumerate(probabilities, start=1):
        four_sigma = 4 * math.sqrt(share * (1 - share) / count)
        assert float((found == number).float().mean()) == pytest.approx(share, abs=four_sigma)


@pytest.mark.parametrize("size", [13, 23, 37, 72, 131])
def test_any_size(pack, size):
    scenes = compose(pack, range(5), size=size)
    assert scenes.images.shape == (5, 3, size, size)
    assert scenes.instances[:, 0].any()


def test_data_set_of_scenes(pack):
    dataset = CutoutScenes("segmentation", size=37, count=11, root=pack)
    assert isinstance(dataset, Dataset)
    assert len(list(dataset)) == len(dataset) == 11
    assert dataset.classes == kinds(pack)
    scenes = compose(pack, range(11), "segmentation", seed=1)
    for index, example in enumerate(dataset):
        assert np.array_equal(example.image, scenes.images[index].permute(1, 2, 0).numpy())
        assert np.array_equal(example.semantic, scenes.semantic[index].numpy())
        assert example.label == int(scenes.labels[index])
        assert example.instances.any(axis=(1, 2)).all()
        assert np.array_equal(example.instances.any(axis=0), example.semantic > 0)
        assert len(example.instances) == len(example.categories) == len(example.crowd)
    with pytest.raises(IndexError):
        dataset[11]


def test_fingerprint_says_what_decides_the_examples(pack):
    def of(**changes):
        return CutoutScenes(**{"split": "segmentation", "size": 8, "count": 3, "root": pack, **changes}).fingerprint

    assert of() == of()
    others = [of(seed=2), of(size=16), of(count=5), of(split="recognition"), of(rotation=0.0)]
    assert len({of(), *others}) == 6


def test_photographs(pack):
    (one,) = photographs(pack)
    assert one.name == "whole"
    assert one.image.shape == (11, 13, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: Composer("val", root=root), "unknown split 'val'.*train, recognition, segmentation"),
        (lambda root: CutoutScenes("test", root=root), "unknown split 'test'"),
        (lambda root: CutoutScenes(count=0, root=root), "count=0"),
        (lambda root: pictures("cutout", "figure", root), "no cutout in split 'figure'"),
        (lambda root: kinds(root / "elsewhere"), "manifest.csv is missing"),
    ],
)
def test_bad_input(pack, make, message):
    with pytest.raises(InputError, match=message):
        make(pack)
