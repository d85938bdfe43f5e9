"""The study behind DoViT's tables: one dense model of each kind, and what becomes of it under every policy."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wbcore.checkpoints import card_path, from_timm_vit_file, load_model, load_segmenter, read_card, save_model
from wbcore.data.batches import Batches
from wbcore.data.cutout_stuff import CutoutStuffBatches
from wbcore.data.registry import open_dataset
from wbcore.data.segmentation_batches import SegmentationBatches
from wbcore.devices import choose_device, loading_workers
from wbcore.errors import InputError
from wbcore.files import sha256
from wbcore.losses import Direction, auxiliary_cross_entropy, pixel_cross_entropy, self_distillation
from wbcore.models import Backbone
from wbcore.models.dovit import DoViT, Policy, Segmentation, SegmenterConfig
from wbcore.models.loading import load_strictly
from wbcore.recipes import Recipe, recipe
from wbcore.study import RUNS, WEIGHTS, cell_folder
from wbcore.train import WEIGHTS as RUN_WEIGHTS
from wbcore.train import Trainer
from wbcore.transfer import origin

STUDIES = ("dovit", "dovit_gpu")
"""On two cores, and on one GPU with street scenes at twice the size; three seeds of the headline pair in either."""
EPOCH_SCENES = 6_400
VIT_TINY = "vit_tiny_patch16_224_in1k.pth"
"""Name, below ``data_root/weights``, of the pretrained ViT-Ti/16, a state dict in timm's names."""


@dataclass(frozen=True)
class Scenery:
    """A data set of the study: how it is trained on and measured."""

    data: str
    name: str
    """What records call it."""
    crop: tuple[int, int]
    """Rows and columns of a training crop, in pixels."""
    shorter: int | None
    """Lesser side to which photographs are brought for training and measuring; None: as they are composed."""
    recipe: str
    """For the dense models; with ``_policy`` for what goes on from them."""
    test: str
    """Split that the records are measured on."""


SCENERIES = {
    "street": Scenery("camvid", "camvid", crop=(180, 240), shorter=180, recipe="camvid", test="test"),
    "street480": Scenery("camvid", "camvid_480", crop=(360, 480), shorter=360, recipe="camvid_gpu", test="test"),
    "scenes": Scenery(
        "cutouts_stuff", "cutouts_stuff", crop=(128, 128), shorter=None, recipe="scenes", test="segmentation"
    ),
}


@dataclass(frozen=True)
class SegmentationCell:
    """One model to train."""

    scenery: str
    backbone: str
    """``vit_tiny`` (pretrained on ImageNet), or a lab variant, which starts from its weights in the repository."""
    decoder: str
    variant: str
    """``base`` (dense, from the classifier), or what goes on from it for another few epochs: ``dense``, ``dovit``, …"""
    policy: Policy
    alpha: float = 1.0
    beta: float = 0.4
    seed: int = 0
    study: str = "dovit"

    @property
    def model_name(self) -> str:
        """What records call the model."""
        return f"{self.decoder}_{self.backbone}_{self.variant}"

    @property
    def name(self) -> str:
        return f"{self.scenery}_{self.model_name}"

    @property
    def base(self) -> "SegmentationCell | None":
        """The cell whose weights this one starts from, which is also its teacher."""
        return None if self.variant == "base" else replace(self, variant="base", policy=Policy())

    def weights(self, runs: Path = RUNS) -> Path:
        """Where its weights are, or will be."""
        shipped = WEIGHTS / f"{self.name}.safetensors"
        if self.seed == 0 and shipped.is_file():
            return shipped
        return cell_folder(self.study, self.name, self.seed, runs) / RUN_WEIGHTS


THRESHOLDS = {"street": 0.985, "street480": 0.985, "scenes": 0.97}
"""ξ in training; the paper's for Cityscapes, and the middle of its range for ADE20K."""

SHIPPED = ("setr_crate_dense", "setr_crate_dovit", "setr_crate_dyvit")
"""The models of composed scenes that the repository holds, in 8 bits."""


def _family(
    scenery: str, backbone: str, decoder: str, *, ablation: bool = False, **options: Any
) -> Iterator[SegmentationCell]:
    cell = partial(SegmentationCell, scenery, backbone, decoder, **options)
    dovit = Policy("confidence", threshold=THRESHOLDS[scenery])
    yield cell("base", Policy())
    yield cell("dovit", dovit)
    yield cell("dense", Policy())
    yield cell("dyvit", Policy("ratio", keep_ratio=0.7))
    if ablation:  # DoViT, Table 3: what token merging and self-distillation bring
        yield cell("nomerge", replace(dovit, merging="none"))
        yield cell("nodistil", dovit, beta=0.0)
        yield cell("plain", replace(dovit, merging="none"), beta=0.0)


