"""From the registry's addresses to the layout on disk that the readers expect."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from wbcore.data.archives import unpack
from wbcore.data.download import fetch
from wbcore.data.images import read_image
from wbcore.data.registry import Source
from wbcore.errors import InputError
from wbcore.files import explained_writing


def install(source: Source, data_root: Path, *, unverified: bool = False) -> Path:
    """Download, check, unpack and, where the registry says so, recode ``source``; returns its folder.

    Everything is made in a folder beside the final one and renamed when it is complete.  Archives are kept
    in ``data_root/.downloads`` until then; one that lies there already is used.

    Raises: InputError if the set cannot be downloaded freely, a checksum is missing and ``unverified`` was
    not given, or anything fails on the way.
    """
    if not source.archives:
        raise InputError(f"data set {source.name} has no open download: get it from {source.homepage}")
    unchecked = [archive.url for archive in source.archives if archive.sha256 is None]
    if unchecked and not unverified:
        raise InputError(
            f"{unchecked[0]} has no known SHA-256, so its content would be unverified: "
            "add --unverified to download it all the same"
        )
    folder = data_root / source.folder
    paths = []
    for archive in source.archives:
        path = data_root / ".downloads" / f"{source.name}-{archive.url.rsplit('/', 1)[1]}"
        paths.append(fetch(archive.url, path, checksum=archive.sha256, size=archive.size))
    with explained_writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_root, prefix=".unpacking-") as temporary:
            staged = Path(temporary) / "set"
            staged.mkdir()
            for archive, path in zip(source.archives, paths, strict=True):
                unpack(path, staged, archive.take)
            if source.recode is not None:
                _recode(staged, source.recode)
            _place(staged, folder)
        for path in paths:
            path.unlink()
    return folder


def _recode(folder: Path, recode: Mapping[str, Any]) -> None:
    """Write the photographs as JPEGs of the quality and, if one is given, the shorter side of ``recode``."""
    paths = [path for name in recode["folders"] for path in sorted((folder / name).rglob("*"))]
    for path in tqdm(list(filter(Path.is_file, paths)), desc="recoding", disable=None):
        image = Image.fromarray(read_image(path))
        if "shorter" in recode:
            scale = recode["shorter"] / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling.LANCZOS)
        path.unlink()
        image.save(path.with_suffix(".jpg"), quality=recode["quality"])


def _place(staged: Path, folder: Path) -> None:
    """Move what was unpacked to where it belongs, beside what is there already from another set."""
    if not folder.exists():
        staged.chmod(0o755)
        staged.replace(folder)
        return
    for path in sorted(staged.rglob("*")):
        destination = folder / path.relative_to(staged)
        if path.is_dir():
            destination.mkdir(exist_ok=True)
        else:
            path.replace(destination)
