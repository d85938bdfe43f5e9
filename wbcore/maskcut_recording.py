"""What is recorded of MaskCut beyond Table 1: with its CRF, and with other settings than those of the table."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from wbcore.cells import Cell, Place
from wbcore.components import untrained_model
from wbcore.data.example import Dataset
from wbcore.data.views import kept
from wbcore.evaluate import Measurement, segmentation
from wbcore.models import model_config
from wbcore.records import Record, select
from wbcore.segmentation_study import VIT_TINY, pretrained_backbone
from wbcore.subjects import Subject, baseline_subject, model_subject, refined, shrunk

TRAINED = ("crate", "crate_mlp", "crate_mhsa", "vit")
UNTRAINED = ("untrained_crate", "untrained_vit")
BASELINES = ("random_heads", "centred_blob")
PRETRAINED = "vit_tiny_pretrained"
MODEL = "{}_lab_patch8_72"
SIZE, PRETRAINED_SIZE, CRF_SIZE = 72, 224, 480
"""Pixels: what the lab's models see, what the pretrained ViT sees, and where the official CRF works."""
LARGE = ("crate", "vit", "centred_blob")
"""What the CRF also refines at its official size: few, because there each mask costs 44 times the pixels."""
SPLITS = {"coco200": ("train+val", None), "cutouts": ("segmentation", 400)}


@dataclass(frozen=True)
class Setting:
    """One way to run MaskCut, and what it adds to the name of a model."""

    ending: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """What differs from Table 1, as :func:`wbcore.subjects.model_subject` takes it."""
    size: int | None = None
    """Pixels, if not those of the training."""


TAUS = (0, 5, 10, 20, 30, 40)
"""Hundredths; Table 1 has 15."""
DOTS = (15, 1500)
"""The same for inner products: the printed threshold, and a hundred times that."""
NUM_MASKS, SIZES, LAYERS = (1, 2, 4, 5), (144,), (1, 2, 3, 4, 5)
CUTTING = (
    *(Setting(f"_tau{tau}", {"tau": tau / 100}) for tau in TAUS),
    *(Setting(f"_dot{tau}", {"tau": tau / 100, "affinity": "dot"}) for tau in DOTS),
    Setting("_negative", {"peak": "negative"}),
)
COUNTING = tuple(Setting(f"_masks{count}", {"num_masks": count}) for count in NUM_MASKS)
RESIZING = tuple(Setting(f"_size{size}", size=size) for size in SIZES)
LAYERWISE = tuple(Setting(f"_layer{layer}", {"feature_layer": layer - 1}) for layer in LAYERS)


def settings_of(name: str) -> tuple[Setting, ...]:
    """The settings that can change what a subject is given for.

    The layers of CRATE and ViT are left to Fig. 6, which has them.
    """
    if name == "centred_blob":
        return RESIZING  # one mask, whatever is asked for
    if name == "random_heads":
        return (*COUNTING, *RESIZING)
    return (*CUTTING, *COUNTING, *RESIZING, *(() if name in ("crate", "vit") else LAYERWISE))


def crf_cells(place: Place) -> Iterator[Cell]:
    """Every subject of Table 1 with the CRF at the size that it sees: ``crate_crf``.

    And some at the official one, on photographs, shrunk for the model alone: ``crate_crf480``.
    """
    for data, dataset in _data(place):
        names = [*TRAINED, *UNTRAINED, *BASELINES]
        if data == "coco200" and _pretrained_at_hand(place):
            names.append(PRETRAINED)
        for name in names:
            measure = partial(_refined, name, f"{name}_crf", data, dataset, place)
            yield Cell(f"{name}_crf", _seed(name), data, measure)
        if data == "coco200":
            for name in LARGE:
                ending = f"_crf{CRF_SIZE}"
                measure = partial(_refined, name, name + ending, data, dataset, place, large=True)
                yield Cell(name + ending, _seed(name), data, measure)


def setting_cells(place: Place) -> Iterator[Cell]:
    """det AP of every subject with every setting: ``crate_tau5``; one file for a subject on one data set."""
    for data, dataset in _data(place):
        for name in (*TRAINED, *UNTRAINED, *BASELINES):
            yield Cell(f"{name}_settings", _seed(name), data, partial(_settings, name, data, dataset, place))


def _data(place: Place) -> Iterator[tuple[str, Callable[[int], Dataset]]]:
    """The data at hand; photographs only where a ``data_root`` is given."""
    for data in SPLITS:
        if data == "cutouts" or place.data_root is not None:
            yield data, _opener(data, place)


def _opener(data: str, place: Place) -> Callable[[int], Dataset]:
    """Opens a data set once for each size at which it is composed; photographs have one size."""
    split, limit = SPLITS[data]

    @cache
    def opened(size: int) -> Dataset:
        return kept(Measurement(data, split, size, limit).open(place.data_root))

    return opened if data == "cutouts" else lambda _size: opened(SIZE)


def _pretrained_at_hand(place: Place) -> bool:
    return place.data_root is not None and (Path(place.data_root) / "weights" / VIT_TINY).is_file()


def _seed(name: str) -> int | None:
    return None if name in ("centred_blob", PRETRAINED) else 0


def _subject(name: str, called: str, place: Place, **options: Any) -> Subject:
    """A subject by the name that records have for it without CRF and with Table 1's settings."""
    if name in BASELINES:
        config = model_config(MODEL.format("crate"))
        made = baseline_subject(name, patch_size=config.patch_size, heads=config.heads, **options)
        return replace(made, name=called)
    common = {"name": called, "device": place.device, "seed": _seed(name), **options}
    if name in UNTRAINED:
        return model_subject(untrained_model(MODEL.format(name.removeprefix("untrained_"))), **common)
    source = "vit_tiny" if name == PRETRAINED else name
    model, origin = pretrained_backbone(source, data_root=place.data_root)
    return model_subject(model, weights_sha256=origin["weights_sha256"], **common)


def _refined(
    name: str,
    called: str,
    data: str,
    dataset: Callable[[int], Dataset],
    place: Place,
    command: str,
    *,
    large: bool = False,
) -> list[Record]:
    seen = PRETRAINED_SIZE if name == PRETRAINED else SIZE
    subject = _subject(name, called, place)
    subject = refined(shrunk(subject, size=seen) if large else subject)
    size = CRF_SIZE if large else seen
    found = _measured(subject, dataset(seen), data, size, place, command)
    return [replace(one, settings={**one.settings, "size_seen": seen}) for one in found] if large else found


def _settings(name: str, data: str, dataset: Callable[[int], Dataset], place: Place, command: str) -> Iterator[Record]:
    """The matches are kept of trained models alone, which are compared with each other image by image."""
    for setting in settings_of(name):
        subject = _subject(name, name + setting.ending, place, **setting.options)
        size = setting.size or SIZE
        found = _measured(subject, dataset(size), data, size, place, command)
        for one in select(found, metric="maskcut_bbox/ap"):
            yield one if name in TRAINED else replace(one, matches=None)


def _measured(subject: Subject, dataset: Dataset, data: str, size: int, place: Place, command: str) -> list[Record]:
    return segmentation(
        subject, dataset, data=data, size=size, command=command, device=place.device, kinds=("maskcut",)
    )
