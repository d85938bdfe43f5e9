import argparse
import dataclasses
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data import miniatures
from wbcore.data import cli, install, registry
from wbcore.data.images import read_image
from wbcore.data.registry import Archive, Source, find_source, open_dataset, sources
from wbcore.errors import InputError

MINIATURES = {
    "imagenet": miniatures.image_folder,
    "coco2017": miniatures.coco2017,
    "coco2017_panoptic": miniatures.coco2017,
    "voc2012": miniatures.voc2012,
    "weizmann": miniatures.weizmann,
    "camvid": miniatures.camvid,
    "cityscapes": miniatures.cityscapes,
    "ade20k": miniatures.ade20k,
}


@pytest.fixture(autouse=True)
def no_data_root(monkeypatch):
    monkeypatch.delenv(registry.DATA_ROOT_VARIABLE, raising=False)


@pytest.mark.parametrize("name", sources())
def test_entries_are_complete(name):
    source = sources()[name]
    assert source.reader in registry.READERS
    assert source.title
    assert source.licence
    assert source.homepage.startswith(("http://", "https://"))
    assert not Path(source.folder).is_absolute()
    assert all(count > 0 for count in source.splits.values())
    assert set(source.fingerprints) <= set(source.splits)
    for archive in source.archives:
        assert archive.take
        assert archive.url.startswith("https://") or archive.sha256 is not None
        assert archive.sha256 is None or re.fullmatch("[0-9a-f]{64}", archive.sha256)
        assert all(not Path(target).is_absolute() and ".." not in target for target in archive.take.values())


@pytest.mark.parametrize("name", MINIATURES)
def test_open_by_name(name, tmp_path, monkeypatch):
    scenes = MINIATURES[name](tmp_path)
    dataset = open_dataset(name, data_root=tmp_path)
    assert len(dataset) == len(scenes)
    assert dataset.name == (name if len(sources()[name].splits) == 1 else f"{name}/val")
    assert dataset[0].image.shape[:2] == miniatures.SIZES[0]
    monkeypatch.setenv(registry.DATA_ROOT_VARIABLE, str(tmp_path))
    assert open_dataset(name).fingerprint == dataset.fingerprint


