"""Cells that are trained on a machine that keeps nothing: small files, whole cells, and cards that say what is done."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.data import miniatures
from wbcore import recipes, study
from wbcore.checkpoints import load_model
from wbcore.data.batches import PhotographBatches
from wbcore.data.readers import ImageFolder
from wbcore.measuring.recognition import held_out, top1_share
from wbcore.models import zoo
from wbcore.recipes import Recipe

NAMES = ("crate_mini", "vit_mini")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.setitem(zoo.MODELS, name, tiny.CONFIG)
    monkeypatch.setitem(recipes.RECIPES, "mini", Recipe(epochs=2, batch_size=2, precision="float32"))
    one = study.Study(models=NAMES, recipe="mini", data="imagenet", seeds=2, epoch_size=0, travels=True)
    monkeypatch.setitem(study.STUDIES, "mini", one)
    miniatures.image_folder(tmp_path)
    return tmp_path / "runs"


def run(runs, **options):
    return study.run_study("mini", **{"minutes": math.inf, "data_root": runs.parent, "runs": runs, **options})


def test_cells_are_small_and_whole(runs):
    assert run(runs) == 0
    folder = study.cell_folder("mini", NAMES[0], 1, runs)
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "model.json", "model.safetensors"}
    kept = load_file(folder / "model.safetensors")
    assert {kept[name].dtype for name in kept if f"{name}.step" in kept} == {torch.int8}
    model, card = load_model(folder / "model.safetensors")
    images = held_out("imagenet", "val", size=24, data_root=runs.parent)
    assert card.metrics == {"top1": pytest.approx(top1_share(model, images), abs=0.2)}
    assert card.data["name"] == "imagenet/train-24px"


def test_cells_of_any_study_can_travel(runs, monkeypatch):
    at_home = study.replace(study.STUDIES["mini"], travels=False)
    monkeypatch.setitem(study.STUDIES, "mini", at_home)
    run(runs, only="crate_mini-seed0")
    run(runs, only="crate_mini-seed1", travels=True)
    kept, sent = ({path.name for path in study.cell_folder("mini", NAMES[0], k, runs).iterdir()} for k in (0, 1))
    assert kept - sent == {f"epoch00{epoch}.{kind}" for epoch in (1, 2) for kind in ("json", "safetensors")}
    assert sent == {"last.ckpt", "model.json", "model.safetensors"}


def test_a_card_alone_stands_for_its_cell(runs):
    run(runs, only=NAMES[0])
    for path in runs.rglob("*"):
        if path.suffix in (".safetensors", ".ckpt"):
            path.unlink()
    assert run(runs, minutes=0) == 2  # the other model's cells
    assert list(study.finished_cells("mini", runs)) == []  # what is measured needs its weights


def test_no_cell_is_begun_that_would_not_be_finished(runs, monkeypatch):
    ticks, trained = itertools.count(0, 60), []
    monkeypatch.setattr(study, "time", SimpleNamespace(monotonic=lambda: next(ticks)))

    def train_cell(_name, _study, model, seed, *_rest):
        trained.append((seed, model))
        next(ticks)  # a cell takes three readings of the clock
        return True

    monkeypatch.setattr(study, "_train_cell", train_cell)
    assert run(runs, minutes=5) == 3  # two of the five minutes are left after the first
    assert trained == [(0, NAMES[0])]


def test_photographs_for_a_gpu_are_decoded_by_processes(tmp_path, monkeypatch):
    miniatures.image_folder(tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(12)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    settings = Recipe(epochs=1, batch_size=2, crop_scale=(0.5, 0.9), rand_augment=(1, 3))
    options = {"size": 24, "epoch_size": 5, "seed": 0, "data_root": tmp_path}
    found = study.training_batches("imagenet", settings, device="cuda", **options)
    assert found.workers == 3
    assert study.training_batches("imagenet", settings, device="cpu", **options).workers == 0
    expected = PhotographBatches(
        ImageFolder(tmp_path / "imagenet", "train"), size=24, crop_scale=(0.5, 0.9), rand_augment=(1, 3)
    )
    assert torch.equal(found.batch(0, range(6))[0], expected.batch(0, range(6))[0])
