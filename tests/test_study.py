"""A study is done cell by cell, stops at its deadline and goes on where it stopped."""

import math
from dataclasses import replace
from functools import partial

import pytest
from safetensors.torch import load_file

from tests import tiny
from tests.data import labelled
from wbcore import recipes, study
from wbcore.checkpoints import load_model, read_card, read_safetensors
from wbcore.errors import InputError
from wbcore.evaluate import Measurement
from wbcore.files import sha256
from wbcore.measuring import recognition
from wbcore.models import zoo
from wbcore.recipes import Recipe
from wbcore.recording import artefacts, foreground_recording, objective_recording, sources, study_recording
from wbcore.records import load_records

NAMES = ("crate_small_patch8", "vit_small_patch8")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    config = tiny.CONFIG
    monkeypatch.setitem(zoo.MODELS, NAMES[0], config)
    monkeypatch.setitem(zoo.MODELS, NAMES[1], replace(config, attention="mhsa", feedforward="mlp"))
    monkeypatch.setitem(recipes.RECIPES, "mini", Recipe(epochs=2, batch_size=2, precision="float32"))
    one = study.Study(
        models=NAMES,
        recipe="mini",
        data="cutouts",
        held_out="recognition",
        seeds=2,
        epoch_size=4,
        shipped=NAMES,
        shipped_epochs=(1, 2, 4),
    )
    measured_on = (Measurement("cutouts", "segmentation", 24, 5), Measurement("weizmann", "val", 24))
    monkeypatch.setitem(study.STUDIES, "mini", one)
    monkeypatch.setattr(study, "WEIGHTS", tmp_path / "weights")

    def cells(place):
        yield from study_recording.segmentations(
            sources.ablation("mini", place), measured_on, ("attention", "maskcut"), place
        )
        yield from study_recording.recognitions("mini", place)

    monkeypatch.setitem(artefacts.ARTEFACTS, "mini", cells)
    monkeypatch.setattr(recognition, "SCENES", 20)
    monkeypatch.setattr(recognition, "top1_share", lambda *_arguments: 0.25)
    monkeypatch.setattr(study, "top1_share", lambda *_arguments: 0.25)
    return tmp_path / "runs"


def test_first_seed_of_every_model_comes_first(runs):
    assert study.find_study("mini").cells() == [(0, NAMES[0]), (0, NAMES[1]), (1, NAMES[0]), (1, NAMES[1])]
    assert {seed for seed, _ in study.find_study("table2").cells()[:5]} == {0}
    assert len({model for _, model in study.find_study("table2").cells()[:5]}) == 5
    assert not list(study.finished_cells("mini", runs))


def test_a_study_from_end_to_end(runs, tmp_path):
    assert study.run_study("mini", minutes=-1, runs=runs) == 4
    assert study.run_study("mini", minutes=math.inf, runs=runs, only=NAMES[1]) == 0
    done = list(study.finished_cells("mini", runs))
    assert [(seed, model) for seed, model, _ in done] == [(0, NAMES[1]), (1, NAMES[1])]
    times = [path.stat().st_mtime_ns for _, _, path in done]
    assert study.run_study("mini", minutes=math.inf, runs=runs) == 0
    assert [path.stat().st_mtime_ns for _, _, path in done] == times  # finished cells are not trained again
    assert len(list(study.finished_cells("mini", runs))) == 4
    _, card = load_model(study.cell_folder("mini", NAMES[0], 1, runs) / "model.safetensors")
    assert (card.seed, card.metrics) == (1, {"top1": 0.25})
    assert {p.name for p in study.cell_folder("mini", NAMES[0], 1, runs).glob("epoch*.safetensors")} == {
        "epoch001.safetensors",
        "epoch002.safetensors",
    }

    shipped = study.ship("mini", runs)
    epochs = [f"{NAMES[0]}-epoch00{epoch}" for epoch in (1, 2)]  # of the first model, so that its course can be shown
    assert [path.stem for path in shipped] == [*NAMES, *epochs]
    assert study.ship("mini", runs) == []
    original = load_file(study.cell_folder("mini", NAMES[0], 0, runs) / "model.safetensors")
    for name, tensor in read_safetensors(shipped[0]).items():
        half_step = original[name].abs().amax(-1, keepdim=True) / 254
        assert tensor.ndim < 2 or ((tensor - original[name]).abs() <= half_step * 1.0001).all()
    assert (
        shipped[0].stat().st_size < (study.cell_folder("mini", NAMES[0], 0, runs) / "model.safetensors").stat().st_size
    )
    assert load_model(shipped[0])[1].seed == 0
    # A shipped model stands for its cell where the runs are gone.
    assert [cell[:2] for cell in study.finished_cells("mini", tmp_path / "elsewhere")] == [(0, one) for one in NAMES]

    written = artefacts.record_artefact("mini", runs=runs, results=tmp_path / "results")
    names = {path.name for path in written}
    subjects = ("centred_blob", "random_heads-seed0", "untrained_crate-seed0", "untrained_vit-seed0")
    cells = ("crate-seed0", "crate_seed1", "vit-seed0", "vit_seed1")
    assert names == {f"records-{subject}-cutouts.json" for subject in (*subjects, *cells)} | {
        f"records-{cell}-cutouts_recognition.json" for cell in cells
    }
    records = load_records(tmp_path / "results")
    assert {record.data for record in records} == {"cutouts", "cutouts_recognition"}  # no data_root, no photographs
    top1 = [record for record in records if record.metric == "top1"]
    for record in top1:
        assert record.low < record.value == 0.25 < record.high
    assert {record.seeds for record in top1} == {(0,), (1,)}
    assert artefacts.record_artefact("mini", runs=runs, results=tmp_path / "results") == []


