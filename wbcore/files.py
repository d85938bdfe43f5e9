"""Where the project's files are, and how a file is written so that a crash never leaves half of it."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wbcore.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EROFS: "the folder is read-only: choose another output folder",
    errno.EACCES: "no permission to write there: choose another output folder",
}


@contextlib.contextmanager
def explained_writing(path: Path | str) -> Iterator[None]:
    """Turn a full disk or a read-only folder into an InputError that names ``path`` and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        raise InputError(f"{path} was not written: {remedy}") from error


@contextlib.contextmanager
def open_atomically(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under ``path`` only once it is complete.

    The bytes go to a temporary name in the same folder, are flushed to the disk and then renamed, so a
    reader sees the old file or the new one, never a part.  When writing fails, what was there stays.

    Raises: InputError, naming the file and the remedy, if the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        with explained_writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content`` to ``path`` as :func:`open_atomically` does."""
    with open_atomically(path) as stream:
        stream.write(content)


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