@pytest.mark.parametrize("folder", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_leading_folders_may_be_left_out(tmp_path, folder):
    miniatures.voc2012(tmp_path)
    assert len(open_dataset("voc2012", data_root=tmp_path / folder)) == 3


def test_splits_are_joined(tmp_path):
    miniatures.voc2012(tmp_path)
    both = open_dataset("voc2012", data_root=tmp_path, split="train+val")
    assert both.name == "voc2012/train+val"
    assert [both[index].name for index in range(len(both))] == [miniatures.VOC_NAMES[0], *miniatures.VOC_NAMES]


def test_unknown_name_lists_the_nearest():
    with pytest.raises(InputError, match=r"data set 'voc2021' is unknown: did you mean voc2012\b"):
        open_dataset("voc2021")
    with pytest.raises(InputError, match="did you mean ade20k, aircraft, "):
        find_source("zzz")


def test_unknown_split(tmp_path):
    with pytest.raises(InputError, match="voc2012 has no split 'test': it has train, val, trainval"):
        open_dataset("voc2012", data_root=tmp_path, split="val+test")


def test_no_data_root():
    expected = r"data set voc2012 needs data_root .*DIR/VOCdevkit/VOC2012/JPEGImages; get it from http"
    with pytest.raises(InputError, match=expected):
        open_dataset("voc2012")


def test_data_root_without_the_data(tmp_path):
    expected = (
        f"is not below data_root {tmp_path}: expected {tmp_path}/VOCdevkit/VOC2012/JPEGImages; get it with `wbcore"
    )
    with pytest.raises(InputError, match=expected):
        open_dataset("voc2012", data_root=tmp_path)


def test_shipped_sets_need_no_data_root(tmp_path, monkeypatch):
    scenes = miniatures.weizmann(tmp_path)
    found = open_dataset("weizmann", data_root=tmp_path)
    monkeypatch.setitem(registry.SHIPPED, "cutouts", lambda *, split: {"val": found}[split])
    assert len(open_dataset("cutouts")) == len(scenes)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    cli.register(parser.add_subparsers())
    parsed = parser.parse_args(["data", *arguments])
    return parsed.run(parsed)


def test_list(tmp_path, capsys):
    miniatures.voc2012(tmp_path)
    assert run("list", "--data-root", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in sources())
    assert f"in {tmp_path}/VOCdevkit/VOC2012; 2.0 GB from http" in printed
    assert "not here; unverified download from https://github.com" in printed


def published(monkeypatch, name: str, **changes: object) -> Source:
    """Change the registry's entry ``name`` for one test."""
    changed = dataclasses.replace(sources()[name], **changes)
    monkeypatch.setattr(registry, "sources", lambda: {name: changed})
    return changed


def test_check_a_sound_set(tmp_path, capsys, monkeypatch):
    miniatures.coco2017(tmp_path)
    fingerprint = open_dataset("coco2017", data_root=tmp_path).fingerprint
    published(monkeypatch, "coco2017", splits={"val": 3}, fingerprints={"val": fingerprint})
    assert run("check", "coco2017", "--data-root", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "coco2017 val: 3 images, 3 decoded, 5 objects, 0 problems" in printed
    assert f"fingerprint {fingerprint} equals the recorded one" in printed


def test_check_names_every_problem(tmp_path, capsys, monkeypatch):
    miniatures.weizmann(tmp_path)
    published(monkeypatch, "weizmann", splits={"val": 4}, fingerprints={"val": "0"})
    for path in (tmp_path / "weizmann-horses" / "rgb").iterdir():
        if path.stem != "horse002":
            path.write_bytes(path.read_bytes()[:500])
    assert run("check", "weizmann", "--data-root", str(tmp_path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "horse001.jpg cannot be read" in lines[0]
    assert "horse003.jpg cannot be read" in lines[1]
    assert lines[2] == "weizmann val: 3 images, 3 decoded, 2 problems"
    assert "the published set has 4 images, this copy 3" in lines[3]
    assert "differs from the recorded one" in lines[4]


def test_check_a_sample(tmp_path, capsys, monkeypatch):
    miniatures.voc2012(tmp_path)
    published(monkeypatch, "voc2012", splits={"val": 3}, fingerprints={})
    assert run("check", "voc2012", "--data-root", str(tmp_path), "--split", "val", "--sample", "2") == 0
    assert "voc2012 val: 3 images, 2 decoded, 3 objects, 0 problems" in capsys.readouterr().out


@pytest.mark.parametrize("name", registry.SHIPPED)
def test_check_of_what_is_shipped(name, capsys):
    assert run("check", name, "--sample", "2") == 0
    assert f"{name} segmentation: 200 images, 2 decoded" in capsys.readouterr().out


def test_check_reports_a_missing_file(tmp_path, capsys):
    miniatures.voc2012(tmp_path)
    (tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages" / f"{miniatures.VOC_NAMES[1]}.jpg").unlink()
    assert run("check", "voc2012", "--data-root", str(tmp_path), "--split", "val") == 1
    assert f"{miniatures.VOC_NAMES[1]}.jpg should be there" in capsys.readouterr().out


@pytest.fixture
def downloadable(tmp_path, monkeypatch):
    """CamVid's entry, with an archive of PNGs that lies where a finished download would."""
    miniatures.camvid(tmp_path / "made")
    home = tmp_path / "made" / "camvid"
    for path in (home / "val").iterdir():
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    root = tmp_path / "root"
    (root / ".downloads").mkdir(parents=True)
    with tarfile.open(root / ".downloads" / "camvid-1a2b.tar.gz", "w:gz") as archive:
        archive.add(home, "Set-1a2b/CamVid")
    take = {"*/CamVid/val": "val", "*/CamVid/valannot": "valannot"}
    return published(
        monkeypatch,
        "camvid",
        splits={"val": 2},
        recode={"folders": ["val"], "shorter": 53, "quality": 90},
        archives=(Archive(url="https://example.org/1a2b.tar.gz", take=take),),
    ), root


def test_get_asks_before_an_unverified_download(downloadable):
    _, root = downloadable
    with pytest.raises(InputError, match=r"https://example\.org/1a2b\.tar\.gz has no known SHA-256.*--unverified"):
        run("get", "camvid", "--data-root", str(root))
    assert not (root / "camvid").exists()


def test_get_unpacks_and_recodes(downloadable, tmp_path, capsys):
    _, root = downloadable
    assert run("get", "camvid", "--data-root", str(root), "--unverified") == 0
    assert f"camvid is in {root}/camvid (unverified: its SHA-256 is not known)" in capsys.readouterr().out
    made = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    names = ["0016E5_07950", "0016E5_07951"]
    assert made == [f"camvid/val/{name}.jpg" for name in names] + [f"camvid/valannot/{name}.png" for name in names]
    assert read_image(root / "camvid" / "val" / f"{names[0]}.jpg").shape == (53, 78, 3)
    original = tmp_path / "made" / "camvid" / "valannot" / f"{names[0]}.png"
    assert (root / "camvid" / "valannot" / f"{names[0]}.png").read_bytes() == original.read_bytes()
    assert run("get", "camvid", "--data-root", str(root)) == 0
    assert "camvid is there already" in capsys.readouterr().out


def test_get_that_fails_leaves_nothing_half_done(downloadable, monkeypatch):
    _, root = downloadable
    original = install.read_image

    def fail_on_the_second(path: Path) -> np.ndarray:
        if path.stem.endswith("1"):
            raise InputError(f"{path} cannot be read")
        return original(path)

    monkeypatch.setattr(install, "read_image", fail_on_the_second)
    with pytest.raises(InputError, match="cannot be read"):
        run("get", "camvid", "--data-root", str(root), "--unverified")
    assert sorted(path.name for path in root.iterdir()) == [".downloads"]


def test_get_adds_to_a_folder_of_another_set(downloadable):
    source, root = downloadable
    (root / "camvid" / "other").mkdir(parents=True)
    (root / "camvid" / "other" / "kept.txt").write_text("kept")
    install.install(source, root, unverified=True)
    assert (root / "camvid" / "other" / "kept.txt").read_text() == "kept"
    assert len(open_dataset("camvid", data_root=root)) == 2


def test_get_by_hand_only(tmp_path):
    with pytest.raises(InputError, match=r"imagenet has no open download: get it from https://image-net\.org"):
        run("get", "imagenet", "--data-root", str(tmp_path))


def test_get_needs_a_data_root():
    with pytest.raises(InputError, match=r"data get voc2012 needs --data-root \(or WBCORE_DATA\)"):
        run("get", "voc2012")
