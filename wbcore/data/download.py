"""Fetching one file over HTTP: to a temporary name, checked, then renamed; an interrupted one goes on later."""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from wbcore.errors import InputError
from wbcore.files import explained_writing, sha256

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
_RANGE_NOT_SATISFIABLE = 416


def fetch(url: str, path: Path, *, checksum: str | None = None, size: int | None = None) -> Path:
    """Download ``url`` to ``path``, which appears only when the file is complete and its SHA-256 is ``checksum``.

    Until then the bytes are in ``path`` + ".part".  With a checksum an interrupted download goes on from
    there when it is run again; without one nothing could tell whether both parts belong together, so it
    starts anew.  A complete file of that name that is already there is used, after the same check.

    Raises: InputError, naming the address and the remedy, if the server cannot be reached, the transfer stops
    early, the content is not the expected one, or the disk is full.
    """
    if path.exists():
        _verify(path, url, checksum)
        return path
    part = path.with_name(f"{path.name}.part")
    with explained_writing(part):
        path.parent.mkdir(parents=True, exist_ok=True)
        if checksum is None:
            part.unlink(missing_ok=True)
        if not (size and part.exists() and part.stat().st_size == size):
            _transfer(url, part, size=size, resumable=checksum is not None)
        _verify(part, url, checksum)
        part.replace(path)
    return path


def _transfer(url: str, part: Path, *, size: int | None, resumable: bool) -> None:
    start = part.stat().st_size if part.exists() else 0
    with _open(url, start, part) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else size
        with (
            part.open("ab" if start else "wb") as stream,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as progress,
        ):
            received = start + _copy(response, stream, progress)
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and received != total:
        remedy = "run the same command again to go on from there" if resumable else "run the same command again"
        raise InputError(f"{url} stopped after {received} of {total} bytes: {remedy}")


def _open(url: str, start: int, part: Path) -> http.client.HTTPResponse:
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url} is not an http or https address: correct the registry")
    headers = {"User-Agent": "wbcore"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise InputError(f"{url} has changed since its download began: run the same command again") from error
        raise InputError(f"{url} answered {error.code} {error.reason}: download it by hand or try later") from error
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{url} cannot be reached ({error}): check the network and run the command again") from error


def _copy(response: http.client.HTTPResponse, stream: BinaryIO, progress: tqdm) -> int:
    """Copy until the response ends or breaks off, and return the number of bytes; the caller knows how many are due."""
    received = 0
    while True:
        try:
            chunk = response.read(_CHUNK)
        except http.client.IncompleteRead as error:
            stream.write(error.partial)
            return received + len(error.partial)
        except OSError:
            return received
        if not chunk:
            return received
        stream.write(chunk)
        received += len(chunk)
        progress.update(len(chunk))


def _verify(path: Path, url: str, checksum: str | None) -> None:
    if checksum is not None and (found := sha256(path)) != checksum:
        path.unlink()
        raise InputError(
            f"{url} has SHA-256 {found}, not {checksum}, and was thrown away: run the command again, "
            "and if that does not help, the source has changed"
        )
