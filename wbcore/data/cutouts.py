"""Cutouts: real photographs with exact masks, composed into scenes on the device, each from its own seed."""

import csv
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from wbcore.data.example import Example
from wbcore.data.textures import Piece, Textures, background_textures, cutout_textures
from wbcore.errors import InputError
from wbcore.files import DATA, sha256

PACK = DATA / "cutouts"
SPLITS = {
    # name: (split of the cut-outs, split of the backgrounds)
    "train": ("train", "train"),
    "recognition": ("train", "eval"),
    "segmentation": ("eval", "eval"),
    "transfer_train": ("eval", "train"),
    "transfer": ("eval", "eval"),
}
"""``train`` for training; ``recognition`` for top-1 (known cut-outs over unseen backgrounds); ``segmentation`` for
masks (neither the cut-outs nor the backgrounds were ever trained on); ``transfer_train`` to fine-tune on cut-outs that
training has not seen, and ``transfer`` for its top-1, over unseen backgrounds."""


class Picture(NamedTuple):
    """One row of the pack's manifest."""

    id: str
    kind: str
    split: str
    file: Path


@functools.cache
def manifest(role: str, root: Path = PACK) -> tuple[Picture, ...]:
    """The pack's pictures of one role (``cutout``, ``background``, ``photograph``), sorted by id.

    Raises: InputError if the pack is not there.
    """
    path = root / "manifest.csv"
    if not path.is_file():
        raise InputError(f"{path} is missing: the Cutouts pack comes with the repository, check out data/cutouts")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["role"] == role]
    rows.sort(key=lambda row: row["id"])
    return tuple(Picture(row["id"], row["kind"], row["split"], root / row["file"]) for row in rows)


def pictures(role: str, split: str, root: Path = PACK) -> tuple[Picture, ...]:
    """The pictures of one role and one split (``train``, ``eval`` or ``figure``)."""
    found = tuple(picture for picture in manifest(role, root) if picture.split == split)
    if not found:
        raise InputError(f"{root}/manifest.csv has no {role} in split {split!r}: splits are train, eval, figure")
    return found


def kinds(root: Path = PACK) -> tuple[str, ...]:
    """Class names of the semantic masks: ``background``, then every kind of cut-out, sorted."""
    return ("background", *sorted({picture.kind for picture in manifest("cutout", root)}))


@functools.cache
def fingerprint(root: Path = PACK) -> str:
    """SHA-256 of the manifest, which holds the SHA-256 of every picture."""
    return sha256(root / "manifest.csv")


class Scenes(NamedTuple):
    """A batch of composed scenes.  Object 0 is the main one, in front of all others; absent ones have empty masks."""

    images: UInt8[Tensor, "b 3 s s"]
    labels: Int[Tensor, "b"]
    """Identity of the main object: its number among the cut-outs of its split."""
    instances: Bool[Tensor, "b m s s"]
    """Visible part of every object: where its alpha is above one half and nothing in front of it is."""
    categories: Int[Tensor, "b m"]
    """Class of every object, 0 where there is none."""
    ground: UInt8[Tensor, "b s s"]
    """Class of what is behind the objects; its number is lower than theirs."""

    @property
    def semantic(self) -> UInt8[Tensor, "b s s"]:
        """Class of each pixel."""
        objects = (self.instances * self.categories[..., None, None].to(torch.uint8)).amax(dim=1)
        return objects.maximum(self.ground)


@dataclass(frozen=True)
class SceneConfig:
    """What scenes look like.  Lengths are shares of the image side; angles are in degrees."""

    size: int = 72
    object_counts: tuple[float, ...] = (0.6, 0.2, 0.12, 0.08)
    """Probabilities of 1, 2, … objects."""
    main_scale: tuple[float, float] = (0.45, 0.95)
    other_scale: tuple[float, float] = (0.25, 0.5)
    rotation: float = 25.0
    light: float = 0.3
    colour: float = 0.15
    softness: float = 1.0
    """How much softer than sharp an object's edge may be, in octaves."""
    background_window: tuple[float, float] = (0.5, 1.0)
    """Side of the piece of a background that is shown, as a share of its height."""


_SCENE, _OBJECT = 15, 12
"""How many random numbers a scene and each of its objects use."""


def uniforms(seed: int, indices: Sequence[int], count: int) -> Float[Tensor, "b u"]:
    """Uniform random numbers in [0, 1) for each index, whatever other indices are asked for (Philox)."""
    rows = [np.random.Generator(np.random.Philox(key=[seed, int(index)])).random(count) for index in indices]
    below_one = np.nextafter(np.float32(1), np.float32(0))  # to which what rounds to 1 is brought back
    return torch.from_numpy(np.asarray(rows, dtype=np.float32).reshape(len(rows), count)).clamp(max=float(below_one))


def _between(u: Float[Tensor, "*b"], low: float | Tensor, high: float | Tensor) -> Float[Tensor, "*b"]:
    return low + u * (high - low)


