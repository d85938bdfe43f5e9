"""The segmentation study: bases first, then what goes on from them; resumable, shipped, recorded."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file

from wbcore import recipes, segmentation_study
from wbcore.checkpoints import load_segmenter
from wbcore.errors import InputError
from wbcore.files import sha256
from wbcore.losses import auxiliary_cross_entropy, pixel_cross_entropy, self_distillation
from wbcore.models.dovit import Policy, Segmentation
from wbcore.recipes import Recipe
from wbcore.recording import segmentation_recording
from wbcore.recording.cells import Place
from wbcore.segmentation_study import (
    Scenery,
    SegmentationCell,
    TokenPassObjective,
    cells,
    decisions_of,
    pretrained_backbone,
    run_segmentation_study,
    ship_segmenters,
)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One family of models on tiny scenes, four of them an epoch."""
    mini = Recipe(epochs=1, batch_size=2, precision="float32")
    for name in ("mini", "mini_policy"):
        monkeypatch.setitem(recipes.RECIPES, name, mini)
    scenes = Scenery("cutouts_stuff", "cutouts_stuff", crop=(32, 32), shorter=None, recipe="mini", test="segmentation")
    monkeypatch.setitem(segmentation_study.SCENERIES, "scenes", scenes)
    family = [cell for cell in cells() if cell.name.startswith("scenes_setr_crate_")]
    for module in (segmentation_study, segmentation_recording):
        monkeypatch.setattr(module, "cells", lambda study="dovit": family)  # noqa: ARG005
    monkeypatch.setattr(segmentation_study, "EPOCH_SCENES", 4)
    monkeypatch.setattr(segmentation_recording, "SCENES", 3)
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for file in segmentation_study.WEIGHTS.glob("crate_lab_patch8_72.*"):
        (shipped / file.name).symlink_to(file)
    monkeypatch.setattr(segmentation_study, "WEIGHTS", shipped)
    return tmp_path / "runs"


def run(runs, **options):
    return run_segmentation_study(**{"minutes": math.inf, "runs": runs, "device": "cpu", **options})


def weights(runs, variant):
    return next(cell for cell in segmentation_study.cells() if cell.variant == variant).weights(runs)


@pytest.mark.parametrize("study", segmentation_study.STUDIES)
def test_every_cell_has_its_own_weights_and_an_earlier_base(study, tmp_path):
    found = cells(study)
    files = [cell.weights(tmp_path) for cell in found]
    assert len(set(files)) == len(files)
    for cell in found:
        assert cell.base is None or files.index(cell.base.weights(tmp_path)) < found.index(cell)


def test_an_unknown_study():
    with pytest.raises(InputError, match="choose one of dovit, dovit_gpu"):
        cells("dovit_tpu")


def test_decisions_are_the_paper_s():
    assert decisions_of(12) == (3, 6, 9)
    assert decisions_of(24) == (6, 12, 18)
    assert decisions_of(6) == (2, 3, 5)


def test_nothing_goes_on_from_a_base_that_is_not_there(runs):
    assert run(runs, only="scenes_setr_crate_dovit") == 1
    assert not runs.exists()


def test_no_time_no_training(runs):
    assert run(runs, minutes=0) == 4
    assert not runs.exists()


def test_trained_shipped_and_recorded(runs):
    assert run(runs) == 0
    base, _ = load_segmenter(weights(runs, "base"))
    dovit, card = load_segmenter(weights(runs, "dovit"))
    assert dovit.config == dataclasses.replace(base.config, policy=Policy("confidence", threshold=0.97))
    assert card.recipe["teacher_sha256"] == sha256(weights(runs, "base"))
    assert card.recipe["beta"] == 0.4
    assert run(runs) == 0  # nothing is left, and nothing is trained again

    files = ship_segmenters(runs)
    assert sorted(file.stem for file in files) == [
        f"scenes_setr_crate_{variant}" for variant in ("dense", "dovit", "dyvit")
    ]
    stored = load_file(files[0])
    assert {tensor.dtype for name, tensor in stored.items() if f"{name}.step" in stored} == {torch.int8}
    assert ship_segmenters(runs) == []
    assert weights(runs, "dense") in files  # a shipped model stands for its cell

    found = list(segmentation_recording.segmentation_cells("scenes", Place(runs, None, "cpu")))
    assert [cell.subject for cell in found] == [
        "setr_crate_dovit",
        *(f"setr_crate_dovit_xi{xi}" for xi in (950, 960, 970, 980, 985, 990)),
        "setr_crate_dense",
        "setr_crate_dense_untuned",
        *(f"setr_crate_dense_tome{share}" for share in (25, 50, 75)),
        *(f"setr_crate_dyvit{ratio}" for ratio in (90, 80, 70)),
    ]
    by_name = {cell.subject: cell for cell in found}
    costs = {}
    for name in ("setr_crate_dense", "setr_crate_dense_tome50", "setr_crate_dyvit70"):
        records = {record.metric: record for record in by_name[name].measure("test")}
        assert records["segmentation/miou"].n == 3
        costs[name] = records["cost/gmacs"].value
    assert costs["setr_crate_dense_tome50"] < costs["setr_crate_dense"]
    assert costs["setr_crate_dyvit70"] < costs["setr_crate_dense"]


