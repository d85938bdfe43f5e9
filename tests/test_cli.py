"""The command line: what works says what it made, what does not is one line and exit status 2."""

from dataclasses import asdict

import pytest

from tests import tiny
from wbcore import cli, study
from wbcore.checkpoints import ModelCard, read_card, save_model
from wbcore.models import zoo
from wbcore.recording import artefacts
from wbcore.records import load_records


@pytest.fixture
def mini(monkeypatch):
    monkeypatch.setitem(zoo.MODELS, "crate_mini", tiny.CONFIG)
    return "crate_mini"


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(tiny.model(), path, ModelCard("crate_mini", asdict(tiny.CONFIG), seed=0))
    return path


def test_models(capsys):
    assert cli.main(["models", "crate*patch8_224"]) == 0
    names = capsys.readouterr().out.split()
    assert "crate_small_patch8_224" in names
    assert not any(name.startswith("vit") for name in names)


def test_data_list(capsys):
    assert cli.main(["data", "list"]) == 0
    assert "cutouts" in capsys.readouterr().out


def test_train(mini, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(study, "training_batches", lambda *_arguments, **_options: tiny.ColourBatches())
    command = ["train", mini, "--device", "cpu", "--output", str(tmp_path)]
    for pair in ("epochs=1", "batch_size=8", "precision=float32", "learning_rate=1e-3", "clip_norm=null"):
        command += ["--set", pair]
    assert cli.main([*command, "--minutes", "0"]) == 0
    assert "stopped at step 0 of 3" in capsys.readouterr().out
    assert cli.main(command) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "model.safetensors")
    card = read_card(tmp_path / "model.safetensors")
    assert card.name == "crate_mini-cutouts-seed0"
    assert card.config["num_classes"] == 5
    assert (card.recipe["epochs"], card.recipe["learning_rate"], card.recipe["clip_norm"]) == (1, 1e-3, None)


def test_evaluate(weights, tmp_path, capsys):
    output = tmp_path / "records.json"
    command = ["evaluate", str(weights), "--size", "24", "--limit", "3", "--output", str(output)]
    assert cli.main(command) == 0
    records = load_records(output)
    assert {record.model for record in records} == {"crate_mini"}
    assert len(capsys.readouterr().out.splitlines()) == len(records)


def test_study(monkeypatch, capsys):
    monkeypatch.setattr(study, "run_study", lambda *_arguments, **_options: 3)
    monkeypatch.setattr(study, "ship", lambda _name: ["a.safetensors"])
    monkeypatch.setattr(artefacts, "record_artefact", lambda *_arguments, **_options: ["records.json"])
    assert cli.main(["study", "table2", "--minutes", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == ["shipped a.safetensors", "3 cells left", "measured records.json"]
    assert cli.main(["study", "table2", "--minutes", "1", "--train-only"]) == 0
    assert capsys.readouterr().out.splitlines() == ["shipped a.safetensors", "3 cells left"]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("train crate_smal_patch8_224", "crate_small_patch8_224"),
        ("train crate_lab_patch8_72 --recipe lab13", "lab12"),
        ("train crate_lab_patch8_72 --set epoch=3", "--set epoch=3"),
        ("train crate_lab_patch8_72 --set epochs", "KEY=VALUE"),
        ("train crate_lab_patch8_72 --data imagenete", "imagenette"),
        ("evaluate nowhere.safetensors --size 24 --limit 2 --output x.json", "nowhere.json is missing"),
        ("evaluate {weights} --size 25 --limit 2 --output x.json", "25"),
        ("evaluate {weights} --size 24 --limit 0 --output x.json", "ask for 1 or more"),
        ("evaluate {weights} --size 24 --split test --output x.json", "segmentation"),
        ("evaluate {weights} --size 24 --data voc2013 --output x.json", "voc2012"),
        ("study tabel2 --minutes 1", "table2"),
        ("data check voc2013", "voc2012"),
    ],
)
def test_bad_input_is_one_line(command, named, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command.format(weights=weights).split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = [one for one in output.err.splitlines() if one.startswith("wbcore: ")]
    assert named in line
    assert "Traceback" not in output.err
    assert not (tmp_path / "x.json").exists()


def test_interrupted(monkeypatch, capsys):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run_study", interrupt)
    assert cli.main(["study", "table2", "--minutes", "1"]) == 130
    assert "run the same command again" in capsys.readouterr().err
