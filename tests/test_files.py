"""A file appears whole or not at all."""

import errno
import hashlib
import os
import tempfile

import pytest

from wbcore.errors import InputError
from wbcore.files import open_atomically, sha256, write_bytes


def raising(code):
    def fail(*_arguments, **_options):
        raise OSError(code, os.strerror(code))

    return fail


def test_writes_into_new_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("where", "name", "code", "remedy"),
    [
        (os, "fsync", errno.ENOSPC, "free some space"),
        (os, "fsync", errno.EDQUOT, "quota"),
        (tempfile, "mkstemp", errno.EROFS, "read-only"),
        (tempfile, "mkstemp", errno.EACCES, "permission"),
    ],
)
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch, where, name, code, remedy):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(where, name, raising(code))
    with pytest.raises(InputError, match=remedy) as caught:
        write_bytes(path, b"new")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_while_the_caller_writes_is_explained_too(tmp_path):
    with pytest.raises(InputError, match="disk is full"), open_atomically(tmp_path / "file"):
        raising(errno.ENOSPC)()
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_kind_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", raising(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        write_bytes(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_an_exception_in_the_body_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def half():
        with open_atomically(path) as stream:
            stream.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256(tmp_path):
    write_bytes(tmp_path / "file", b"content")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()
