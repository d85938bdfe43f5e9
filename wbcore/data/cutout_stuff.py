"""Cutouts scenes in which every pixel has a class: regions of stuff, and things on top of them."""

import csv
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from wbcore.data.batches import CutoutBatches
from wbcore.data.cutouts import PACK, SPLITS, Composer, CutoutScenes, SceneConfig, fingerprint, kinds, manifest
from wbcore.data.textures import Piece
from wbcore.errors import InputError
from wbcore.files import sha256

REGIONS = 3
"""Regions of stuff in one half of the scenes; the others have one less."""
SIZE = 128
_WAVES = 2
"""How many waves a border between regions has."""
_BORDERS, _PICTURE = 5 + 3 * _WAVES, 11
"""How many random numbers the borders of a scene use, and the picture of a region."""


class Stuff(NamedTuple):
    """A piece of a background that shows one kind of stuff."""

    kind: str
    split: str
    piece: Piece


@functools.cache
def stuff_table(root: Path = PACK) -> tuple[Stuff, ...]:
    """What ``stuff.csv`` says of the pack's backgrounds, sorted by kind and id.

    Raises: InputError if the table is missing, or names what is no background.
    """
    path = root / "stuff.csv"
    if not path.is_file():
        raise InputError(f"{path} is missing: it comes with the repository, check out data/cutouts")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: (row["stuff"], row["id"]))
    known = {picture.id: picture for picture in manifest("background", root)}
    strange = [row["id"] for row in rows if row["id"] not in known]
    if strange:
        raise InputError(f"{path} names {strange[0]}, which is no background of the pack: correct the table")
    parts = [tuple(float(share) for share in (row["crop"] or "0 0 1 1").split()) for row in rows]
    chosen = [known[row["id"]] for row in rows]
    return tuple(
        Stuff(row["stuff"], picture.split, Piece(picture.file, part))
        for row, picture, part in zip(rows, chosen, parts, strict=True)
    )


def stuff_kinds(root: Path = PACK) -> tuple[str, ...]:
    """The kinds of stuff, sorted: the first classes of these scenes."""
    return tuple(sorted({stuff.kind for stuff in stuff_table(root)}))


class StuffComposer(Composer):
    """Scenes whose ground is two or three regions of different stuff, side by side or above one another.

    The classes are the kinds of stuff, then the kinds of things; there is no background class.
    Raises: InputError for an unknown split, or if a kind of stuff has no picture in it.
    """

    name = "cutouts-stuff"
    # More and smaller things than in scenes that are about one of them, so that stuff is seen.
    look: ClassVar[Mapping[str, object]] = {
        "object_counts": (0.3, 0.3, 0.25, 0.15),
        "main_scale": (0.4, 0.8),
        "other_scale": (0.3, 0.55),
    }

    def __init__(
        self,
        split: str = "train",
        config: SceneConfig | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        root: Path = PACK,
    ) -> None:
        super().__init__(split, config, seed=seed, device=device, root=root)
        shown = [stuff.kind for stuff in self._stuff(SPLITS[split][1])]
        self._counts = torch.tensor([shown.count(kind) for kind in stuff_kinds(root)])
        self._ground_numbers = _BORDERS + len(self._counts) + REGIONS * _PICTURE

    def fingerprint(self) -> str:
        decisive = f"{fingerprint(self.root)} {sha256(self.root / 'stuff.csv')}"
        return hashlib.sha256(decisive.encode()).hexdigest()

    def _stuff(self, split: str) -> tuple[Stuff, ...]:
        found = tuple(stuff for stuff in stuff_table(self.root) if stuff.split == split)
        names = sorted({stuff.kind for stuff in found})
        if len(names) < REGIONS or names != list(stuff_kinds(self.root)):
            raise InputError(
                f"{self.root / 'stuff.csv'} has pictures of {len(names)} kinds in split {split!r}: "
                f"each kind needs one there, and there must be {REGIONS} kinds or more"
            )
        return found

    def _background_pieces(self, split: str) -> tuple[Piece, ...]:
        return tuple(stuff.piece for stuff in self._stuff(split))

    def _class_names(self) -> tuple[str, ...]:
        return (*stuff_kinds(self.root), *kinds(self.root)[1:])

    def _paint_ground(self, u: Float[Tensor, "b u"]) -> tuple[Float[Tensor, "b 3 s s"], UInt8[Tensor, "b s s"]]:
        borders, order, look = u[:, -self._ground_numbers :].tensor_split(
            [_BORDERS, _BORDERS + len(self._counts)], dim=1
        )
        covers, region = regions(borders.to(self.device), self.config.size)
        kind = order.argsort(dim=1)[:, :REGIONS]
        numbers = look.unflatten(1, (REGIONS, _PICTURE))
        first = self._counts.cumsum(0) - self._counts  # pictures are sorted by kind
        index = first[kind] + (numbers[..., 0] * self._counts[kind]).long()
        painted = [self._paint_background(index[:, k], numbers[:, k, 1:]) for k in range(REGIONS)]
        canvas = (covers[:, :, None] * torch.stack(painted, dim=1)).sum(dim=1)
        return canvas, kind.to(self.device).gather(1, region.flatten(1)).view_as(region).to(torch.uint8)


