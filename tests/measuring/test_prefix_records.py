"""Class token and registers recorded, on a model whose long tokens are planted and then moved into a register."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.planted import CONFIG, LAYER, LENGTH, UNIT, planted
from tests.tiny import Photographs
from wbcore.data.example import Example
from wbcore.measuring.prefix_records import prefix_records, read_prefix, similarity
from wbcore.models.test_time_registers import RegisterNeuron, with_test_time_register
from wbcore.recording import prefix_recording
from wbcore.recording.cells import Place
from wbcore.recording.register_subjects import Loaded, Network
from wbcore.records import Origin, select

IMAGES, SIDE, GRID = 19, 18, (6, 6)


@pytest.fixture
def dataset():
    """Noise; the object is the upper third, and in the last image there is none."""
    rng = np.random.default_rng(0)
    semantic = np.zeros((SIDE, SIDE), np.uint8)
    semantic[: SIDE // 3] = 1
    examples = [
        Example(f"{number}", rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8), semantic=semantic)
        for number in range(IMAGES)
    ]
    return Photographs([*examples[:-1], replace(examples[-1], semantic=np.zeros_like(semantic))])


@pytest.fixture
def model():
    return planted(replace(CONFIG, image_size=SIDE, num_registers=2))


def one(records, metric, subject):
    (found,) = select(records, metric=f"prefix/{metric}", model=subject)
    return found


def test_a_reading_is_what_the_model_says_image_by_image(model, dataset):
    found = read_prefix(model, dataset)
    assert (found.grid, found.names) == (GRID, ["cls", "register1", "register2"])
    for index in (0, 17, IMAGES - 1):
        image = model.normalise(torch.from_numpy(dataset[index].image).permute(2, 0, 1)[None])
        with torch.no_grad():
            tokens = model.tap(image, "tokens")[0]
            block, before = model.blocks[-1], model.tap(image, "tokens", -2)
            query, key = (getattr(block.attention, name)(block.norm(before)) for name in ("queries", "keys"))
        rows = (query @ key.transpose(-1, -2) * block.attention.scale).softmax(-1)[0, :, :3, 3:].mean(0)
        torch.testing.assert_close(found.norms[index], tokens[:3].norm(dim=-1))
        torch.testing.assert_close(found.patch_norms[index], tokens[3:].norm(dim=-1))
        torch.testing.assert_close(found.attention[index], rows / rows.sum(-1, keepdim=True))


def test_similarity_by_hand():
    maps = torch.tensor([[[3.0, 4.0, 0.0], [6.0, 8.0, 0.0], [0.0, 0.0, 2.0], [1.0, 0.0, 0.0]]])
    expected = torch.tensor([[1, 1, 0, 0.6], [1, 1, 0, 0.6], [0, 0, 1, 0], [0.6, 0.6, 0, 1]])
    torch.testing.assert_close(similarity(maps)[0], expected)


def test_planted_length_is_found_in_the_register_it_was_moved_to(dataset):
    moved = with_test_time_register(planted(replace(CONFIG, image_size=SIDE)), [RegisterNeuron(LAYER, UNIT, 0.0)])
    records = prefix_records(moved, dataset, Origin("double", "noise", "test", 0))
    register, patches = one(records, "norm", "double_register1"), one(records, "norm", "double_patches")
    assert register.value == pytest.approx(LENGTH, rel=0.2)
    assert max(patches.value, one(records, "norm", "double_cls").value) < 10
    assert sum(register.settings["histogram"]["counts"]) == IMAGES
    assert sum(patches.settings["histogram"]["counts"]) == IMAGES * GRID[0] * GRID[1]
    assert {record.n for record in records if "norm" in record.metric} == {IMAGES}


def test_where_they_look(model, dataset):
    found = read_prefix(model, dataset)
    records = prefix_records(model, dataset, Origin("double", "noise", "test"))
    share = one(records, "on_objects", "double_register2")
    assert (share.n, share.settings["images_without_object"]) == (IMAGES - 1, 1)
    upper = found.attention[:-1, 2, : 2 * GRID[1]].sum(-1)
    assert share.value == pytest.approx(float(upper.mean()), abs=1e-4)
    assert one(records, "on_objects", "double_patches").value == pytest.approx(1 / 3)
    alike = similarity(found.attention).mean(dim=0)
    assert one(records, "like_cls", "double_register1").value == pytest.approx(float(alike[0, 1]), abs=1e-4)
    assert one(records, "alike", "double").value == pytest.approx(float(alike[1, 2]), abs=1e-4)


def test_without_registers_or_annotation(dataset):
    plain = planted(replace(CONFIG, image_size=SIDE))
    bare = Photographs(replace(example, semantic=None) for example in dataset)
    records = prefix_records(plain, bare, Origin("double", "noise", "test"))
    assert {(record.metric, record.model) for record in records} == {
        ("prefix/norm", "double_cls"),
        ("prefix/norm", "double_patches"),
    }


def test_cells(model, dataset, monkeypatch, tmp_path):
    networks = [Network(name, 0, lambda: Loaded(model, 0, "hash", {"why": 1})) for name in ("vit", "untrained_vit")]
    monkeypatch.setattr(prefix_recording, "register_networks", lambda _: networks)
    monkeypatch.setattr(prefix_recording.Measurement, "open", lambda *_: dataset)
    cells = list(prefix_recording.prefix_cells(Place(tmp_path, tmp_path, "cpu")))
    assert [(cell.subject, cell.data) for cell in cells] == [("vit", "coco200"), ("vit", "cutouts")]
    (only,) = prefix_recording.prefix_cells(Place(tmp_path, None, "cpu"))
    norm = one(only.measure("command"), "norm", "vit_cls")
    assert (norm.data, norm.weights_sha256, norm.settings["why"]) == ("cutouts", "hash", 1)