def cells(study: str = "dovit") -> list[SegmentationCell]:
    """All models of a study, in the order in which they are trained.  Raises: InputError for an unknown study."""
    if study == "dovit":
        return [
            *_family("street", "vit_tiny", "setr", ablation=True),
            *_family("scenes", "crate", "setr"),
            *_family("scenes", "vit", "setr"),
            *_family("street", "crate", "setr"),
            *_family("street", "vit", "setr"),
            *_family("street", "vit_tiny", "segmenter"),
            *_family("street", "vit_tiny", "setr", ablation=True, seed=1),
            *_family("street", "vit_tiny", "setr", ablation=True, seed=2),
            *_family("street", "vit_tiny", "segmenter", seed=1),
            *_family("street", "vit_tiny", "segmenter", seed=2),
        ]
    if study == "dovit_gpu":
        return [
            *_family("street480", "vit_tiny", "setr", ablation=True, study=study),
            *_family("street480", "vit_tiny", "setr", seed=1, study=study),
            *_family("street480", "vit_tiny", "setr", seed=2, study=study),
            *_family("street480", "vit_tiny", "segmenter", study=study),
            *_family("street480", "crate", "setr", study=study),
            *_family("street480", "vit", "setr", study=study),
        ]
    raise InputError(f"unknown study {study!r}: choose one of {', '.join(STUDIES)}")


class TokenPassObjective:
    """Cross-entropy of the pixels, of every early probe, and the distance from a dense teacher.

    Source: DoViT, Eq. (12).  Notation: ``alpha`` is α, ``beta`` is β.
    """

    def __init__(
        self,
        patch_size: int,
        *,
        alpha: float = 1.0,
        beta: float = 0.4,
        teacher: nn.Module | None = None,
        teacher_sha256: str | None = None,
        direction: Direction = "printed",
    ) -> None:
        self._patch_size, self._alpha, self._beta = patch_size, alpha, beta
        self._teacher, self._sha256 = teacher, teacher_sha256
        self._direction: Direction = direction

    def __call__(self, outputs: Segmentation, images: Tensor, labels: Tensor) -> Tensor:
        loss = pixel_cross_entropy(outputs.logits, labels)
        loss = loss + self._alpha * auxiliary_cross_entropy(
            outputs.auxiliary, labels, grid=outputs.grid, patch_size=self._patch_size
        )
        if self._teacher is not None and self._beta:
            with torch.no_grad():
                theirs = self._teacher(images).coarse
            loss = loss + self._beta * self_distillation(outputs.coarse, theirs, direction=self._direction)
        return loss

    def describe(self) -> dict[str, Any]:
        distilled = self._teacher is not None and self._beta > 0
        return {
            "alpha": self._alpha,
            "beta": self._beta if distilled else 0.0,
            "direction": self._direction if distilled else None,
            "teacher_sha256": self._sha256 if distilled else None,
        }


def pretrained_backbone(name: str, *, data_root: Path | None) -> tuple[Backbone, dict[str, str]]:
    """A classifier to start from, and what cards say of it: the lab's ``name``, or ``vit_tiny`` below ``data_root``.

    Raises: InputError if its weights are missing.
    """
    if name != "vit_tiny":
        weights = WEIGHTS / f"{name}_lab_patch8_72.safetensors"
        return load_model(weights)[0], origin(weights)
    if data_root is None:
        raise InputError(f"vit_tiny needs data_root: a folder with weights/{VIT_TINY} in it")
    path = data_root / "weights" / VIT_TINY
    if not path.is_file():
        raise InputError(
            f"{path} is missing: save the state dict of timm's vit_tiny_patch16_224.augreg_in21k_ft_in1k there"
        )
    return from_timm_vit_file("vit_tiny_patch16_224", path), {"name": VIT_TINY, "weights_sha256": sha256(path)}


