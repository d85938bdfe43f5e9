"""The data sets known by name: where each comes from, where it lies, and which reader opens it."""

import difflib
import functools
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from wbcore.data import readers
from wbcore.data.cutout_stuff import CutoutStuffScenes
from wbcore.data.cutouts import CutoutScenes
from wbcore.data.example import Dataset
from wbcore.data.views import joined
from wbcore.errors import InputError
from wbcore.files import DATA

DATA_ROOT_VARIABLE = "WBCORE_DATA"

READERS: Mapping[str, Callable[..., Dataset]] = {reader: getattr(readers, reader) for reader in readers.__all__}

SHIPPED: dict[str, Callable[..., Dataset]] = {"cutouts": CutoutScenes, "cutouts_stuff": CutoutStuffScenes}
"""Data sets that need no data_root: name → a function of the keyword ``split``."""


@dataclass(frozen=True)
class Archive:
    """A file to download; ``take`` says what of it goes where, as :func:`wbcore.data.archives.unpack` reads it."""

    url: str
    take: Mapping[str, str]
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Source:
    """One entry of ``data/registry.toml``, which explains the fields."""

    name: str
    title: str
    reader: str
    folder: str
    holds: str
    homepage: str
    licence: str
    splits: Mapping[str, int]
    also: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    recode: Mapping[str, Any] | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()


@functools.cache
def sources() -> dict[str, Source]:
    """Every data set of ``data/registry.toml`` by name."""
    with (DATA / "registry.toml").open("rb") as stream:
        entries = tomllib.load(stream)
    return {
        name: Source(name=name, **entry | {"archives": tuple(Archive(**one) for one in entry.get("archives", ()))})
        for name, entry in entries.items()
    }


def find_source(name: str) -> Source:
    """The registry's entry called ``name``.

    Raises: InputError that lists the nearest names.
    """
    if name not in sources():
        known = sorted({*sources(), *SHIPPED})
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        raise InputError(f"data set {name!r} is unknown: did you mean {', '.join(near)}?")
    return sources()[name]


def open_dataset(name: str, *, data_root: Path | str | None = None, split: str = "val") -> Dataset:
    """The data set ``name``, opened below ``data_root`` or, without one, below ``$WBCORE_DATA``.

    Several splits are joined by a plus sign, as in ``train+val``.  The data may lie in the registry's folder
    below ``data_root`` or, without its leading folders, nearer to it: VOC is found in ``DIR/VOCdevkit/VOC2012``,
    ``DIR/VOC2012`` and ``DIR``.

    Raises: InputError if the name or a split is unknown, or the data are not there.
    """
    if name in SHIPPED:
        return SHIPPED[name](split=split)
    source = find_source(name)
    splits = split.split("+")
    for part in splits:
        if part not in source.splits:
            raise InputError(f"data set {name} has no split {part!r}: it has {', '.join(source.splits)}")
    root = locate(source, data_root)
    reader = functools.partial(READERS[source.reader], root, **source.options)
    if len(source.splits) == 1:
        return reader(name=name)
    return joined([reader(part, name=f"{name}/{part}") for part in splits], name=f"{name}/{split}")


def locate(source: Source, data_root: Path | str | None) -> Path:
    """The folder of ``source`` below ``data_root`` or ``$WBCORE_DATA``.

    Raises: InputError that says what was expected where and how to get it.
    """
    data_root = data_root or os.environ.get(DATA_ROOT_VARIABLE)
    expected = PurePosixPath(source.folder) / source.holds
    if not data_root:
        raise InputError(
            f"data set {source.name} needs data_root (or {DATA_ROOT_VARIABLE}): a folder DIR with DIR/{expected}; "
            f"get it from {source.homepage}"
        )
    for folder in (source.folder, *source.also):
        parts = PurePosixPath(folder).parts
        for start in range(len(parts) + 1):
            root = Path(data_root).joinpath(*parts[start:])
            if any(root.glob(source.holds)):
                return root
    remedy = f"with `wbcore data get {source.name} --data-root {data_root}`, or from " if source.archives else "from "
    raise InputError(
        f"data set {source.name} is not below data_root {data_root}: expected {Path(data_root) / expected}; "
        f"get it {remedy}{source.homepage}"
    )
