"""The shipped Cutouts pack: its manifest, its files and the script that builds it."""

import csv
import importlib.util
import io
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from wbcore.errors import InputError
from wbcore.files import DATA, sha256

PACK = DATA / "cutouts"
LICENCE_TEXTS = {
    "GPL-2.0-only": ["GPL-2.0.txt"],
    "GPL-2.0-or-later": ["GPL-2.0.txt"],
    "LGPL-3.0-only": ["LGPL-3.0.txt", "GPL-3.0.txt"],
    "CC0-1.0": ["CC0-1.0.txt"],
    "CC-BY-4.0": ["CC-BY-4.0.txt"],
    "CC-BY-SA-3.0": ["CC-BY-SA-3.0.txt"],
    "CC-BY-SA-4.0": ["CC-BY-SA-4.0.txt"],
    "LicenseRef-public-domain": [],
}
Rows = list[dict[str, str]]


def read_table(name: str) -> Rows:
    with (PACK / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def load_build() -> ModuleType:
    """The build script, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("cutouts_build", PACK / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MANIFEST = read_table("manifest.csv")
SELECTION = read_table("selection.csv")
build = load_build()


def with_role(role: str) -> Rows:
    return [row for row in MANIFEST if row["role"] == role]


# The pack


def test_manifest_holds_the_selection_in_its_order() -> None:
    columns = ("id", "role", "kind", "package", "crop", "licence", "author")
    assert [[row[c] for c in columns] for row in MANIFEST] == [[row[c] for c in columns] for row in SELECTION]
    assert [row["source"] for row in MANIFEST] == [row["path"] for row in SELECTION]
    assert len({row["id"] for row in MANIFEST}) == len(MANIFEST)


def test_every_file_is_in_the_manifest_and_unchanged() -> None:
    on_disk = {path.relative_to(PACK).as_posix() for path in PACK.rglob("*.webp")}
    assert on_disk == {row["file"] for row in MANIFEST}
    assert [row["id"] for row in MANIFEST if sha256(PACK / row["file"]) != row["sha256"]] == []


def test_pack_stays_small() -> None:
    files = (path for path in PACK.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert sum(path.stat().st_size for path in files) <= 10 * 2**20


def test_pictures_have_the_stated_size_and_mode() -> None:
    shorter_side = {"background": 320, "photograph": 480}
    for row in MANIFEST:
        with Image.open(PACK / row["file"]) as image:
            assert image.size == (int(row["width"]), int(row["height"])), row["id"]
            assert image.mode == ("RGBA" if row["role"] == "cutout" else "RGB"), row["id"]
            if row["role"] == "cutout":
                assert max(image.size) <= 224, row["id"]
            else:
                assert min(image.size) == shorter_side[row["role"]], row["id"]


def test_masks_are_not_trivial_and_tight() -> None:
    for row in with_role("cutout"):
        with Image.open(PACK / row["file"]) as image:
            alpha = np.asarray(image.getchannel("A"))
            box = image.getchannel("A").getbbox()
        assert 0.02 < (alpha >= 128).mean() < 0.98, row["id"]
        assert box == (2, 2, image.width - 2, image.height - 2), row["id"]


def test_licences_are_allowed_and_travel_with_the_pack() -> None:
    assert {row["licence"] for row in MANIFEST} == set(LICENCE_TEXTS)
    assert {path.name for path in (PACK / "LICENSES").glob("*.txt")} == set().union(*LICENCE_TEXTS.values())
    assert all(row["author"].strip() for row in MANIFEST)
    notices = (PACK / "LICENSES" / "NOTICES.md").read_text(encoding="utf-8")
    assert {row["package"] for row in MANIFEST if row["package"] not in notices} == set()


def test_splits_are_those_of_the_seeded_hash() -> None:
    assert {row["id"]: row["split"] for row in MANIFEST} == build.choose_splits(SELECTION)


def test_a_fifth_of_each_kind_is_held_out() -> None:
    kinds = defaultdict(list)
    for row in with_role("cutout"):
        kinds[row["kind"]].append(row["split"])
    assert 12 <= len(kinds) <= 16
    for kind, splits in kinds.items():
        assert len(splits) >= 5, kind
        assert splits.count("eval") == max(1, round(len(splits) / 5)), kind
        assert splits.count("train") + splits.count("eval") == len(splits), kind


def test_crops_of_one_photograph_share_a_split() -> None:
    photographs = defaultdict(set)
    for row in with_role("background"):
        photographs[row["package"], row["source"]].add(row["split"])
    assert all(len(splits) == 1 for splits in photographs.values())
    held_out = sum(splits == {"eval"} for splits in photographs.values())
    assert held_out == round(len(photographs) / 5)


def test_crops_of_one_photograph_do_not_overlap() -> None:
    crops = defaultdict(list)
    for row in with_role("background"):
        crops[row["package"], row["source"]].append([float(x) for x in (row["crop"] or "0 0 1 1").split()])
    for source, boxes in crops.items():
        for index, a in enumerate(boxes):
            for b in boxes[:index]:
                overlap = min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
                assert not overlap, source


def test_figures_show_no_background_of_training() -> None:
    photographs = with_role("photograph")
    assert {row["split"] for row in photographs} == {"figure"}
    backgrounds = {(row["package"], row["source"]) for row in with_role("background")}
    assert not backgrounds & {(row["package"], row["source"]) for row in photographs}


# The build script


def disc(side: int, radius: float, *, inside: tuple[int, int, int], hidden: tuple[int, int, int]) -> Image.Image:
    """An opaque disc whose transparent surroundings hide another colour."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    mask = x**2 + y**2 <= radius**2
    rgb = np.where(mask[..., None], inside, hidden)
    return Image.fromarray(np.concatenate([rgb, 255 * mask[..., None]], axis=-1).astype(np.uint8), "RGBA")


def test_hidden_colours_do_not_leak_into_the_edge() -> None:
    pixels = np.asarray(build.prepare_cutout(disc(499, 211, inside=(200, 30, 60), hidden=(0, 255, 0))), dtype=np.int16)
    assert pixels.shape[:2] == (224, 224)
    gain = pixels[..., :3] / (200, 30, 60)  # the filter overshoots by a tenth, in all channels alike
    assert gain.min() > 0.98
    assert gain.max() < 1.15
    assert np.ptp(gain, axis=-1).max() < 0.04


def test_small_cutouts_keep_their_pixels() -> None:
    picture = disc(41, 17, inside=(10, 20, 30), hidden=(0, 0, 0))
    result = build.prepare_cutout(picture)
    assert result.size == (35 + 4, 35 + 4)
    box = picture.getchannel("A").getbbox()
    assert box is not None
    assert np.array_equal(np.asarray(result.getchannel("A"))[2:-2, 2:-2], np.asarray(picture.getchannel("A").crop(box)))


def test_specks_go_and_parts_stay() -> None:
    alpha = np.zeros((43, 61), dtype=np.uint8)
    alpha[3:33, 3:33] = 255  # 900 pixels
    alpha[33, 33] = 255  # touches the square at its corner: no speck
    alpha[5:8, 41:43] = 255  # 6 pixels, more than 0.5 % of 900
    alpha[40, 53:57] = 255  # 4 pixels, less
    rgba = np.full((43, 61, 4), 97, dtype=np.uint8)
    rgba[..., 3] = alpha
    alpha[40] = 0
    assert np.array_equal(np.asarray(build.drop_specks(Image.fromarray(rgba, "RGBA")))[..., 3], alpha)


def write_deb(path: Path, files: dict[str, bytes]) -> None:
    """A Debian package as deb(5) describes it: an ar archive with ``data.tar`` in it."""
    tree = io.BytesIO()
    with tarfile.open(fileobj=tree, mode="w:xz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar", b"odd"), ("data.tar.xz", tree.getvalue())):
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    path.write_bytes(archive)