@pytest.mark.parametrize(
    ("subjects", "kinds", "names"),
    [
        (sources.by_layer, ("attention",), {"crate_layer1", "crate_layer2", "vit_layer1", "vit_layer2"}),
        (sources.by_epoch, ("maskcut",), {"crate_epoch1", "crate_epoch2", "vit_epoch1", "vit_epoch2"}),
        (
            sources.by_noise,
            ("attention",),
            {"crate", "vit"}
            | {f"{m}_sigma{a}_share{b}" for m in ("crate", "vit") for a, b in ((75, 10), (75, 50), (10, 50))},
        ),
    ],
)
def test_what_the_figures_show_is_recorded_from_the_trained_models(runs, tmp_path, monkeypatch, subjects, kinds, names):
    assert study.run_study("mini", minutes=math.inf, runs=runs) == 0
    monkeypatch.setattr(sources, "NOISE_SIGMAS", (10,))
    monkeypatch.setattr(sources, "NOISE_SHARES", (10, 50))
    measured_on = (Measurement("cutouts", "segmentation", 24, 5),)
    monkeypatch.setitem(
        artefacts.ARTEFACTS,
        "figure",
        lambda place: study_recording.segmentations(subjects("mini", place), measured_on, kinds, place),
    )
    artefacts.record_artefact("figure", runs=runs, results=tmp_path / "results")
    records = load_records(tmp_path / "results")
    assert {record.model for record in records} >= names
    assert {record.metric.split("_")[0] for record in records} == set(kinds)
    assert {record.command for record in records} == {"wbcore study figure"}


def test_the_objective_is_recorded_layer_by_layer(runs, tmp_path, monkeypatch):
    assert study.run_study("mini", minutes=math.inf, runs=runs, only=NAMES[0]) == 0
    monkeypatch.setattr(objective_recording, "lab_data", lambda *_: (Measurement("cutouts", "segmentation", 24, 5),))
    monkeypatch.setattr(
        objective_recording, "first_seed", lambda _study, place, variants: sources.first_seed("mini", place, variants)
    )
    artefacts.record_artefact("eq2_objective_by_layer", runs=runs, results=tmp_path / "results")
    records = load_records(tmp_path / "results")
    assert {(one.metric, one.model) for one in records} == {
        (metric, f"crate_layer{layer}") for metric in ("subspace_coding_rate", "nonzero_share") for layer in (1, 2)
    }
    for one in records:
        assert (one.n, len(one.values), one.seeds, one.data) == (5, 5, (0,), "cutouts")
        assert one.low <= one.value <= one.high


def test_the_components_foreground_is_recorded(runs, tmp_path, monkeypatch):
    assert study.run_study("mini", minutes=math.inf, runs=runs) == 0
    monkeypatch.setattr(foreground_recording, "lab_data", lambda *_: (Measurement("cutouts", "segmentation", 24, 5),))
    monkeypatch.setattr(foreground_recording, "first_seed", lambda _study, place: sources.first_seed("mini", place))
    artefacts.record_artefact("fig3_pca", runs=runs, results=tmp_path / "results")
    records = load_records(tmp_path / "results")
    models = {"crate": (0,), "vit": (0,), "untrained_crate": (0,), "untrained_vit": (0,), "centred_blob": ()}
    assert {one.model: one.seeds for one in records} == models
    assert {one.model for one in records if one.weights_sha256} == {"crate", "vit"}
    assert {one.metric.split("/")[0] for one in records} == {"pca_foreground_iou"}


