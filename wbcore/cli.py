"""The command line: ``wbcore train · evaluate · study · data · models``."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wbcore.errors import InputError

INPUT_ERROR, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an InputError becomes one line and exit status 2."""
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except InputError as error:
        print(f"wbcore: {error}", file=sys.stderr)
        return INPUT_ERROR
    except KeyboardInterrupt:
        print("wbcore: interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    from wbcore.data import cli as data_cli

    parser = argparse.ArgumentParser(prog="wbcore", description="What vision transformers see: train, measure, study.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a classifier; continues where an interrupted run stopped")
    train.add_argument("model", help="as `wbcore models` prints it")
    train.add_argument("--data", default="cutouts", help="data set to train on (default: cutouts)")
    train.add_argument("--data-root", type=Path, metavar="DIR", help="where data sets lie")
    train.add_argument("--recipe", default="lab", help="named training recipe (default: lab)")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one field of the recipe")
    train.add_argument("--epoch-size", type=int, default=30_000, help="scenes of an epoch of Cutouts")
    train.add_argument("--output", type=Path, metavar="DIR", help="default: runs/MODEL-DATA-seedN")
    train.add_argument("--start", type=Path, metavar="WEIGHTS", help="fine-tune these, with a new head")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    train.add_argument("--minutes", type=float, default=float("inf"), help="stop with a checkpoint after this time")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="measure segmentation of trained weights and write records")
    evaluate.add_argument("weights", type=Path, nargs="+", help="safetensors files with their cards")
    evaluate.add_argument(
        "--timm", metavar="MODEL", help="the weights are state dicts of this timm model, without cards"
    )
    evaluate.add_argument("--name", help="what the records call the model (default: the card's name, or timm's)")
    evaluate.add_argument("--data", default="cutouts", help="data set to measure on (default: cutouts)")
    evaluate.add_argument("--split", default="val", help="split of the data set (Cutouts: segmentation)")
    evaluate.add_argument("--data-root", type=Path, metavar="DIR")
    evaluate.add_argument("--size", type=int, required=True, help="side in pixels to which images are resized")
    evaluate.add_argument("--limit", type=int, help="evenly spaced images to measure on")
    evaluate.add_argument("--device", default="cpu")
    evaluate.add_argument("--output", type=Path, required=True, metavar="FILE", help="where the records go (JSON)")
    evaluate.set_defaults(run=_evaluate)

    study = commands.add_parser("study", help="train and measure what stands behind a table or a figure of the book")
    study.add_argument("name", help="for example table2, or fig6_depth, which measures the models of table2")
    study.add_argument("--minutes", type=float, default=0, help="train for so long at most (default: only measure)")
    study.add_argument("--train-only", action="store_true", help="measure nothing, for a machine that only trains")
    study.add_argument("--only", metavar="NAME", help="only cells whose names begin so, such as MODEL-seed1")
    study.add_argument("--travels", action="store_true", help="train for elsewhere: 8 bits, final weights only")
    study.add_argument("--data-root", type=Path, metavar="DIR", help="real photographs to measure on, where they are")
    study.add_argument("--device", default="cpu")
    study.set_defaults(run=_study)

    models = commands.add_parser("models", help="list the named models")
    models.add_argument("pattern", nargs="?", default="*", help="such as 'crate*patch8*'")
    models.set_defaults(run=_models)

    data_cli.register(commands)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    import time

    import torch

    from wbcore.devices import choose_device
    from wbcore.files import ROOT
    from wbcore.models import create_model, model_config
    from wbcore.recipes import recipe
    from wbcore.study import training_batches
    from wbcore.train import Trainer
    from wbcore.transfer import origin, start_from

    deadline = time.monotonic() + 60 * arguments.minutes
    settings = dataclasses.replace(recipe(arguments.recipe), **_recipe_changes(arguments.set))
    device = choose_device(arguments.device)
    batches = training_batches(
        arguments.data,
        settings,
        size=model_config(arguments.model).size[0],
        epoch_size=arguments.epoch_size,
        seed=arguments.seed,
        device=device,
        data_root=arguments.data_root,
    )
    torch.manual_seed(arguments.seed)
    model = create_model(arguments.model, num_classes=batches.num_classes)
    if arguments.start is not None:
        start_from(model, arguments.start)
    name = f"{arguments.model}-{arguments.data}-seed{arguments.seed}"
    output = arguments.output or ROOT / "runs" / name
    trainer = Trainer(
        model,
        batches,
        settings,
        output=output,
        name=name,
        seed=arguments.seed,
        device=device,
        start=None if arguments.start is None else origin(arguments.start),
    )
    weights = trainer.run(deadline=deadline)
    if weights is None:
        print(f"stopped at step {trainer.step} of {trainer.total_steps}: run the same command again to go on")
    else:
        print(weights)
    return 0