def regions(u: Float[Tensor, "b n"], size: int) -> tuple[Float[Tensor, "b k s s"], Int[Tensor, "b s s"]]:
    """How much of each pixel each region covers, and which region its centre lies in.

    The regions follow each other along an axis, to the right or downwards and up to 20° off; borders are waved.
    """
    number, turn, tilt, first, second = u[:, :5].unbind(1)
    height, frequency, phase = u[:, 5:].unflatten(1, (_WAVES, 3))[..., None, None].unbind(2)
    axis = (2 * torch.arange(size, device=u.device) + 1) / size - 1
    angle = torch.where(turn < 0.5, 0.0, math.pi / 2) + (2 * tilt - 1) * math.radians(20)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along, across = cos * axis + sin * axis[:, None], cos * axis[:, None] - sin * axis
    waves = 0.12 * height * torch.sin(math.pi * ((0.5 + 1.5 * frequency) * across[:, None] + 2 * phase))
    along = along + waves.sum(dim=1)
    both = number < 0.5  # else the second border lies outside
    before = torch.where(both, -0.6 + 0.4 * first, -0.35 + 0.7 * first)
    after = torch.where(both, 0.2 + 0.4 * second, 9.0)
    distance = along[:, None] - torch.stack([before, after], dim=1)[..., None, None]
    beyond = (distance * size / 2 + 0.5).clamp(0, 1)  # a border is one pixel wide
    whole = torch.ones_like(along)[:, None]
    covers = torch.cat([whole, beyond], dim=1) - torch.cat([beyond, torch.zeros_like(whole)], dim=1)
    return covers, (distance > 0).sum(dim=1)


class CutoutStuffScenes(CutoutScenes):
    """Scenes of stuff and things as a data set: ``semantic`` has a class everywhere, stuff first, then things."""

    _composer_type = StuffComposer

    def __init__(
        self,
        split: str = "segmentation",
        *,
        size: int = SIZE,
        count: int = 200,
        seed: int = 1,
        root: Path = PACK,
        **config: object,
    ) -> None:
        super().__init__(split, size=size, count=count, seed=seed, root=root, **config)


class CutoutStuffBatches(CutoutBatches):
    """Scenes of stuff and things, new ones in every epoch, with the class of every pixel."""

    _composer_type = StuffComposer

    def __init__(
        self,
        split: str = "train",
        *,
        size: int = SIZE,
        num_examples: int = 30_000,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(split, size=size, num_examples=num_examples, seed=seed, device=device)
        self.num_classes = len(self._composer.classes)

    def batch(self, epoch: int, positions: Sequence[int]) -> tuple[UInt8[Tensor, "b 3 s s"], UInt8[Tensor, "b s s"]]:
        scenes = self._scenes(epoch, positions)
        return scenes.images, scenes.semantic