@pytest.fixture
def transfer(runs, monkeypatch, tmp_path):
    """Fine-tuning on a few photographs of CIFAR-10, from the study ``mini`` and from scratch."""
    labelled.cifar10(tmp_path)
    fine_tuned = study.Study(
        models=NAMES[:1], recipe="mini", data="cifar10", held_out="test", size=16, seeds=1, epoch_size=0,
        shipped=NAMES[:1], start="mini",
    )  # fmt: skip
    monkeypatch.setitem(study.STUDIES, "mini_transfer", fine_tuned)
    scratch = replace(fine_tuned, start=None, shipped=())
    monkeypatch.setitem(study.STUDIES, "mini_transfer_scratch", scratch)
    for name, ending in (("mini_transfer", ""), ("mini_transfer_scratch", "_scratch")):
        cells = partial(study_recording.recognitions, name, ending=ending)
        monkeypatch.setitem(artefacts.ARTEFACTS, name, cells)
    return runs


def test_fine_tuning_from_end_to_end(transfer, tmp_path):
    options = {"minutes": math.inf, "runs": transfer, "data_root": tmp_path}
    with pytest.raises(InputError, match=r"starts from crate_small_patch8 of study mini: .*`wbcore study mini`"):
        study.run_study("mini_transfer", **options)
    study.run_study("mini", **options, only=NAMES[0])
    for name in ("mini_transfer", "mini_transfer_scratch"):
        assert study.run_study(name, **options) == 0
    start = study.cell_folder("mini", NAMES[0], 0, transfer) / "model.safetensors"
    weights = study.cell_folder("mini_transfer", NAMES[0], 0, transfer) / "model.safetensors"
    model, card = load_model(weights)
    assert model.config == replace(tiny.CONFIG, num_classes=10)
    assert card.training["start"] == {"name": f"{NAMES[0]}-seed0", "weights_sha256": sha256(start)}
    assert card.data["name"] == "cifar10/train-16px"
    scratch = read_card(study.cell_folder("mini_transfer_scratch", NAMES[0], 0, transfer) / "model.safetensors")
    assert "start" not in scratch.training
    assert scratch.recipe == card.recipe

    (shipped,) = study.ship("mini_transfer", transfer)
    assert shipped.name == f"{NAMES[0]}-cifar10.safetensors"
    assert [path for *_, path in study.finished_cells("mini_transfer", transfer)] == [shipped]
    assert study.ship("mini_transfer_scratch", transfer) == []

    results = tmp_path / "results"
    for name in ("mini_transfer", "mini_transfer_scratch"):
        assert artefacts.record_artefact(name, runs=transfer, results=results) == []  # no photographs, no records
        artefacts.record_artefact(name, runs=transfer, results=results, data_root=tmp_path)
    found = {record.model: record for record in load_records(results)}
    assert set(found) == {"crate", "crate_scratch"}
    assert {(one.data, one.metric, one.n) for one in found.values()} == {("cifar10", "top1", 3)}
    assert found["crate"].weights_sha256 == sha256(shipped)


def test_fine_tuning_and_its_control_differ_in_the_start_alone():
    for data in study.TRANSFERS:
        fine_tuned, scratch = (study.find_study(f"table3_{data}{ending}") for ending in ("", "_scratch"))
        assert fine_tuned.start == "table2"
        assert replace(fine_tuned, start=None, shipped=()) == scratch
        assert set(fine_tuned.models) <= set(study.find_study("table2").models)


def test_every_study_is_recorded():
    assert set(study.STUDIES) <= set(artefacts.ARTEFACTS)


def test_nothing_is_recorded_for_an_unknown_name():
    with pytest.raises(InputError, match="nothing is recorded for 'fig6': did you mean fig6_depth"):
        artefacts.record_artefact("fig6")


def test_a_cell_that_was_cut_short_goes_on(runs, monkeypatch):
    trained = []

    class Stopping(study.Trainer):
        def run(self, **options):
            trained.append(self.name)
            return super().run(**{**options, **({"max_steps": 1} if len(trained) == 1 else {})})

    monkeypatch.setattr(study, "Trainer", Stopping)
    assert study.run_study("mini", minutes=math.inf, runs=runs, only=NAMES[0]) == 2
    assert study.run_study("mini", minutes=math.inf, runs=runs, only=NAMES[0]) == 0
    assert trained == [f"{NAMES[0]}-seed0"] * 2 + [f"{NAMES[0]}-seed1"]


def test_unknown_study():
    with pytest.raises(InputError, match="unknown study 'tabel2': did you mean table2"):
        study.run_study("tabel2", minutes=1)