def _recipe_changes(pairs: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` pairs as fields of a recipe.

    Raises: InputError for an unknown field, a pair without a value, or a value that the field cannot have.
    """
    from wbcore.recipes import Recipe, require_allowed

    known = {field.name for field in dataclasses.fields(Recipe)}
    changes = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in known:
            raise InputError(f"--set {pair}: write KEY=VALUE with a KEY among {', '.join(sorted(known))}")
        try:
            changes[key] = json.loads(value)
        except json.JSONDecodeError:
            changes[key] = value  # a word, such as lion
        if isinstance(changes[key], list):
            changes[key] = tuple(changes[key])
        require_allowed(key, changes[key])
    return changes


def _evaluate(arguments: argparse.Namespace) -> int:
    from wbcore.checkpoints import from_timm_vit_file, load_model
    from wbcore.evaluate import Measurement, segmentation
    from wbcore.files import sha256
    from wbcore.records import save_records
    from wbcore.subjects import model_subject

    split = "segmentation" if arguments.data == "cutouts" and arguments.split == "val" else arguments.split
    measurement = Measurement(arguments.data, split, arguments.size, arguments.limit)
    dataset = measurement.open(arguments.data_root, arguments.limit)
    command = f"wbcore evaluate --data {arguments.data} --split {split} --size {arguments.size}"
    command += f" --timm {arguments.timm}" if arguments.timm else ""
    records = []
    for path in arguments.weights:
        if arguments.timm:
            model, name, seed = from_timm_vit_file(arguments.timm, path), arguments.timm, None
        else:
            model, card = load_model(path)
            name, seed = card.name, card.seed
        subject = model_subject(
            model, name=arguments.name or name, device=arguments.device, seed=seed, weights_sha256=sha256(path)
        )
        records += segmentation(
            subject, dataset, data=arguments.data, size=arguments.size, command=command, device=arguments.device
        )
    save_records(records, arguments.output)
    for record in records:
        interval = "" if record.low is None else f"  [{record.low:.3f}, {record.high:.3f}]"
        print(f"{record.model:28} {record.metric:36} {record.value:.3f}{interval}  n={record.n}")
    return 0


def _study(arguments: argparse.Namespace) -> int:
    from wbcore import segmentation_study
    from wbcore.study import STUDIES, run_study, ship

    if arguments.name in segmentation_study.STUDIES:
        left = segmentation_study.run_segmentation_study(
            arguments.name,
            minutes=arguments.minutes,
            device=arguments.device,
            only=arguments.only,
            data_root=arguments.data_root,
        )
        for path in segmentation_study.ship_segmenters():
            print(f"shipped {path}")
        print(f"{left} cells left" if left else "all cells are trained")
    elif arguments.name in STUDIES or arguments.train_only:
        left = run_study(
            arguments.name,
            minutes=arguments.minutes,
            device=arguments.device,
            only=arguments.only,
            data_root=arguments.data_root,
            travels=arguments.travels,
        )
        for path in ship(arguments.name):
            print(f"shipped {path}")
        print(f"{left} cells left" if left else "all cells are trained")
    if not arguments.train_only:
        from wbcore.recording.artefacts import DOVIT, record_artefact

        for name in DOVIT.get(arguments.name, (arguments.name,)):
            for path in record_artefact(name, data_root=arguments.data_root, device=arguments.device):
                print(f"measured {path}")
    return 0


def _models(arguments: argparse.Namespace) -> int:
    from wbcore.models import list_models

    print("\n".join(list_models(arguments.pattern)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
