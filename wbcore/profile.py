"""What a profile gives a notebook: its models, loaded, and what is measured of them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wbcore.checkpoints import (
    ModelCard,
    from_timm_vit_file,
    from_timm_vit_pretrained,
    load_model,
    load_segmenter,
)
from wbcore.data.example import Dataset
from wbcore.data.registry import DATA_ROOT_VARIABLE, SHIPPED, find_source, locate
from wbcore.data.views import kept
from wbcore.devices import choose_device
from wbcore.errors import InputError
from wbcore.evaluate import Kind, Measurement, segmentation
from wbcore.files import DATA, sha256
from wbcore.measuring.recognition import held_out, recognition, recorded_as
from wbcore.measuring.segmentation import SegmentationPlan, segmentation_records
from wbcore.models import Backbone
from wbcore.models.dovit import DoViT
from wbcore.records import Origin, Record
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
    fine_tuned: Mapping[str, str]
    """The models of CRATE's Table 3: what records call them, and their names among the models."""
    transfers: tuple[Measurement, ...]
    """What they were fine-tuned on, each for itself, and are measured on."""
    segmentations: Mapping[str, SegmentationPlan]
    """The segmentation models of DoViT's tables: ``street`` (Table 1) and ``scenes`` (Table 2)."""
    released: tuple[str, ...] = ()
    """Networks of the chapters on registers that others trained, by timm's names."""
    probed: Mapping[str, tuple[Measurement, Measurement]] = field(default_factory=dict)
    """What their features are tuned on and scored on: ``boxes`` of LOST, ``names`` of images, classes of ``pixels``."""
    patches: tuple[Measurement, ...] = ()
    """What linear maps of single patches are fitted on, and what they are scored on."""
    one_token: tuple[tuple[Measurement, Measurement], ...] = ()
    """The same of classifiers of one token an image, several data sets."""

    def weights_path(self, variant: str, data_root: Path | str | None = None) -> Path:
        """The weights file of a variant.  Raises: InputError if the profile needs a data_root and has none."""
        return self._file(self.model_names.format(variant=variant), data_root)

    def fine_tuned_path(self, model: str, measurement: Measurement, data_root: Path | str | None = None) -> Path:
        """The weights file of a model that was fine-tuned on a data set.  Raises: as :meth:`weights_path`."""
        ending = recorded_as(measurement.data, measurement.split)
        return self._file(f"{self.fine_tuned[model]}-{ending}", data_root)

    def _file(self, name: str, data_root: Path | str | None) -> Path:
        root: Path | str | None = DATA
        if self.needs_data_root:
            root = data_root or os.environ.get(DATA_ROOT_VARIABLE)
            if not root:
                raise InputError(
                    f"profile {self.name!r} needs data_root (or {DATA_ROOT_VARIABLE}): a folder with the data sets "
                    f"and, in {self.weights}, the weights of {name}"
                )
        return Path(root) / self.weights / f"{name}.safetensors"

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

    def recognise(
        self, *, command: str, data_root: Path | str | None = None, limit: int | None = None, device: str = "cpu"
    ) -> list[Record]:
        """Top-1 of every fine-tuned model whose weights are here, on what it was fine-tuned for.

        Raises: InputError naming the first weights file that is missing and how to make it, if there is none.
        """
        found = []
        for measurement in self.transfers:
            paths = {model: self.fine_tuned_path(model, measurement, data_root) for model in self.fine_tuned}
            for model, path in paths.items():
                if path.is_file():
                    images = held_out(
                        measurement.data,
                        measurement.split,
                        size=measurement.size,
                        data_root=data_root,
                        limit=measurement.limit if limit is None else limit,
                        device=device,
                    )
                    network, card = load_model(path, device=device)
                    digest = sha256(path)
                    found.append(
                        recognition(network, images, name=model, seed=card.seed, weights_sha256=digest, command=command)
                    )
        if not found:
            first, data = next(iter(self.fine_tuned)), self.transfers[0]
            raise InputError(
                f"{self.fine_tuned_path(first, data, data_root)} is missing, and so are the weights of every other "
                f"model and data set: fine-tune {self.fine_tuned[first]} on {data.data} (recipe crate_finetune) and "
                "put model.safetensors and model.json there under this name"
            )
        return found

    def register_models(self, *, data_root: Path | str | None = None, device: str = "cpu") -> dict[str, Backbone]:
        """The networks of the chapters on registers, by name, in evaluation mode: ViT and CRATE without and with
        registers as far as their weights are here, and then the released ones.

        timm fetches released weights, unless their state dict lies in ``weights/<name>.pth`` below ``data_root``.
        Raises: InputError if the profile needs a data_root and has none, or weights can be neither found nor fetched.
        """
        device = choose_device(device)
        paths = {
            variant: self.weights_path(variant, data_root) for variant in ("vit", "vit_reg4", "crate", "crate_reg4")
        }
        found = {variant: load_model(path)[0] for variant, path in paths.items() if path.is_file()}
        for name in self.released:
            path = paths["vit"].with_name(f"{name}.pth")
            found[name] = from_timm_vit_file(name, path) if path.is_file() else from_timm_vit_pretrained(name)
        return {name: model.to(device).eval() for name, model in found.items()}

    def named_images(self, data_root: Path | str | None = None) -> list[tuple[Measurement, Measurement]]:
        """Those of :attr:`one_token` whose images are here.

        Raises: InputError naming the first data set that is missing and where it comes from, if there is none.
        """
        found, missing = [], []
        for pair in self.one_token:
            try:
                if pair[0].data not in SHIPPED:
                    locate(find_source(pair[0].data), data_root)
                found.append(pair)
            except InputError as error:
                missing.append(error)
        if missing and not found:
            raise missing[0]
        return found

    def open_probed(
        self, kind: str, *, data_root: Path | str | None = None, limit: int | None = None
    ) -> tuple[Dataset, Dataset]:
        """What features are tuned on, and no more than ``limit`` images (default: its own) that they are scored on.

        Composed scenes are kept, so that every model gets them without their being composed anew.
        """
        pair = self.probed[kind]
        fit, score = (one.open(data_root, most) for one, most in zip(pair, (None, limit), strict=True))
        return (kept(fit), kept(score)) if pair[0].data == "cutouts" else (fit, score)

    def segmenters(
        self, scenery: str, *, data_root: Path | str | None = None, device: str = "cpu"
    ) -> dict[str, tuple[DoViT, ModelCard]]:
        """The segmentation models of a scenery whose weights are here, with their cards, by their names in records.

        Raises: InputError naming the first weights file that is missing and how to make it, if there should be some and
        there is none.
        """
        models = self.segmentations[scenery].models
        paths = {model: self._file(f"{scenery}_{model}", data_root) for model in models}
        found = {}
        for model, path in paths.items():
            if path.is_file():
                network, card = load_segmenter(path, device=device)
                ratio = f"{round(100 * network.policy.keep_ratio)}" if model.endswith("dyvit") else ""
                found[model + ratio] = network, card
        if models and not found:
            raise InputError(
                f"{paths[models[0]]} is missing, and so are the weights of every other model: train them (recipes "
                "dovit_cityscapes and dovit_ade20k) and put model.safetensors and model.json there under this name"
            )
        return found

    def segment(
        self,
        scenery: str,
        *,
        command: str,
        data_root: Path | str | None = None,
        limit: int | None = None,
        device: str = "cpu",
    ) -> list[Record]:
        """mIoU, accuracies and cost of the segmentation models of a scenery, each under the policy of its card."""
        plan = self.segmentations[scenery]
        records = []
        for name, (model, card) in self.segmenters(scenery, data_root=data_root, device=device).items():
            records += segmentation_records(
                model,
                plan.open(data_root, limit),
                Origin(name, plan.data, command, card.seed, card.weights_sha256),
                view=plan.view,
            )
        return records

    def columns(self, attention: Sequence[str], maskcut: Sequence[str]) -> list[tuple[str, str]]:
        """(data set, metric) for metrics of each kind, as tables want them."""
        return [(self.maskcut.data, metric) for metric in maskcut] + [
            (self.attention.data, metric) for metric in attention
        ]
