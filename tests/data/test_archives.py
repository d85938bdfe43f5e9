import errno
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from wbcore.data.archives import unpack
from wbcore.errors import InputError

FILES = {"set-1a2b/train/a/one.txt": b"one", "set-1a2b/train/two.txt": b"two", "set-1a2b/val/three.txt": b"three"}


def tar(path: Path, files: dict[str, bytes], *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "unpacked"
    made.mkdir()
    return made


@pytest.mark.parametrize(("pack", "name"), [(tar, "set.tar"), (tar, "set.tar.gz"), (zipped, "set.zip")])
def test_unpack_takes_what_it_was_told(tmp_path, folder, pack, name):
    unpack(pack(tmp_path / name, FILES), folder, {"*/train": "training", "*/val/three.txt": "3.txt"})
    assert tree(folder) == {"training/a/one.txt": b"one", "training/two.txt": b"two", "3.txt": b"three"}


def test_unpack_everything(tmp_path, folder):
    unpack(tar(tmp_path / "set.tar", FILES), folder, {"set-1a2b": "."})
    assert tree(folder) == {name.removeprefix("set-1a2b/"): content for name, content in FILES.items()}


def test_unpack_an_archive_in_the_archive(tmp_path, folder):
    inner = zipped(tmp_path / "inner.zip", FILES).read_bytes()
    # Uncompressed and last in a tar, it makes the tar look like a zip.
    outer = tar(tmp_path / "outer.tar", {"notes.txt": b"notes", "deep/inner.zip": inner})
    unpack(outer, folder, {"deep/inner.zip!set-1a2b/train": "train", "notes.txt": "notes.txt"})
    assert tree(folder) == {"train/a/one.txt": b"one", "train/two.txt": b"two", "notes.txt": b"notes"}


@pytest.mark.parametrize("pack", [tar, zipped])
@pytest.mark.parametrize(
    "name", ["../outside.txt", "/outside.txt", "a/../../outside.txt", "a\\..\\outside.txt", "C:/x"]
)
def test_no_member_leaves_its_folder(tmp_path, folder, pack, name):
    archive = pack(tmp_path / "set.archive", {name: b"outside"})
    before = tree(tmp_path)
    with pytest.raises(InputError, match="would leave its folder"):
        unpack(archive, folder, {".": "."})
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, folder, kind):
    member = tarfile.TarInfo("set/link")
    member.type = kind
    member.linkname = "../../outside.txt"
    archive = tar(tmp_path / "set.tar", {"set/one.txt": b"one"}, member)
    with pytest.raises(InputError, match="set/link is no regular file"):
        unpack(archive, folder, {"set": "."})
    unpack(archive, folder, {"set/one.txt": "one.txt"})
    assert tree(folder) == {"one.txt": b"one"}


def test_links_in_a_zip_are_refused(tmp_path, folder):
    info = zipfile.ZipInfo("set/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(info, "../../outside.txt")
    with pytest.raises(InputError, match="set/link is no regular file"):
        unpack(tmp_path / "set.zip", folder, {"set": "."})


def test_what_is_not_in_the_archive_is_named(tmp_path, folder):
    with pytest.raises(InputError, match=r"set\.tar holds no \*/test"):
        unpack(tar(tmp_path / "set.tar", FILES), folder, {"*/train": "train", "*/test": "test"})


@pytest.mark.parametrize(("pack", "name"), [(tar, "set.tar"), (tar, "set.tar.gz"), (zipped, "set.zip")])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_damaged_archive(tmp_path, folder, pack, name, share):
    archive = pack(tmp_path / name, {"set/one.bin": os.urandom(50_021)})
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    with pytest.raises(InputError, match=rf"{name} is .*: delete it and download it again"):
        unpack(archive, folder, {"set": "."})


def test_full_disk_while_unpacking(tmp_path, folder, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", fail)
    with pytest.raises(InputError, match=f"{folder} was not written: the disk is full"):
        unpack(tar(tmp_path / "set.tar", FILES), folder, {"*/train": "train"})
