"""A pack of photographs is read as the set that it was made from, and never larger than it may be."""

import json
import zipfile

import numpy as np
import pack_photographs
import pytest

from tests.data import miniatures
from wbcore.data.readers import ImageFolder
from wbcore.data.registry import open_dataset
from wbcore.errors import InputError


@pytest.fixture
def source(tmp_path):
    miniatures.image_folder(tmp_path / "data")
    return tmp_path / "data" / "imagenet"


def test_a_pack_is_read_as_its_set(source, tmp_path, capsys):
    output = tmp_path / "imagenet.zip"
    assert pack_photographs.main([str(source), str(output), "--quality", "90"]) == 0
    assert "12 photographs" in capsys.readouterr().out
    with zipfile.ZipFile(output) as archive:
        archive.extractall(tmp_path / "unpacked")
        told = json.loads(archive.read("imagenet/pack.json"))
    for split in ("train", "val"):
        packed = open_dataset("imagenet", data_root=tmp_path / "unpacked", split=split)
        original = ImageFolder(source, split)
        assert list(packed.classes) == list(original.classes)
        assert told["splits"][split] == {"photographs": 6, "made_from": original.fingerprint}
        for index in range(6):
            one, other = packed[index], original[index]
            assert (one.label, one.name) == (other.label, f"{other.name}.webp")
            assert np.abs(one.image.astype(int) - other.image).mean() < 12  # noise of 50 grey levels is hard to keep
    again = tmp_path / "again.zip"
    pack_photographs.pack(source, again, quality=90)
    assert again.read_bytes() == output.read_bytes()


def test_a_pack_that_would_be_too_large_leaves_no_file(source, tmp_path, capsys):
    output = tmp_path / "packs" / "imagenet.zip"
    assert pack_photographs.main([str(source), str(output), "--limit", "0.01"]) == 2
    assert "imagenet.zip would be larger than 0.01 MiB: lower --quality" in capsys.readouterr().err
    assert list(output.parent.iterdir()) == []


def test_what_cannot_be_packed_is_named(source, tmp_path):
    with pytest.raises(InputError, match="nowhere holds no split"):
        pack_photographs.pack(tmp_path / "nowhere", tmp_path / "x.zip")
    broken = source / "val" / "n02102040" / "ILSVRC2012_val_00000003.JPEG"
    broken.write_bytes(b"")
    with pytest.raises(InputError, match=str(broken)):
        pack_photographs.pack(source, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()
