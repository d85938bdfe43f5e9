"""What all readers need: listing folders, and a fingerprint of the files that make up a data set."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import UInt8

from wbcore.data.example import VOID
from wbcore.data.images import IMAGE_SUFFIXES, read_mask
from wbcore.errors import InputError
from wbcore.files import sha256


def require_folder(path: Path) -> Path:
    """``path`` if it is a folder.

    Raises: InputError, naming it, if it is not.
    """
    if not path.is_dir():
        raise InputError(f"folder {path} does not exist: correct data_root or split, or unpack the data set again")
    return path


def list_images(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, sorted by name; hidden files and other kinds are not images.

    Raises: InputError if the folder does not exist or holds no image.
    """
    with os.scandir(require_folder(folder)) as entries:
        names = sorted(entry.name for entry in entries)
    paths = [folder / name for name in names if is_image_name(name)]
    if not paths:
        raise InputError(f"folder {folder} holds no image: unpack the data set again, or choose another split")
    return paths


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def fingerprint(root: Path, classes: Sequence[str], *, images: Iterable[Path], annotations: Iterable[Path] = ()) -> str:
    """SHA-256 over the classes, the names and sizes of the images and the contents of the annotations.

    Pixels of photographs are not read, so that this stays cheap on large sets: a photograph replaced by
    another one of the same name and the same number of bytes goes unnoticed.

    Raises: InputError if files are missing, naming the first and how many there are.
    """
    digest = hashlib.sha256("\n".join([*classes, ""]).encode())
    missing = []
    for path in sorted(images):
        try:
            digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
        except FileNotFoundError:
            missing.append(path)
    for path in sorted(annotations):
        try:
            digest.update(f"{path.relative_to(root).as_posix()} {sha256(path)}\n".encode())
        except FileNotFoundError:
            missing.append(path)
    if missing:
        more = f" and {len(missing) - 1} more files of this set" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}{more} should be there and do not exist: unpack the data set again")
    return digest.hexdigest()


def read_semantic(path: Path, *, numbers: Sequence[int], size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """A mask of class numbers: value v of the file becomes ``numbers[v]``, and ``VOID`` stays what it is.

    ``size`` is (rows, columns) of the photograph.
    Raises: InputError if the mask is of another size, or has a value that ``numbers`` does not have.
    """
    mask = read_mask(path)
    require_size(path, found=mask.shape, wanted=size)
    strange = np.setdiff1d(mask, [*range(len(numbers)), VOID])
    if strange.size:
        raise InputError(f"{path} holds the value {strange[0]}, which is no class: use the original annotation files")
    table = np.full(VOID + 1, VOID, dtype=np.uint8)
    table[: len(numbers)] = numbers
    return table[mask]


def require_size(mask: Path | str, *, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raises: InputError, naming ``mask``, if the (rows, columns) of a mask are not those of its photograph."""
    if found != wanted:
        raise InputError(
            f"{mask} is {found[1]}×{found[0]} pixels but its photograph is {wanted[1]}×{wanted[0]}: "
            "use the photographs and annotations of one release, neither of them resized"
        )
