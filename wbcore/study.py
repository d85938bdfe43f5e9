"""The lab studies: which models, on which data, by which recipe and seeds; resumable, within given minutes."""

import difflib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from wbcore.checkpoints import load_model, read_card, save_model
from wbcore.data.batches import Batches, CutoutBatches, PhotographBatches
from wbcore.data.cutouts import Composer, SceneConfig
from wbcore.data.registry import open_dataset
from wbcore.errors import InputError
from wbcore.files import DATA, ROOT
from wbcore.models import Backbone, create_model
from wbcore.recipes import Recipe, recipe
from wbcore.train import WEIGHTS as RUN_WEIGHTS
from wbcore.train import Trainer, top1

RUNS = ROOT / "runs"
WEIGHTS = DATA / "weights"
TOP1_SCENES, TOP1_SEED = 2000, 1


@dataclass(frozen=True)
class Study:
    """A table of trained models: every model with every seed, all by one recipe on the same data."""

    models: tuple[str, ...]
    recipe: str
    data: str
    seeds: int
    epoch_size: int
    """Examples of an epoch where the data are composed; photographs have their own number."""
    shipped: bool
    """Whether seed 0 goes into the repository, in 8 bits."""

    def cells(self) -> list[tuple[int, str]]:
        """(seed, model) in the order in which they are trained: the first seed of all models comes first."""
        return [(seed, model) for seed in range(self.seeds) for model in self.models]


VARIANTS = ("crate", "vit", "crate_mlp", "crate_mhsa", "crate_sth")

STUDIES: dict[str, Study] = {
    # CRATE, Table 2 and Fig. 13, on two cores.
    "table2": Study(
        models=tuple(f"{variant}_lab_patch8_72" for variant in VARIANTS),
        recipe="lab",
        data="cutouts",
        seeds=3,
        epoch_size=30_000,
        shipped=True,
    ),
    # The same networks trained on photographs, for as many images.
    "table2_imagenette": Study(
        models=("crate_lab_patch8_72", "vit_lab_patch8_72"),
        recipe="lab_photographs",
        data="imagenette",
        seeds=1,
        epoch_size=9_469,
        shipped=False,
    ),
    # The same on one GPU: deeper and larger, on composed scenes and on photographs.
    "table2_gpu_cutouts": Study(
        models=tuple(f"{variant}_lab12_patch8_128" for variant in VARIANTS),
        recipe="lab12",
        data="cutouts",
        seeds=3,
        epoch_size=9_469,
        shipped=False,
    ),
    "table2_gpu_imagenette": Study(
        models=tuple(f"{variant}_lab12_patch8_128" for variant in VARIANTS),
        recipe="lab12",
        data="imagenette",
        seeds=3,
        epoch_size=9_469,
        shipped=False,
    ),
}


def find_study(name: str) -> Study:
    """A study by name.  Raises: InputError for an unknown name, with the nearest known ones."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=3, cutoff=0.3) or list(STUDIES)
        raise InputError(f"unknown study {name!r}: did you mean {', '.join(near)}?")
    return STUDIES[name]


def training_batches(
    data: str, settings: Recipe, *, size: int, epoch_size: int, seed: int, device: str, data_root: Path | None = None
) -> Batches:
    """Training batches of a named data set at ``size`` pixels."""
    if data == "cutouts":
        return CutoutBatches(size=size, num_examples=epoch_size, seed=seed, device=device)
    dataset = open_dataset(data, data_root=data_root, split="train")
    return PhotographBatches(dataset, size=size, crop_scale=settings.crop_scale, seed=seed, device=device)


def recognition_top1(model: Backbone, *, size: int, count: int = TOP1_SCENES) -> float:
    """Top-1 of identities on new compositions: known cut-outs over backgrounds that were never trained on."""
    device = next(model.parameters()).device
    composer = Composer("recognition", SceneConfig(size=size), seed=TOP1_SEED, device=device)

    def batch(positions: range) -> tuple[torch.Tensor, torch.Tensor]:
        scenes = composer(positions)
        return model.normalise(scenes.images), scenes.labels

    return top1(model, batch, count)


def cell_folder(study: str, model: str, seed: int, runs: Path = RUNS) -> Path:
    """Where one cell of a study keeps its checkpoint and its weights."""
    return runs / study / f"{model}-seed{seed}"


def finished_cells(study: str, runs: Path = RUNS) -> Iterator[tuple[int, str, Path]]:
    """(seed, model, weights) of the cells that are trained; a shipped model stands for its cell."""
    for seed, model in find_study(study).cells():
        shipped, trained = WEIGHTS / f"{model}.safetensors", cell_folder(study, model, seed, runs) / RUN_WEIGHTS
        if seed == 0 and find_study(study).shipped and shipped.is_file():
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
) -> int:
    """Train cells of a study for ``minutes``, beginning where an earlier call stopped; returns how many are left.

    Epochs are fixed by the recipe: the minutes decide only how many cells get done.  ``only`` restricts the call to one
    model, so that several processes can share the work.
    """
    study, deadline = find_study(name), time.monotonic() + 60 * minutes
    done = {(seed, model) for seed, model, _ in finished_cells(name, runs)}
    left = [cell for cell in study.cells() if cell not in done and only in (None, cell[1])]
    for number, (seed, model) in enumerate(left):
        if time.monotonic() >= deadline:
            return len(left) - number
        if not _train_cell(name, study, model, seed, device, deadline, data_root, runs):
            return len(left) - number
    return 0


def _train_cell(
    name: str, study: Study, model: str, seed: int, device: str, deadline: float, data_root: Path | None, runs: Path
) -> bool:
    settings = recipe(study.recipe)
    size = create_model(model).config.size[0]
    batches = training_batches(
        study.data, settings, size=size, epoch_size=study.epoch_size, seed=seed, device=device, data_root=data_root
    )
    torch.manual_seed(seed)
    network = create_model(model, num_classes=batches.num_classes)
    folder = cell_folder(name, model, seed, runs)
    trainer = Trainer(network, batches, settings, output=folder, name=f"{model}-seed{seed}", seed=seed, device=device)

    def keep_and_measure(epoch: int, trained: Backbone) -> dict[str, float]:
        measured = {"top1": recognition_top1(trained, size=size)} if study.data == "cutouts" else {}
        card = replace(trainer.card(measured), training={"epochs_done": epoch})
        save_model(trained, folder / f"epoch{epoch:03d}.safetensors", card, dtype=torch.float16)
        return measured

    return trainer.run(deadline=deadline, on_epoch=keep_and_measure) is not None


def variant_of(model: str) -> str:
    """The architecture in a model's name: what stands before its size."""
    return next(variant for variant in sorted(VARIANTS, key=len, reverse=True) if model.startswith(f"{variant}_"))


def ship(name: str, runs: Path = RUNS) -> list[Path]:
    """Copy seed 0 of every trained model of a study into ``data/weights``, in 8 bits; returns what is new."""
    written = []
    for seed, model, weights in finished_cells(name, runs):
        target = WEIGHTS / f"{model}.safetensors"
        if seed == 0 and find_study(name).shipped and weights != target:
            network, _ = load_model(weights)
            save_model(network, target, read_card(weights), dtype=torch.int8)
            written.append(target)
    return written