def test_further_runs_are_recorded_run_by_run(runs, monkeypatch):
    family = segmentation_study.cells()
    again = [dataclasses.replace(cell, seed=1) for cell in family if cell.variant in ("base", "dense")]
    for module in (segmentation_study, segmentation_recording):
        monkeypatch.setattr(module, "cells", lambda study="dovit": [*family, *again])  # noqa: ARG005
    assert run(runs, only="scenes_setr_crate_base-seed1") == 0
    assert run(runs, only="scenes_setr_crate_dense-seed1") == 0
    found = list(segmentation_recording.segmentation_cells("scenes", Place(runs, None, "cpu")))
    names = ["setr_crate_dense_seed1", "setr_crate_dense_untuned_seed1"]
    assert [cell.subject for cell in found] == names
    assert [cell.file(runs).name for cell in found] == [f"records-{name}-cutouts_stuff.json" for name in names]
    records = list(found[0].measure("test"))
    assert {(record.model, record.seeds, record.n) for record in records} == {(names[0], (1,), 3)}
    assert {(record.values, record.tallies) for record in records} == {(None, None)}


def test_street_waits_for_its_data(runs):
    assert list(segmentation_recording.segmentation_cells("street", Place(runs, None, "cpu"))) == []
    with pytest.raises(InputError, match="vit_tiny needs data_root"):
        pretrained_backbone("vit_tiny", data_root=None)
    with pytest.raises(InputError, match="is missing: save the state dict of timm's"):
        pretrained_backbone("vit_tiny", data_root=runs.parent)


def test_the_objective_is_the_sum_of_its_parts():
    generator = torch.Generator().manual_seed(0)
    logits, coarse = torch.randn(2, 5, 8, 8, generator=generator), torch.randn(2, 5, 2, 2, generator=generator)
    probes = tuple(torch.randn(2, 4, 5, generator=generator) for _ in range(3))
    labels = torch.randint(0, 5, (2, 8, 8), generator=generator).to(torch.uint8)
    images = torch.zeros(2, 3, 8, 8)
    outputs = Segmentation(logits, coarse, probes, (), (), (2, 2))

    class Teacher(torch.nn.Module):
        def forward(self, images):
            theirs = images.new_ones(2, 5, 2, 2).cumsum(1)
            return Segmentation(logits, theirs, (), (), (), (2, 2))

    expected = pixel_cross_entropy(logits, labels)
    expected = expected + 0.3 * auxiliary_cross_entropy(probes, labels, grid=(2, 2), patch_size=4)
    alone = TokenPassObjective(4, alpha=0.3)
    torch.testing.assert_close(alone(outputs, images, labels), expected)
    assert alone.describe() == {"alpha": 0.3, "beta": 0.0, "direction": None, "teacher_sha256": None}
    for direction in ("printed", "code"):
        taught = TokenPassObjective(4, alpha=0.3, beta=0.7, teacher=Teacher(), teacher_sha256="f", direction=direction)
        distance = self_distillation(coarse, Teacher()(images).coarse, direction=direction)
        torch.testing.assert_close(taught(outputs, images, labels), expected + 0.7 * distance)
        assert taught.describe() == {"alpha": 0.3, "beta": 0.7, "direction": direction, "teacher_sha256": "f"}


def test_a_cell_names_its_records_without_its_scenery():
    cell = SegmentationCell("street", "vit_tiny", "segmenter", "dovit", Policy())
    assert (cell.name, cell.model_name) == ("street_segmenter_vit_tiny_dovit", "segmenter_vit_tiny_dovit")
