import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wbcore.data import download
from wbcore.data.download import fetch
from wbcore.errors import InputError

CONTENT = bytes(range(256)) * 1013
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``CONTENT``, or breaks off after ``stop_after`` bytes; remembers where each request began."""

    stop_after: int | None = None
    understands_ranges = True
    announces_length = True
    status: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.starts: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        start = 0
        if self.server.understands_ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.server.starts.append(start)
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(self.server.status or (206 if start else 200))
        if self.server.announces_length:
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT) if self.server.stop_after is None else start + self.server.stop_after
        self.wfile.write(CONTENT[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_complete_download(server, tmp_path):
    path = fetch(server.url, tmp_path / "new" / "set.tar", checksum=CHECKSUM, size=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["set.tar"]


def test_interrupted_download_leaves_no_file_and_goes_on(server, tmp_path):
    path = tmp_path / "set.tar"
    server.stop_after = 100_003
    message = rf"{server.url} stopped after 100003 of {len(CONTENT)} bytes: .*go on from there"
    with pytest.raises(InputError, match=message):
        fetch(server.url, path, checksum=CHECKSUM)
    assert not path.exists()
    server.stop_after = None
    fetch(server.url, path, checksum=CHECKSUM)
    assert server.starts == [0, 100_003]
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["set.tar"]


def test_server_without_ranges_begins_anew(server, tmp_path):
    server.understands_ranges = False
    (tmp_path / "set.tar.part").write_bytes(CONTENT[:7919])
    assert fetch(server.url, tmp_path / "set.tar", checksum=CHECKSUM).read_bytes() == CONTENT


def test_without_a_checksum_nothing_is_continued(server, tmp_path):
    server.stop_after = 7919
    with pytest.raises(InputError, match=r"run the same command again$"):
        fetch(server.url, tmp_path / "set.tar")
    server.stop_after = None
    assert fetch(server.url, tmp_path / "set.tar").read_bytes() == CONTENT
    assert server.starts == [0, 0]


def test_unannounced_length_is_checked_against_the_registry(server, tmp_path):
    server.announces_length = False
    server.stop_after = 7919
    with pytest.raises(InputError, match=f"stopped after 7919 of {len(CONTENT)} bytes"):
        fetch(server.url, tmp_path / "set.tar", checksum=CHECKSUM, size=len(CONTENT))


def test_complete_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "set.tar.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "set.tar", checksum=CHECKSUM, size=len(CONTENT))
    assert server.starts == []


def test_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "set.tar.part").write_bytes(CONTENT + b"more")
    with pytest.raises(InputError, match="has changed since its download began"):
        fetch(server.url, tmp_path / "set.tar", checksum=CHECKSUM)
    assert names(tmp_path) == []


@pytest.mark.parametrize("there", [False, True])
def test_wrong_content_is_refused_and_thrown_away(server, tmp_path, there):
    if there:
        (tmp_path / "set.tar").write_bytes(b"something else")
    with pytest.raises(InputError, match=rf"has SHA-256 [0-9a-f]{{64}}, not {'0' * 64}"):
        fetch(server.url, tmp_path / "set.tar", checksum="0" * 64)
    assert names(tmp_path) == []


def test_complete_file_is_used(server, tmp_path):
    (tmp_path / "set.tar").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "set.tar", checksum=CHECKSUM)
    assert server.starts == []


def test_http_error_names_the_address(server, tmp_path):
    server.status = 404
    with pytest.raises(InputError, match=f"{server.url} answered 404"):
        fetch(server.url, tmp_path / "set.tar", checksum=CHECKSUM)
    assert names(tmp_path) == []


def test_unreachable_server(server, tmp_path):
    server.server_close()
    with pytest.raises(InputError, match=r"cannot be reached .*check the network"):
        fetch(server.url, tmp_path / "set.tar", checksum=CHECKSUM)


def test_other_schemes_are_refused(tmp_path):
    with pytest.raises(InputError, match="file:///etc/hostname is not an http or https address"):
        fetch("file:///etc/hostname", tmp_path / "set.tar")


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the folder is read-only")]
)
def test_write_errors_name_the_remedy(server, tmp_path, monkeypatch, code, remedy):
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(download.os, "fsync", fail)
    with pytest.raises(InputError, match=rf"set\.tar\.part was not written: {remedy}"):
        fetch(server.url, tmp_path / "set.tar", checksum=CHECKSUM)
    assert not (tmp_path / "set.tar").exists()