def decisions_of(depth: int) -> tuple[int, int, int]:
    """After a quarter, a half and three quarters of the layers, rounded up: DoViT's (3, 6, 9) of 12, (6, 12, 18) of 24.

    Six layers decide after 2, 3 and 5.
    """
    first, second, third = (-(-depth * quarter // 4) for quarter in (1, 2, 3))
    return first, second, third


def run_segmentation_study(
    study: str = "dovit",
    *,
    minutes: float,
    device: str = "cpu",
    only: str | None = None,
    data_root: Path | None = None,
    runs: Path = RUNS,
) -> int:
    """Train cells for ``minutes``, beginning where an earlier call stopped; returns how many are left.

    ``only`` is the beginning of the names to train, such as ``street_setr_vit_tiny_dovit-seed0``.  Cells on data that
    are not at hand, or whose base is not trained yet, are passed over.  Weights of ``dovit_gpu`` are kept in 8 bits, so
    that they can travel, but for the bases, from which others start.
    """
    deadline, device = time.monotonic() + 60 * minutes, choose_device(device)
    wanted = [cell for cell in cells(study) if f"{cell.name}-seed{cell.seed}".startswith(only or "")]
    left = [cell for cell in wanted if not card_path(cell.weights(runs)).is_file()]
    done = 0
    for cell in left:
        if time.monotonic() >= deadline:
            break
        if SCENERIES[cell.scenery].data == "camvid" and data_root is None:
            continue
        if cell.base is not None and not cell.base.weights(runs).is_file():
            continue
        done += _train(cell, device, deadline, data_root, runs)
    return len(left) - done


def ship_segmenters(runs: Path = RUNS) -> list[Path]:
    """Copy what is shipped and trained into ``data/weights``, in 8 bits; returns what is new."""
    new = []
    for cell in cells():
        weights, target = cell.weights(runs), WEIGHTS / f"{cell.name}.safetensors"
        if cell.scenery == "scenes" and cell.model_name in SHIPPED and weights != target and weights.is_file():
            save_model(load_segmenter(weights)[0], target, read_card(weights), dtype=torch.int8)
            new.append(target)
    return new


def training_batches(cell: SegmentationCell, *, seed: int, data_root: Path | None, device: str) -> Batches:
    """Batches of a cell's scenery."""
    scenery = SCENERIES[cell.scenery]
    if scenery.data == "cutouts_stuff":
        return CutoutStuffBatches(size=scenery.crop[0], num_examples=EPOCH_SCENES, seed=seed, device=device)
    dataset = open_dataset(scenery.data, data_root=data_root, split="train")
    return SegmentationBatches(
        dataset, size=scenery.crop, shorter=scenery.shorter, seed=seed, workers=loading_workers(device)
    )


def _train(cell: SegmentationCell, device: str, deadline: float, data_root: Path | None, runs: Path) -> bool:
    batches = training_batches(cell, seed=cell.seed, data_root=data_root, device=device)
    settings = _recipe(cell)
    torch.manual_seed(cell.seed)
    teacher = None
    if cell.base is None:
        backbone, start = pretrained_backbone(cell.backbone, data_root=data_root)
        model = DoViT(_config(cell, backbone, batches.num_classes))
        state = {name: tensor for name, tensor in backbone.state_dict().items() if not name.startswith("head.")}
        load_strictly(model.backbone, state, source=cell.backbone)
    else:
        start = origin(cell.base.weights(runs))
        teacher, _ = load_segmenter(cell.base.weights(runs), device=device)
        model = DoViT(replace(teacher.config, policy=cell.policy))
        fresh = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("predictors.")}
        load_strictly(model, {**teacher.state_dict(), **fresh}, source=cell.base.name)
    objective = TokenPassObjective(
        model.config.backbone.patch_size,
        alpha=cell.alpha,
        beta=cell.beta,
        teacher=None if teacher is None else teacher.requires_grad_(False),
        teacher_sha256=None if cell.base is None else start["weights_sha256"],
    )
    trainer = Trainer(
        model,
        batches,
        settings,
        objective=objective,
        output=cell_folder(cell.study, cell.name, cell.seed, runs),
        name=f"{cell.name}-seed{cell.seed}",
        seed=cell.seed,
        device=device,
        dtype=torch.int8 if cell.study == "dovit_gpu" and cell.base is not None else None,
        start=start,
    )
    return trainer.run(deadline=deadline) is not None


def _recipe(cell: SegmentationCell) -> Recipe:
    return recipe(SCENERIES[cell.scenery].recipe + ("" if cell.variant == "base" else "_policy"))


def _config(cell: SegmentationCell, backbone: Backbone, num_classes: int) -> SegmenterConfig:
    values = {
        "backbone": asdict(backbone.config),
        "num_classes": num_classes,
        "decoder": cell.decoder,
        "decisions": decisions_of(backbone.config.depth),
        "policy": asdict(cell.policy),
    }
    return SegmenterConfig.from_dict(values)
