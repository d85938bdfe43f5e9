"""The two profiles: which weights, which data, how many images.  The only file that tells them apart."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wbcore.checkpoints import load_model
from wbcore.data.registry import DATA_ROOT_VARIABLE
from wbcore.errors import InputError
from wbcore.evaluate import Kind, Measurement, segmentation
from wbcore.files import DATA, sha256
from wbcore.records import Record
from wbcore.subjects import Subject, model_subject


@dataclass(frozen=True)
class Profile:
    """Where the models of an ablation come from and what they are measured on."""

    name: str
    model_names: str
    """Name of a variant's model, with ``{variant}`` in it."""
    weights: str
    """Folder of the weights: relative to the repository's data folder, or to ``data_root``."""
    needs_data_root: bool
    attention: Measurement
    """For the mIoU of attention masks."""
    maskcut: Measurement
    """For MaskCut's AP."""
    figure_size: int
    """Side in pixels at which pictures are shown to a model."""

    def weights_path(self, variant: str, data_root: Path | str | None = None) -> Path:
        """The weights file of a variant.  Raises: InputError if the profile needs a data_root and has none."""
        root: Path | str | None = DATA
        if self.needs_data_root:
            root = data_root or os.environ.get(DATA_ROOT_VARIABLE)
            if not root:
                raise InputError(
                    f"profile {self.name!r} needs data_root (or {DATA_ROOT_VARIABLE}): a folder with the data sets "
                    f"and, in {self.weights}, the weights of {self.model_names.format(variant=variant)}"
                )
        return Path(root) / self.weights / f"{self.model_names.format(variant=variant)}.safetensors"

    def trained(self, variants: Sequence[str], *, data_root: Path | str | None = None) -> list[str]:
        """Those of ``variants`` that have weights here.

        Raises: InputError naming the first file that is missing and how to make it, if none has.
        """
        found = [variant for variant in variants if self.weights_path(variant, data_root).is_file()]
        if not found:
            raise InputError(self._missing(variants[0], data_root))
        return found

    def _missing(self, variant: str, data_root: Path | str | None) -> str:
        return (
            f"{self.weights_path(variant, data_root)} is missing: train it with "
            f"`wbcore train {self.model_names.format(variant=variant)}` and put model.safetensors and model.json there "
            "under this name"
        )

    def subjects(
        self, variants: Sequence[str], *, data_root: Path | str | None = None, device: str = "cpu", **options: Any
    ) -> list[Subject]:
        """The variants' trained models, ready to be measured.

        Raises: InputError naming the first weights file that is missing and how to make it.
        """
        found = []
        for variant in variants:
            path = self.weights_path(variant, data_root)
            if not path.is_file():
                raise InputError(self._missing(variant, data_root))
            model, card = load_model(path)
            found.append(
                model_subject(
                    model, name=variant, device=device, seed=card.seed, weights_sha256=sha256(path), **options
                )
            )
        return found

    def measure(
        self,
        subjects: Sequence[Subject],
        *,
        command: str,
        data_root: Path | str | None = None,
        limit: int | None = None,
        device: str = "cpu",
        kinds: Sequence[Kind] = ("attention", "maskcut"),
    ) -> list[Record]:
        """Attention mIoU and MaskCut AP of every subject, each on the data that the profile measures it on."""
        if self.attention == self.maskcut:
            plan: list[tuple[Measurement, Sequence[Kind]]] = [(self.attention, kinds)]
        else:
            measured_on = {"attention": self.attention, "maskcut": self.maskcut}
            plan = [(measured_on[kind], (kind,)) for kind in kinds]
        records = []
        for measurement, kinds in plan:
            dataset = measurement.open(data_root, limit)
            for subject in subjects:
                records += segmentation(
                    subject,
                    dataset,
                    data=measurement.data,
                    size=measurement.size,
                    command=command,
                    device=device,
                    kinds=kinds,
                )
        return records

    def columns(self, attention: Sequence[str], maskcut: Sequence[str]) -> list[tuple[str, str]]:
        """(data set, metric) for metrics of each kind, as tables want them."""
        return [(self.maskcut.data, metric) for metric in maskcut] + [
            (self.attention.data, metric) for metric in attention
        ]


PROFILES: dict[str, Profile] = {
    "lab": Profile(
        name="lab",
        model_names="{variant}_lab_patch8_72",
        weights="weights",
        needs_data_root=False,
        attention=Measurement("cutouts", "segmentation", 72, 100),
        maskcut=Measurement("cutouts", "segmentation", 72, 100),
        figure_size=144,
    ),
    # CRATE, appendix C.1: VOC 2012 val at 224 px, COCO val2017 through MaskCut's 480 px.
    "paper": Profile(
        name="paper",
        model_names="{variant}_small_patch8_224",
        weights="weights",
        needs_data_root=True,
        attention=Measurement("voc2012", "val", 224),
        maskcut=Measurement("coco2017", "val", 480),
        figure_size=224,
    ),
}


def profile(name: str) -> Profile:
    """A profile by name.  Raises: InputError for an unknown one."""
    if name not in PROFILES:
        raise InputError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