def _placement(
    centre: tuple[Tensor, Tensor], half_side: Tensor, degrees: Tensor, mirror: Tensor
) -> Float[Tensor, "b 2 3"]:
    """The affine map, output to texture, that shows a square texture of ``half_side`` around ``centre``."""
    angle = torch.deg2rad(degrees)
    cos, sin = angle.cos(), angle.sin()
    x, y = centre
    first = torch.stack([cos, sin, -(cos * x + sin * y)], dim=1) * (mirror / half_side)[:, None]
    second = torch.stack([-sin, cos, sin * x - cos * y], dim=1) / half_side[:, None]
    return torch.stack([first, second], dim=1)


def _relight(
    picture: Float[Tensor, "b 3 s s"], coverage: Float[Tensor, "b 1 s s"] | float, u: Tensor, config: SceneConfig
) -> Float[Tensor, "b 3 s s"]:
    """Contrast, brightness and a colour cast of a (premultiplied) picture; ``u`` is ``[b, 5]``."""
    contrast = _between(u[:, 0], 1 - config.light, 1 + config.light)[:, None]
    gain = contrast * _between(u[:, 2:5], 1 - config.colour, 1 + config.colour)
    offset = _between(u[:, 1], -config.light, config.light)[:, None, None, None] / 2
    return picture * gain[..., None, None].to(picture.device) + offset.to(picture.device) * coverage


