"""The lab studies: which models, on which data, by which recipe and seeds; resumable, within given minutes."""

import difflib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from wbcore.checkpoints import card_path, load_model, read_card, save_model
from wbcore.data.batches import Batches, CutoutBatches, PhotographBatches
from wbcore.data.registry import open_dataset
from wbcore.devices import choose_device, loading_workers
from wbcore.errors import InputError
from wbcore.files import DATA, ROOT
from wbcore.measuring.recognition import held_out, recorded_as, top1_share
from wbcore.models import Backbone, create_model, model_config
from wbcore.recipes import Recipe, recipe
from wbcore.train import WEIGHTS as RUN_WEIGHTS
from wbcore.train import Trainer
from wbcore.transfer import origin, start_from

RUNS = ROOT / "runs"
WEIGHTS = DATA / "weights"


@dataclass(frozen=True)
class Study:
    """A table of trained models: every model with every seed, all by one recipe on the same data."""

    models: tuple[str, ...]
    recipe: str
    data: str
    seeds: int
    epoch_size: int
    """Examples of an epoch where the data are composed; photographs have their own number."""
    shipped: tuple[str, ...] = ()
    """Models whose seed 0 goes into the repository, in 8 bits."""
    shipped_epochs: tuple[int, ...] = ()
    """After which epochs the first model's weights go there too, so that the course of a training can be shown."""
    train: str = "train"
    """Split of ``data`` to train on."""
    held_out: str = "val"
    """Split of ``data`` on which top-1 is measured."""
    size: int | None = None
    """Side of the images in pixels; ``None`` is the models' own."""
    start: str | None = None
    """The study whose weights of seed 0 each model starts from, with a new head; ``None`` is from scratch."""
    travels: bool = False
    """Whether cells are trained on a borrowed machine that keeps nothing: weights in 8 bits, as the repository's own,
    none of them kept along the epochs, and no cell begun that would probably not be finished."""

    def images_size(self, model: str) -> int:
        """Side in pixels of what a model is trained on and measured with."""
        return self.size or model_config(model).size[0]

    def shipped_file(self, model: str) -> Path:
        """Where the weights of a model's seed 0 lie in the repository, if they are shipped."""
        ending = "" if self.start is None else f"-{recorded_as(self.data, self.held_out)}"
        return WEIGHTS / f"{model}{ending}.safetensors"

    def cells(self) -> list[tuple[int, str]]:
        """(seed, model) in the order in which they are trained: the first seed of all models comes first."""
        return [(seed, model) for seed in range(self.seeds) for model in self.models]


VARIANTS = ("crate", "vit", "crate_mlp", "crate_mhsa", "crate_sth")
WITH_REGISTERS = (
    *(f"{variant}_reg4" for variant in ("vit", "crate", "crate_mlp", "crate_mhsa")),
    *(f"{variant}_reg{number}" for number in (1, 16, 2, 8) for variant in ("vit", "crate")),
)
"""In the order in which they are trained: the paper's four registers first, then the ends of its curve."""
OTHER_READINGS = ("crate_tied", "crate_normalised")
"""CRATE as its text has it, where its code does otherwise."""
TRANSFERS: dict[str, dict[str, Any]] = {
    # At the photographs' own size, that is 4 × 4 patches.
    "cifar10": {"data": "cifar10", "held_out": "test", "size": 32, "epoch_size": 50_000},
    # The names of cut-outs that no model has seen, over backgrounds of its training; top-1 over unseen backgrounds.
    "cutouts": {"data": "cutouts", "train": "transfer_train", "held_out": "transfer", "epoch_size": 4_000},
}
"""Data to fine-tune on in the lab."""


def _lab(*variants: str) -> tuple[str, ...]:
    return tuple(f"{variant}_lab_patch8_72" for variant in variants)


