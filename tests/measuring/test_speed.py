"""Speed: which runs are paired, what is made of their seconds, and what is recorded."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from wbcore import segmentation_study
from wbcore.checkpoints import ModelCard, save_model
from wbcore.data.example import Example
from wbcore.errors import InputError
from wbcore.measuring.speed import Timings, macs_ratio, speed_records, timed_images, timings
from wbcore.metrics.segmentation_cost import dense_ledger, segmentation_ledger
from wbcore.models.backbone import BackboneConfig
from wbcore.models.dovit import DoViT, Policy, SegmenterConfig
from wbcore.recording import speed_recording
from wbcore.recording.cells import Place
from wbcore.recording.speed_recording import scenery_cells
from wbcore.segmentation_study import cells

DOVIT = Policy("confidence", threshold=0.5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    backbone = BackboneConfig(image_size=16, patch_size=4, dim=12, depth=4, heads=3, attention="mhsa")
    network = DoViT(SegmenterConfig(backbone, 5, decisions=(1, 2, 3), policy=DOVIT)).eval()
    for probe in network.probes:
        torch.nn.init.normal_(probe.classify.weight, std=1.0)
    return network


@pytest.fixture
def pixels():
    return torch.randint(256, (11, 3, 13, 17), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def seen(model, monkeypatch):
    """The (policy, images) of every forward pass; each takes a second, under a policy half of one."""
    now, passes, forward = 0.0, [], model.forward

    def tick() -> float:
        return now

    def run(images):
        nonlocal now
        now += 1.0 if model.policy.kind == "dense" else 0.5
        passes.append((model.policy.kind, len(images)))
        return forward(images)

    monkeypatch.setattr(time, "perf_counter", tick)
    monkeypatch.setattr(model, "forward", run)
    return passes


def test_dense_and_policy_take_turns(model, pixels, seen):
    groups = model.normalise(pixels[:6]).split(3)
    found = timings(model, groups, DOVIT, batch=2, repeats=2)
    both = [(kind, images) for kind in ("dense", "confidence") for images in (2, 1)]
    assert seen == both * (1 + 2 * 2)  # one that does not count, then two groups twice
    assert found.dense.tolist() == [1.5] * 4
    assert found.rates.tolist() == [3.0] * 4


def test_medians_quartiles_and_the_interval_of_the_ratio():
    found = Timings(np.array([4.0, 2.0, 6.0, 8.0, 10.0]), np.array([4.0, 1.0, 2.0, 2.0, 2.0]))
    assert found.rate == (6.0, 4.0, 8.0, 5)
    value, low, high, n = found.speedup
    assert (value, n) == (3.0, 5)
    assert 1 <= low < 3 < high <= 5


@pytest.mark.usefixtures("seen")
def test_records_say_what_was_timed(model, pixels):
    runs = {"a_dense": Policy(), "a_dovit": DOVIT}
    records = speed_records(model, pixels[:11], runs, data="noise", command="test", repeats=1)
    assert [(record.model, record.metric) for record in records] == [
        ("a_dense", "speed/throughput"),
        ("a_dense", "speed/fps"),
        ("a_dovit", "speed/throughput"),
        ("a_dovit", "speedup/throughput"),
        ("a_dovit", "speed/fps"),
        ("a_dovit", "speedup/fps"),
    ]
    assert [record.value for record in records] == [8, 1, 16, 2, 2, 2]
    assert {record.n for record in records} == {1}  # eleven images are one group of eight
    assert [record.settings["batch"] for record in records] == [8, 1, 8, 8, 1, 1]
    settings = records[-1].settings
    assert (settings["images"], settings["size"], settings["device"]) == (8, [13, 17], "cpu")
    assert settings["dense"] == 1
    assert settings["interval"] == "95 % over pairs of timings"
    assert records[0].settings["macs_ratio"] == 1
    assert model.policy == DOVIT


def test_macs_ratio_is_that_of_each_image_alone(model, pixels):
    images = model.normalise(pixels[:5])
    dense, ours = [], []
    config = dataclasses.replace(model.config, policy=DOVIT)
    for image in images:
        model.policy = DOVIT
        with torch.inference_mode():
            found = model(image[None])
        ours.append(segmentation_ledger(config, found.grid, [layer[0] for layer in found.tokens]).whole.total)
        dense.append(dense_ledger(config, found.grid).whole.total)
    assert len(set(ours)) > 1
    assert macs_ratio(model, images.split(3), DOVIT) == pytest.approx(sum(dense) / sum(ours))


@pytest.mark.parametrize("policy", [DOVIT, Policy("merge", merged=1)], ids=lambda policy: policy.kind)
def test_autocast_runs(model, pixels, policy):
    records = speed_records(
        model, pixels[:2], {"a": policy}, data="noise", command="test", repeats=1, precision="bfloat16"
    )
    assert {record.settings["precision"] for record in records} == {"bfloat16"}
    assert all(record.value > 0 for record in records)


@pytest.mark.parametrize(("count", "options"), [(0, {}), (2, {"repeats": 0}), (2, {"precision": "float16"})])
def test_bad_input(model, pixels, count, options):
    with pytest.raises(InputError, match=r"give at least one|choose float32"):
        speed_records(model, pixels[:count], {"a": DOVIT}, data="noise", command="test", **options)


class Ramps:
    """Images of different sizes in which a pixel says where it is."""

    name, fingerprint = "ramps", "3" * 64
    classes: Sequence[str] = ("a",)

    def __init__(self, *sizes):
        self._sizes = sizes

    def __len__(self):
        return len(self._sizes)

    def __getitem__(self, index):
        rows, cols = np.indices(self._sizes[index], dtype=np.uint8)
        return Example(name=f"ramps/{index}", image=np.stack([rows, cols, rows], axis=-1))


def test_images_are_cut_around_their_centres():
    images = timed_images(Ramps((7, 11), (11, 5), (13, 13)), 2)  # the first two
    assert images.shape == (2, 3, 7, 5)
    assert images[0, :2, 0, 0].tolist() == [0, 3]
    assert images[1, :2, 0, 0].tolist() == [2, 0]


def test_lesser_side_is_brought_to_size():
    assert timed_images(Ramps((14, 22), (26, 14)), 2, shorter=7).shape == (2, 3, 7, 7)


@pytest.fixture
def trained(model, tmp_path, monkeypatch):
    """Weights of every cell of the composed scenes, small images, and a device that is the CPU."""
    monkeypatch.setattr(segmentation_study, "WEIGHTS", tmp_path / "none is shipped")
    for cell in cells():
        if cell.scenery == "scenes" and cell.backbone == "vit":
            config = dataclasses.replace(model.config, policy=cell.policy)
            card = ModelCard(name=cell.name, config=dataclasses.asdict(config))
            save_model(DoViT(config), cell.weights(tmp_path), card)
    monkeypatch.setattr(speed_recording, "measured_on", lambda *_: Ramps(*[(19, 23)] * 3))
    monkeypatch.setattr(
        speed_recording,
        "SIZES",
        (speed_recording.Size(1, 2, 1, sweep=True), speed_recording.Size(2, 2, 1, sweep=False)),
    )
    scenery = dataclasses.replace(speed_recording.SCENERIES["scenes"], crop=(16, 16))
    monkeypatch.setattr(
        speed_recording, "SCENERIES", {"scenes": scenery, "street": speed_recording.SCENERIES["street"]}
    )
    return tmp_path


def test_trained_models_are_timed_at_two_sizes(trained):
    found = {cell.subject: cell for cell in scenery_cells("scenes", Place(trained, None, "cpu"))}
    assert list(found) == [f"setr_vit_{variant}" for variant in ("dovit", "dense", "dyvit")]
    cell = found["setr_vit_dyvit"]
    assert cell.file(Path()).name == "records-setr_vit_dyvit-seed0-cutouts_stuff-cpu-float32.json"
    records = list(cell.measure("test"))
    timed = [(record.model, record.settings["size"]) for record in records if record.metric == "speed/fps"]
    small = [(f"setr_vit_dyvit{ratio}", [16, 19]) for ratio in (90, 80, 70)]
    assert timed == [*small, ("setr_vit_dyvit70", [32, 39])]


def test_every_device_and_precision_has_files_of_its_own(trained):
    files = [
        cell.file(Path()).name
        for device in speed_recording.PRECISIONS
        for cell in scenery_cells("scenes", Place(trained, None, device))
    ]
    assert len(set(files)) == len(files) == 3 * 3


def test_nothing_is_timed_where_there_are_no_photographs(trained):
    assert list(scenery_cells("street", Place(trained, None, "cpu"))) == []