class Composer:
    """Composes the scenes of one split.  Scene ``i`` of a seed is always the same, alone or in any batch.

    Identical from run to run on the CPU; on a GPU the same scenes up to rounding.
    Raises: InputError for an unknown split.
    """

    name = "cutouts"
    look: ClassVar[Mapping[str, object]] = {}
    """What its scenes have other than :class:`SceneConfig`'s defaults."""
    _ground_numbers = 0
    """How many random numbers :meth:`_paint_ground` uses beyond those of the scene."""

    def __init__(
        self,
        split: str = "train",
        config: SceneConfig | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        root: Path = PACK,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"unknown split {split!r} of Cutouts: choose one of {', '.join(SPLITS)}")
        self.config, self.seed, self.device = config or SceneConfig(), seed, torch.device(device)
        self.split, self.root = split, root
        objects, backgrounds = SPLITS[split]
        size = self.config.size
        chosen = pictures("cutout", objects, root)
        files = tuple(picture.file for picture in chosen)
        self._objects = Textures(cutout_textures(files, min(size, 224) // 4 * 4).to(self.device))
        self._backgrounds = Textures(
            background_textures(self._background_pieces(backgrounds), min(2 * size, 320) // 4 * 4).to(self.device),
            levels=2,
        )
        self.classes = self._class_names()
        self.identities = tuple(picture.id for picture in chosen)
        self._kinds = torch.tensor([self.classes.index(picture.kind) for picture in chosen])

    def fingerprint(self) -> str:
        """SHA-256 over what scenes are made of."""
        return fingerprint(self.root)

    def _background_pieces(self, split: str) -> tuple[Piece, ...]:
        return tuple(Piece(picture.file) for picture in pictures("background", split, self.root))

    def _class_names(self) -> tuple[str, ...]:
        return kinds(self.root)

    def __call__(self, indices: Sequence[int]) -> Scenes:
        """Compose the scenes numbered ``indices``."""
        config, most = self.config, len(self.config.object_counts)
        # What is where is worked out on the CPU, so that no step waits for an answer of the GPU, which paints.
        u = uniforms(self.seed, indices, _SCENE + most * _OBJECT + self._ground_numbers)
        bounds = torch.tensor(config.object_counts).cumsum(0)
        counts = 1 + (u[:, :1] >= bounds / bounds[-1]).sum(dim=1).clamp(max=most - 1)
        scene, objects = u[:, :_SCENE], u[:, _SCENE : _SCENE + most * _OBJECT].unflatten(1, (most, _OBJECT))

        canvas, ground = self._paint_ground(u)
        solid = torch.zeros(len(u), most, config.size, config.size, dtype=torch.bool, device=self.device)
        identities = (objects[..., 0] * len(self.identities)).long()
        for i in reversed(range(most)):  # from the back to the main object in front
            rows = (counts > i).nonzero().squeeze(1)
            if len(rows):
                picture = self._render_object(identities[rows, i], objects[rows, i], main=i == 0)
                rows = rows.to(self.device)
                canvas[rows] = picture[:, :3] + (1 - picture[:, 3:]) * canvas[rows]
                solid[rows, i] = picture[:, 3] > 0.5
        in_front = solid.cumsum(dim=1) - solid.long()
        present = torch.arange(most) < counts[:, None]
        canvas = canvas * self._light_gradient(scene)
        return Scenes(
            images=(canvas.clamp(0, 1) * 255).round().to(torch.uint8),
            labels=identities[:, 0].to(self.device),
            instances=solid & (in_front == 0),
            categories=(self._kinds[identities] * present).to(self.device),
            ground=ground,
        )

    def _paint_ground(self, u: Float[Tensor, "b u"]) -> tuple[Float[Tensor, "b 3 s s"], UInt8[Tensor, "b s s"]]:
        """What is behind the objects, and its classes: one background, which is class 0."""
        index = (u[:, 1] * len(self._backgrounds.levels[0])).long()
        canvas = self._paint_background(index, u[:, 2:12])
        return canvas, torch.zeros_like(canvas[:, 0], dtype=torch.uint8)

    def _paint_background(self, index: Int[Tensor, "b"], u: Float[Tensor, "b u"]) -> Float[Tensor, "b 3 s s"]:
        """A piece of background ``index`` in each scene; ``u`` are ten random numbers."""
        config, finest = self.config, self._backgrounds.levels[0]
        rows, cols = finest.shape[-2:]
        window = _between(u[:, 0], *config.background_window)
        # The window's half-sides in texture units, and how far its centre may move without leaving the picture.
        half_rows, half_cols = window, window * rows / cols
        x, y = (2 * u[:, 1] - 1) * (1 - half_cols), (2 * u[:, 2] - 1) * (1 - half_rows)
        angle = torch.deg2rad(_between(u[:, 3], -config.rotation, config.rotation) / 2)
        mirror = torch.where(u[:, 4] < 0.5, -1.0, 1.0)
        first = torch.stack([mirror * angle.cos() * half_cols, angle.sin() * half_cols, x], dim=1)
        second = torch.stack([-mirror * angle.sin() * half_rows, angle.cos() * half_rows, y], dim=1)
        placement = torch.stack([first, second], dim=1)
        picture = self._backgrounds.sample(index, placement, window * rows / config.size, config.size, "reflection")
        return _relight(picture, 1.0, u[:, 5:10], config)

    def _render_object(
        self, identity: Int[Tensor, "b"], u: Float[Tensor, "b u"], *, main: bool
    ) -> Float[Tensor, "b 4 s s"]:
        """The premultiplied picture of one object in each scene."""
        config, finest = self.config, self._objects.levels[0]
        scale = _between(u[:, 1], *(config.main_scale if main else config.other_scale))
        # A main object stays in the image, or nearly; the others may be anywhere.
        reach = (1 - scale + 0.15) if main else torch.full_like(scale, 0.85)
        centre = (2 * u[:, 2] - 1) * reach, (2 * u[:, 3] - 1) * reach
        degrees = _between(u[:, 4], -config.rotation, config.rotation)
        placement = _placement(centre, scale, degrees, torch.where(u[:, 5] < 0.5, -1.0, 1.0))
        # A coarser texture than needed makes a softer edge.
        shrink = finest.shape[-1] / (scale * config.size) * 2 ** (config.softness * u[:, 6])
        picture = self._objects.sample(identity, placement, shrink, config.size, "zeros")
        colours = _relight(picture[:, :3], picture[:, 3:], u[:, 7:12], config)
        return torch.cat([colours.clamp(min=0).minimum(picture[:, 3:]), picture[:, 3:]], dim=1)

    def _light_gradient(self, scene: Float[Tensor, "b u"]) -> Float[Tensor, "b 1 s s"]:
        """Light that falls off across the scene."""
        size = self.config.size
        axis = torch.linspace(-1, 1, size, device=self.device)
        angle, slope = (scene[:, 12:14] * torch.tensor([2 * torch.pi, self.config.light])).to(self.device).unbind(1)
        ramp = angle.cos()[:, None, None] * axis + angle.sin()[:, None, None] * axis[:, None]
        return (1 + slope[:, None, None] * ramp)[:, None]


class CutoutScenes:
    """Composed scenes as a data set of :class:`Example`: image, identity, semantic mask and instances."""

    _composer_type: type[Composer] = Composer

    def __init__(
        self,
        split: str = "segmentation",
        *,
        size: int = 72,
        count: int = 200,
        seed: int = 1,
        root: Path = PACK,
        **config: object,
    ) -> None:
        if count < 1:
            raise InputError(f"count={count} scenes of Cutouts were asked for: ask for 1 or more")
        scene = SceneConfig(**{"size": size, **self._composer_type.look, **config})  # pyright: ignore[reportArgumentType]
        self._composer = self._composer_type(split, scene, seed=seed, root=root)
        self._count = count
        self.name = f"{self._composer.name}-{split}-{size}px"
        self.classes: Sequence[str] = self._composer.classes
        decisive = f"{split} {scene} {seed} {count} {self._composer.fingerprint()}"
        self.fingerprint = hashlib.sha256(decisive.encode()).hexdigest()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._count:
            raise IndexError(index)
        scenes = self._composer([index])
        present = (scenes.categories[0] > 0) & scenes.instances[0].flatten(1).any(dim=1)
        return Example(
            name=f"{self.name}/{index:05d}",
            image=scenes.images[0].permute(1, 2, 0).numpy(),
            label=int(scenes.labels[0]),
            semantic=scenes.semantic[0].numpy(),
            instances=scenes.instances[0][present].numpy(),
            categories=scenes.categories[0][present].numpy(),
            crowd=np.zeros(int(present.sum()), dtype=bool),
        )


def photographs(root: Path = PACK) -> list[Example]:
    """The pack's whole photographs, for figures; nothing is annotated."""
    found = []
    for picture in pictures("photograph", "figure", root):
        with Image.open(picture.file) as image:
            found.append(Example(name=picture.id, image=np.asarray(image.convert("RGB"))))
    return found