STUDIES: dict[str, Study] = {
    # CRATE, Table 2 and Fig. 13, on two cores.
    "table2": Study(
        models=_lab(*VARIANTS),
        recipe="lab",
        data="cutouts",
        held_out="recognition",
        seeds=3,
        epoch_size=30_000,
        shipped=_lab(*VARIANTS),
        shipped_epochs=(1, 4),
    ),
    # The same networks trained on photographs, for as many images.
    "table2_imagenette": Study(
        models=_lab("crate", "vit"),
        recipe="lab_photographs",
        data="imagenette",
        seeds=1,
        epoch_size=9_469,
    ),
    # CRATE, Eq. (5) and Algorithm 1 to the letter.
    "skip_and_projection": Study(
        models=_lab(*OTHER_READINGS), recipe="lab", data="cutouts", held_out="recognition", seeds=3, epoch_size=30_000
    ),
    # Registers, Figs. 7 and 8, and beyond the paper in CRATE: the networks of table2 with register tokens.
    "registers": Study(
        models=_lab(*WITH_REGISTERS),
        recipe="lab",
        data="cutouts",
        held_out="recognition",
        seeds=3,
        epoch_size=30_000,
        shipped=_lab("vit_reg4", "crate_reg4"),
    ),
    # The same on one GPU: deeper and larger, on composed scenes and on photographs.
    "table2_gpu_cutouts": Study(
        models=tuple(f"{variant}_lab12_patch8_128" for variant in VARIANTS),
        recipe="lab12",
        data="cutouts",
        held_out="recognition",
        seeds=3,
        epoch_size=9_469,
        travels=True,
    ),
    "table2_gpu_imagenette": Study(
        models=tuple(f"{variant}_lab12_patch8_128" for variant in VARIANTS),
        recipe="lab12",
        data="imagenette",
        seeds=3,
        epoch_size=9_469,
        travels=True,
    ),
    # CRATE, Table 3: fine-tuned on other data, and the same network from scratch with the same budget.
    **{
        f"table3_{name}{suffix}": Study(
            models=_lab("crate", "vit"),
            recipe=f"lab_finetune_{name}",
            seeds=1,
            shipped=_lab("crate") if name == "cutouts" and start is not None else (),
            start=start,
            **data,
        )
        for name, data in TRANSFERS.items()
        for suffix, start in (("", "table2"), ("_scratch", None))
    },
}