@pytest.fixture
def miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Rows]:
    """A package with a cut-out, a wheel with a photograph, and a selection of both."""
    sources = tmp_path / "sources"
    sources.mkdir()
    png = io.BytesIO()
    disc(53, 23, inside=(90, 160, 30), hidden=(0, 0, 0)).save(png, "PNG")
    write_deb(sources / "small.deb", {"usr/share/ball.png": png.getvalue(), "usr/share/other": b"x"})
    with zipfile.ZipFile(sources / "small.whl", "w") as wheel:
        wheel.writestr("pictures/ball.png", png.getvalue())
    packages = {"deb": "small.deb", "wheel": "small.whl"}
    monkeypatch.setattr(build, "SOURCES", {key: (name, sha256(sources / name)) for key, name in packages.items()})
    common = {"crop": "", "licence": "CC0-1.0", "author": "nobody", "note": ""}
    selection = [
        {"id": "ball", "role": "cutout", "kind": "toy", "package": "deb", "path": "usr/share/ball.png", **common},
        {"id": "view", "role": "photograph", "kind": "", "package": "wheel", "path": "pictures/ball.png", **common},
    ]
    return sources, selection


def test_building_twice_gives_the_same_bytes(miniature: tuple[Path, Rows], tmp_path: Path) -> None:
    sources, selection = miniature
    first, second = (list(build.build(selection, sources, tmp_path / name)) for name in "ab")
    assert first == second
    assert [row["file"] for row in first] == ["cutouts/toy/ball.webp", "photographs/view.webp"]
    for row in first:
        assert sha256(tmp_path / "a" / row["file"]) == sha256(tmp_path / "b" / row["file"]) == row["sha256"]


def test_a_missing_archive_is_named(miniature: tuple[Path, Rows], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"small\.deb is missing: fetch it"):
        list(build.build(miniature[1], tmp_path / "nowhere", tmp_path / "out"))


def test_another_version_of_an_archive_is_refused(miniature: tuple[Path, Rows], tmp_path: Path) -> None:
    sources, selection = miniature
    write_deb(sources / "small.deb", {"usr/share/ball.png": b"changed"})
    with pytest.raises(InputError, match=r"small\.deb is not the version"):
        list(build.build(selection, sources, tmp_path / "out"))


def test_a_path_that_the_archive_lacks_is_named(miniature: tuple[Path, Rows], tmp_path: Path) -> None:
    sources, selection = miniature
    selection[0]["path"] = "usr/share/bat.png"
    with pytest.raises(InputError, match=r"small\.deb has no file usr/share/bat\.png"):
        list(build.build(selection, sources, tmp_path / "out"))
