"""What is recorded of MaskCut beyond Table 1: with its CRF, and with other settings than those of the table."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from wbcore.data.example import Dataset
from wbcore.data.views import kept
from wbcore.evaluate import Measurement, segmentation
from wbcore.measuring.components import patch_features, untrained_model
from wbcore.metrics.attention import to_pixels
from wbcore.metrics.coco_form import CocoForm, Truth, coco_form
from wbcore.metrics.detection import Matches, ap_intervals, match
from wbcore.metrics.maskcut import maskcut_batch
from wbcore.models import Backbone, model_config
from wbcore.recording.cells import Cell, Place
from wbcore.recording.networks import PRETRAINED, pretrained_at_hand
from wbcore.records import Record
from wbcore.records.measured import common_fields
from wbcore.segmentation_study import pretrained_backbone
from wbcore.showing import BATCH, resize
from wbcore.subjects import Subject, baseline_subject, model_subject, refined, shrunk

TRAINED = ("crate", "crate_mlp", "crate_mhsa", "vit")
UNTRAINED = ("untrained_crate", "untrained_vit")
BASELINES = ("random_heads", "centred_blob")
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
        if data == "coco200" and pretrained_at_hand(place):
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


def _seed(name: str) -> int | None:
    return None if name in ("centred_blob", PRETRAINED) else 0


def _subject(name: str, called: str, place: Place, **options: Any) -> Subject:
    """A subject by the name that records have for it without CRF and with Table 1's settings."""
    if name in BASELINES:
        config = model_config(MODEL.format("crate"))
        made = baseline_subject(name, patch_size=config.patch_size, heads=config.heads, **options)
        return replace(made, name=called)
    network, digest = _network(name, place)
    return model_subject(network, name=called, device=place.device, seed=_seed(name), weights_sha256=digest, **options)


def _network(name: str, place: Place) -> tuple[Backbone, str | None]:
    """A network and the hash of its weights, if it was trained."""
    if name in UNTRAINED:
        return untrained_model(MODEL.format(name.removeprefix("untrained_"))), None
    source = "vit_tiny" if name == PRETRAINED else name
    model, origin = pretrained_backbone(source, data_root=place.data_root)
    return model, origin["weights_sha256"]


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
    found = segmentation(
        subject, dataset(seen), data=data, size=size, command=command, device=place.device, kinds=("maskcut",)
    )
    return [replace(one, settings={**one.settings, "size_seen": seen}) for one in found] if large else found


@dataclass(frozen=True, eq=False)
class _Shown:
    """A data set at one size, read once for all settings."""

    dataset: Dataset
    images: UInt8[Tensor, "n 3 s s"]
    shapes: list[tuple[int, int]]
    truths: CocoForm
    """Without results."""

    def matches(self, masks: Bool[Tensor, "n m rows cols"]) -> Matches:
        """The boxes of masks on the token grid, brought to the size of each photograph, against its objects."""
        pixels = (to_pixels(one, shape).numpy() for one, shape in zip(masks, self.shapes, strict=True))
        results = coco_form(pixels, (Truth(np.zeros((0, *shape), bool)) for shape in self.shapes)).results
        return match(replace(self.truths, results=results), kind="bbox")


def _show(dataset: Dataset, size: int) -> _Shown:
    examples = [dataset[index] for index in range(len(dataset))]
    shapes = [(example.image.shape[0], example.image.shape[1]) for example in examples]
    truths = [Truth(example.instances, example.crowd) for example in examples if example.instances is not None]
    form = coco_form((np.zeros((0, *shape), bool) for shape in shapes), truths)
    return _Shown(dataset, torch.stack([resize(example.image, size) for example in examples]), shapes, form)


def _settings(name: str, data: str, dataset: Callable[[int], Dataset], place: Place, command: str) -> Iterator[Record]:
    """det AP as :func:`wbcore.evaluate.segmentation` measures it, reading data and features once for all settings.

    The matches are kept of trained models alone, which are compared with each other image by image.
    """
    subject = _subject(name, name, place)
    shown = cache(lambda size: _show(dataset(size), size))
    cut = _baseline_cutter(name, shown, place) if name in BASELINES else _network_cutter(name, shown, place)
    for setting in settings_of(name):
        started, size = time.monotonic(), setting.size or SIZE
        matches = shown(size).matches(cut(size, **setting.options))
        yield Record(
            metric="maskcut_bbox/ap",
            model=name + setting.ending,
            **ap_intervals(matches).ap._asdict(),
            settings={
                **{"dataset": shown(size).dataset.name, "size": size, "scores": "constant", "crf": False},
                **subject.settings,
                **setting.options,
            },
            seconds=round(time.monotonic() - started, 1),
            matches=matches.lines() if name in TRAINED else None,
            **common_fields(
                data=data,
                command=command,
                device=place.device,
                data_sha256=shown(size).dataset.fingerprint,
                seed=subject.seed,
                weights_sha256=subject.weights_sha256,
            ),
        )


def _baseline_cutter(
    name: str, shown: Callable[[int], _Shown], place: Place
) -> Callable[..., Bool[Tensor, "n m rows cols"]]:
    def cut(size: int, **options: Any) -> Bool[Tensor, "n m rows cols"]:
        subject = _subject(name, name, place, **options)
        return torch.cat([subject.read(part).masks for part in shown(size).images.split(BATCH)])

    return cut


def _network_cutter(
    name: str, shown: Callable[[int], _Shown], place: Place
) -> Callable[..., Bool[Tensor, "n m rows cols"]]:
    network = _network(name, place)[0].to(place.device).eval()

    @cache
    def features(size: int, layer: int) -> Float[Tensor, "n p d"]:
        return patch_features(network, shown(size).images, layers=(layer,))[layer]

    def cut(size: int, *, feature_layer: int = -1, **options: Any) -> Bool[Tensor, "n m rows cols"]:
        grid = network.layout(shown(size).images).grid
        return maskcut_batch(features(size, feature_layer).float(), grid, **options).cpu()

    return cut