def find_study(name: str) -> Study:
    """A study by name.  Raises: InputError for an unknown name, with the nearest known ones."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=3, cutoff=0.3) or list(STUDIES)
        raise InputError(f"unknown study {name!r}: did you mean {', '.join(near)}?")
    return STUDIES[name]


def training_batches(
    data: str,
    settings: Recipe,
    *,
    size: int,
    epoch_size: int,
    seed: int,
    device: str,
    data_root: Path | None = None,
    split: str = "train",
) -> Batches:
    """Training batches of a named data set at ``size`` pixels."""
    if data == "cutouts":
        return CutoutBatches(split, size=size, num_examples=epoch_size, seed=seed, device=device)
    return PhotographBatches(
        open_dataset(data, data_root=data_root, split=split),
        size=size,
        crop_scale=settings.crop_scale,
        rand_augment=settings.rand_augment,
        seed=seed,
        workers=loading_workers(device),
    )


def cell_folder(study: str, model: str, seed: int, runs: Path = RUNS) -> Path:
    """Where one cell of a study keeps its checkpoint and its weights."""
    return runs / study / f"{model}-seed{seed}"


def epoch_file(epoch: int) -> str:
    """The name under which a model is kept after an epoch."""
    return f"epoch{epoch:03d}.safetensors"


def finished_cells(study: str, runs: Path = RUNS) -> Iterator[tuple[int, str, Path]]:
    """(seed, model, weights) of the cells that are trained; a shipped model stands for its cell."""
    found = find_study(study)
    for seed, model in found.cells():
        shipped, trained = found.shipped_file(model), cell_folder(study, model, seed, runs) / RUN_WEIGHTS
        if seed == 0 and model in found.shipped and shipped.is_file():
            yield seed, model, shipped
        elif trained.is_file():
            yield seed, model, trained


def run_study(
    name: str,
    *,
    minutes: float,
    device: str = "cpu",
    only: str | None = None,
    data_root: Path | None = None,
    runs: Path = RUNS,
    travels: bool = False,
) -> int:
    """Train cells of a study for ``minutes``, beginning where an earlier call stopped; returns how many are left.

    Epochs are fixed by the recipe: the minutes decide only how many cells get done.  ``only`` is the beginning of
    the names to train, such as ``crate_lab_patch8_72-seed1``, so that several processes can share the work.  A cell
    whose weights are elsewhere needs only its card here.  ``travels`` treats any study as :attr:`Study.travels` does.
    Raises: InputError for an unknown study or a device that is not there.
    """
    study, deadline, device = find_study(name), time.monotonic() + 60 * minutes, choose_device(device)
    study = replace(study, travels=study.travels or travels)
    done = {(seed, model) for seed, model, _ in finished_cells(name, runs)}
    for seed, model in study.cells():
        if card_path(cell_folder(name, model, seed, runs) / RUN_WEIGHTS).is_file():
            done.add((seed, model))
    left = [cell for cell in study.cells() if cell not in done and f"{cell[1]}-seed{cell[0]}".startswith(only or "")]
    longest = 0.0
    for number, (seed, model) in enumerate(left):
        started = time.monotonic()
        if started + longest >= deadline:
            return len(left) - number
        if not _train_cell(name, study, model, seed, device, deadline, data_root, runs):
            return len(left) - number
        longest = max(longest, time.monotonic() - started) if study.travels else 0.0
    return 0


def _train_cell(
    name: str, study: Study, model: str, seed: int, device: str, deadline: float, data_root: Path | None, runs: Path
) -> bool:
    settings, size = recipe(study.recipe), study.images_size(model)
    batches = training_batches(
        study.data,
        settings,
        size=size,
        epoch_size=study.epoch_size,
        seed=seed,
        device=device,
        data_root=data_root,
        split=study.train,
    )
    torch.manual_seed(seed)
    network = create_model(model, num_classes=batches.num_classes)
    start = None if study.start is None else _start_of(name, model, runs)
    if start is not None:
        start_from(network, start)
    folder = cell_folder(name, model, seed, runs)
    trainer = Trainer(
        network,
        batches,
        settings,
        output=folder,
        name=f"{model}-seed{seed}",
        seed=seed,
        device=device,
        dtype=torch.int8 if study.travels else None,
        start=None if start is None else origin(start),
    )
    test = held_out(study.data, study.held_out, size=size, data_root=data_root, device=device)

    def keep_and_measure(epoch: int, trained: Backbone) -> dict[str, float]:
        if study.travels and epoch < settings.epochs:
            return {}
        measured = {"top1": top1_share(trained, test)}
        if not study.travels:
            card = replace(trainer.card(measured), training={"epochs_done": epoch})
            save_model(trained, folder / epoch_file(epoch), card, dtype=torch.float16)
        return measured

    return trainer.run(deadline=deadline, on_epoch=keep_and_measure) is not None


def _start_of(study: str, model: str, runs: Path) -> Path:
    """The weights from which a model of a fine-tuning study starts."""
    start = find_study(study).start
    assert start is not None
    for seed, trained, weights in finished_cells(start, runs):
        if (seed, trained) == (0, model):
            return weights
    raise InputError(
        f"study {study} starts from {model} of study {start}: train that first with `wbcore study {start}`"
    )


def variant_of(model: str) -> str:
    """The architecture in a model's name: what stands before its size."""
    variants = sorted((*VARIANTS, *WITH_REGISTERS, *OTHER_READINGS), key=len, reverse=True)
    return next(variant for variant in variants if model.startswith(f"{variant}_"))


def ship(name: str, runs: Path = RUNS) -> list[Path]:
    """Copy seed 0 of every trained model of a study into ``data/weights``, in 8 bits, and the first model's weights
    after some epochs; returns what is new.
    """
    study = find_study(name)
    cells = finished_cells(name, runs)
    wanted = {
        weights: study.shipped_file(model) for seed, model, weights in cells if not seed and model in study.shipped
    }
    for epoch in study.shipped_epochs:
        kept = cell_folder(name, study.models[0], 0, runs) / epoch_file(epoch)
        if kept.is_file():
            wanted[kept] = WEIGHTS / f"{study.models[0]}-{epoch_file(epoch)}"
    new = {weights: target for weights, target in wanted.items() if not target.is_file()}
    for weights, target in new.items():
        save_model(load_model(weights)[0], target, read_card(weights), dtype=torch.int8)
    return list(new.values())
