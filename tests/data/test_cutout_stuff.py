"""Stuff and things in a pack of plain colours, so that every pixel says what it is; and the table that is shipped."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from wbcore.data.batches import Batches
from wbcore.data.cutout_stuff import (
    CutoutStuffBatches,
    CutoutStuffScenes,
    StuffComposer,
    regions,
    stuff_kinds,
    stuff_table,
)
from wbcore.data.cutouts import PACK, SceneConfig, manifest
from wbcore.data.example import VOID
from wbcore.data.registry import open_dataset
from wbcore.errors import InputError

PLAIN = {"light": 0.0, "colour": 0.0, "softness": 0.0}
# Red says which kind of stuff, blue which split; things are all green.
STUFF = {"ice": 40, "mud": 120, "sea": 200, "turf": 80}
BLUE = {"train": 0, "eval": 255}
THINGS = ("ant", "bee")


@pytest.fixture
def pack(tmp_path):
    rows, table = [], []

    def add(name, role, kind, split, pixels):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        rows.append({"id": name, "role": role, "kind": kind, "split": split, "file": f"{name}.png"})

    for split, blue in BLUE.items():
        for kind in THINGS:
            add(f"{kind}_{split}", "cutout", kind, split, np.full((23, 29, 4), (0, 255, blue, 255), np.uint8))
        for number, (stuff, red) in enumerate(STUFF.items()):
            pixels = np.full((61, 97, 3), (red, 0, blue), np.uint8)
            if number == 1:
                pixels[:, :53] = 0, 0, 99  # what the table leaves out
            add(f"{split}_{number}", "background", "", split, pixels)
            table.append({"id": f"{split}_{number}", "stuff": stuff, "crop": "0.6 0 1 1" if number == 1 else ""})
        add(f"{split}_odd", "background", "", split, np.full((61, 97, 3), (0, 0, 99), np.uint8))  # not in the table
    write(tmp_path / "manifest.csv", rows)
    write(tmp_path / "stuff.csv", table)
    return tmp_path


def write(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def compose(pack, indices, split="train", *, seed=0, **config):
    return StuffComposer(split, SceneConfig(**{"size": 37, **PLAIN, **config}), seed=seed, root=pack)(indices)


def test_classes_are_stuff_then_things(pack):
    composer = StuffComposer("train", SceneConfig(size=37), root=pack)
    assert composer.classes == ("ice", "mud", "sea", "turf", "ant", "bee")


@pytest.mark.parametrize("split", ["train", "segmentation"])
def test_pixels_show_their_class_and_their_split(pack, split):
    scenes = compose(pack, range(53), split)
    red, green, blue = scenes.images.long().unbind(1)
    things = green > 127
    assert ((scenes.semantic >= 4) == things).float().mean() > 0.999  # two soft edges may add up
    assert torch.equal(scenes.semantic == scenes.ground, scenes.semantic < 4)
    assert set(scenes.semantic.unique().tolist()) == set(range(6))
    expected = torch.tensor(list(STUFF.values()))[scenes.ground.long()]
    pure = (green == 0) & torch.isin(red, torch.tensor(list(STUFF.values())))
    assert pure.float().mean() > 0.5
    assert (red == expected)[pure].float().mean() > 0.99  # a pixel across a border may have any mixed colour
    assert (blue[green == 0] == BLUE["train" if split == "train" else "eval"]).float().mean() > 0.999


def test_thing_classes_are_those_of_their_objects(pack):
    scenes = compose(pack, range(31), object_counts=(0.0, 0.0, 1.0))
    assert set(scenes.categories.unique().tolist()) == {4, 5}
    for semantic, masks, categories in zip(scenes.semantic, scenes.instances, scenes.categories, strict=True):
        for mask, category in zip(masks, categories, strict=True):
            assert (semantic[mask] == category).all()


def test_grounds_are_two_or_three_different_kinds(pack):
    grounds = compose(pack, range(97)).ground
    counts = torch.tensor([len(ground.unique()) for ground in grounds])
    assert set(counts.tolist()) <= {1, 2, 3}  # a third region may just miss the scene
    assert abs(int((counts == 3).sum()) - 48) < 4 * 5
    shares = torch.bincount(grounds.flatten().long()) / grounds.numel()
    assert shares.min() > 0.15


def test_a_scene_does_not_depend_on_its_batch(pack):
    scenes = compose(pack, range(7))
    for index in (5, 0):
        alone = compose(pack, [index])
        assert torch.equal(alone.images[0], scenes.images[index])
        assert torch.equal(alone.semantic[0], scenes.semantic[index])
    assert not torch.equal(compose(pack, range(7), seed=1).ground, scenes.ground)


def border_numbers(number, turn, tilt, first, second, height=0.0):
    return torch.tensor([[number, turn, tilt, first, second, height, 0.3, 0.7, height, 0.6, 0.1]])


@pytest.mark.parametrize("turn", [0.2, 0.8])
def test_straight_borders_by_hand(turn):
    two, three = border_numbers(0.9, turn, 0.5, 0.5, 0.5), border_numbers(0.1, turn, 0.5, 0.5, 0.5)
    covers, region = regions(two, 20)  # the border is the middle
    line = torch.tensor([0] * 10 + [1] * 10)
    expected = line.expand(20, 20) if turn < 0.5 else line[:, None].expand(20, 20)
    assert torch.equal(region[0], expected)
    torch.testing.assert_close(covers[0, 1], expected.float())
    _, region = regions(three, 20)  # the borders are at -0.4 and 0.4: the sixth and the fourteenth place
    assert region[0].flatten().bincount().tolist() == [120, 160, 120]


@pytest.mark.parametrize("height", [0.0, 1.0])
def test_covers_share_every_pixel_out(height):
    generator = torch.Generator().manual_seed(3)
    u = torch.rand(41, 11, generator=generator)
    u[:, [5, 8]] = height
    covers, region = regions(u, 29)
    torch.testing.assert_close(covers.sum(dim=1), torch.ones(41, 29, 29))
    assert covers.min() >= 0
    assert (covers.gather(1, region[:, None]) >= 0.5 - 1e-5).float().mean() > 0.999  # two borders may share a pixel
    assert (covers.amax(dim=1) == 1).float().mean() > 0.8


def test_waves_bend_a_border():
    straight, bent = (regions(border_numbers(0.9, 0.2, 0.5, 0.5, 0.5, height), 31)[1][0] for height in (0.0, 1.0))
    assert (straight == straight[0]).all()
    assert not (bent == bent[0]).all()


def test_data_set(pack):
    dataset = CutoutStuffScenes("segmentation", size=37, count=5, root=pack)
    assert (len(dataset), dataset.name) == (5, "cutouts-stuff-segmentation-37px")
    for index in range(5):
        example = dataset[index]
        assert example.image.shape == (37, 37, 3)
        assert VOID not in example.semantic
        assert example.semantic.max() < len(dataset.classes)
        assert set(example.categories) == set(np.unique(example.semantic)) - {0, 1, 2, 3}
    with pytest.raises(IndexError):
        dataset[5]


def test_fingerprint_follows_the_table(pack):
    def fingerprint(**changes):
        return CutoutStuffScenes(**{"size": 8, "count": 3, "root": pack, **changes}).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    assert len({first, fingerprint(seed=2), fingerprint(size=9), fingerprint(split="train")}) == 4
    rows = read(pack / "stuff.csv")
    rows[0]["crop"] = "0 0 0.5 1"
    write(pack / "stuff.csv", rows)
    assert fingerprint() != first


def test_batches_have_the_class_of_every_pixel():
    batches = CutoutStuffBatches(size=16, num_examples=5)
    as_protocol: Batches = batches
    assert (as_protocol.num_examples, as_protocol.name) == (5, "cutouts-stuff-train-16px")
    assert as_protocol.num_classes == len(stuff_kinds()) + 14
    images, labels = batches.batch(0, range(5))
    assert images.shape == (5, 3, 16, 16)
    assert labels.shape == (5, 16, 16)
    assert labels.dtype == torch.uint8
    assert int(labels.max()) < batches.num_classes
    assert torch.equal(batches.batch(1, [0])[1], batches.batch(0, [5])[1])
    assert not torch.equal(batches.batch(1, [0])[0][0], images[0])


def test_opened_by_name():
    dataset = open_dataset("cutouts_stuff", split="segmentation")
    assert len(dataset) == 200
    assert dataset[3].semantic.shape == (128, 128)
    assert dataset.classes[:4] == ("leaves", "rock", "trees", "wood")


def test_the_shipped_table():
    backgrounds = {picture.id for picture in manifest("background")}
    rows = read(PACK / "stuff.csv")
    assert [(row["stuff"], row["id"]) for row in rows] == sorted((row["stuff"], row["id"]) for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["id"] for row in rows} <= backgrounds
    for split in ("train", "eval"):
        assert {stuff.kind for stuff in stuff_table() if stuff.split == split} == set(stuff_kinds())
    for stuff in stuff_table():
        left, top, right, bottom = stuff.piece.part
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


def lose_a_kind(root):
    write(root / "stuff.csv", [row for row in read(root / "stuff.csv") if row["id"] != "eval_2"])


def name_a_stranger(root):
    write(root / "stuff.csv", [*read(root / "stuff.csv"), {"id": "moon", "stuff": "ice", "crop": ""}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "stuff.csv").unlink(), r"stuff\.csv is missing"),
        (name_a_stranger, "moon, which is no background"),
        (lose_a_kind, r"pictures of 3 kinds in split 'eval'"),
    ],
)
def test_a_broken_table(pack, change, message):
    change(pack)
    with pytest.raises(InputError, match=message):
        compose(pack, [0], "segmentation")


def test_unknown_split(pack):
    with pytest.raises(InputError, match="unknown split 'test'"):
        compose(pack, [0], "test")
