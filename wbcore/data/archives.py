"""Unpacking tar and zip archives so that nothing can land outside the chosen folder."""

import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from wbcore.errors import InputError
from wbcore.files import explained_writing

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)


class _Member(NamedTuple):
    parts: tuple[str, ...]
    is_regular: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, take: Mapping[str, str]) -> None:
    """Unpack what ``take`` names into ``folder``: each key is a path in the archive, its value the new path.

    A key is a file or a folder; ``*`` stands for one component of any name, and ``outer.zip!inner`` for
    something in an archive within the archive.  Only regular files are written: no links, no devices.

    Raises: InputError if a member's name leaves the folder, a wanted member is a link, a key names nothing,
    the archive is damaged, or the disk is full.
    """
    plain = {key: value for key, value in take.items() if "!" not in key}
    found = set()
    with explained_writing(folder):
        try:
            for member in _members(archive):
                for key, value in plain.items():
                    rest = _below(member.parts, PurePosixPath(key).parts)
                    if rest is not None:
                        found.add(key)
                        _write(member, archive, folder.joinpath(value, *rest))
        except _DAMAGED as error:
            raise InputError(f"{archive} is damaged ({error}): delete it and download it again") from error
        for key in plain.keys() - found:
            raise InputError(f"{archive} holds no {key}: its source has changed, or it is another archive")
        for key in take.keys() - plain.keys():
            outer, inner = key.split("!", 1)
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                unpack(archive, Path(temporary), {outer: "inner"})
                unpack(Path(temporary) / "inner", folder, {inner: take[key]})


def _below(parts: tuple[str, ...], key: tuple[str, ...]) -> tuple[str, ...] | None:
    """What is left of ``parts`` below ``key``, or None if it does not lie there."""
    if len(parts) < len(key) or any(wanted not in ("*", part) for wanted, part in zip(key, parts, strict=False)):
        return None
    return parts[len(key) :]


def _write(member: _Member, archive: Path, destination: Path) -> None:
    source = member.open() if member.is_regular else None
    if source is None:
        raise InputError(f"{archive}: {'/'.join(member.parts)} is no regular file: distrust this archive")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with source, destination.open("wb") as stream:
        shutil.copyfileobj(source, stream)


def _members(archive: Path) -> Iterator[_Member]:
    """Every member but folders, its name checked."""
    # A tar that ends with a zip looks like a zip too, so that tar is tried first.
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for info in tar:
                if not info.isdir():
                    yield _Member(_parts(info.name, archive), info.isreg(), lambda info=info: tar.extractfile(info))
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if not info.is_dir():
                    kind = stat.S_IFMT(info.external_attr >> 16)
                    is_regular = kind in (0, stat.S_IFREG)
                    yield _Member(_parts(info.filename, archive), is_regular, lambda info=info: zipped.open(info))
    else:
        raise InputError(f"{archive} is neither a tar nor a zip archive: delete it and download it again")


def _parts(name: str, archive: Path) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]:
        raise InputError(f"{archive}: the member {name} would leave its folder: distrust this archive")
    return path.parts
