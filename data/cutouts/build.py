"""Build the Cutouts pack from Debian packages and one Python wheel.

    python data/cutouts/build.py --sources DIR

DIR holds the archives of ``SOURCES``, fetched on Debian 12 with

    apt-get download tuxpaint-stamps-default=2022.06.04-1 tuxpaint-data=1:0.9.28-sdl2-1 \\
        mate-backgrounds=1.26.0-1 palapeli-data=4:22.12.3-1 plasma-workspace-wallpapers=4:5.27.5-2 \\
        lomiri-wallpapers-16.04=20.04.0-2 lomiri-wallpapers-20.04=20.04.0-2
    pip download --no-deps --only-binary :all: --python-version 3.11 --platform manylinux_2_28_x86_64 \\
        scikit-image==0.26.0

``selection.csv`` says which pictures are taken, as what, by whom and under which licence.  The result is
``cutouts/<kind>/<id>.webp``, ``backgrounds/<id>.webp``, ``photographs/<id>.webp`` and ``manifest.csv``.
The same archives, Pillow and libwebp give the same bytes.
"""

import argparse
import csv
import hashlib
import io
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image
from scipy import ndimage

from wbcore.errors import InputError
from wbcore.files import sha256, write_bytes

HERE = Path(__file__).resolve().parent

# package: (file name, SHA-256 of the archive)
SOURCES = {
    "tuxpaint-stamps-default": (
        "tuxpaint-stamps-default_2022.06.04-1_all.deb",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    ),
    "tuxpaint-data": (
        "tuxpaint-data_1%3a0.9.28-sdl2-1_all.deb",
        "f5d0de8f9a70d2efc1241d19f26168cb8bf279f1b77abd3631e7a1a55c40e5e5",
    ),
    "lomiri-wallpapers-16.04": (
        "lomiri-wallpapers-16.04_20.04.0-2_all.deb",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
    ),
    "lomiri-wallpapers-20.04": (
        "lomiri-wallpapers-20.04_20.04.0-2_all.deb",
        "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
    ),
    "mate-backgrounds": (
        "mate-backgrounds_1.26.0-1_all.deb",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
    ),
    "palapeli-data": (
        "palapeli-data_4%3a22.12.3-1_all.deb",
        "69a15dce2ac25ed8708ac518cd0cee5f4eb0c70ed15da2fdb8899a19ac0ee058",
    ),
    "plasma-workspace-wallpapers": (
        "plasma-workspace-wallpapers_4%3a5.27.5-2_all.deb",
        "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b",
    ),
    "scikit-image": (
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    ),
}

COLUMNS: list[str] = [
    *("id", "role", "kind", "split", "file", "width", "height"),
    *("licence", "author", "package", "source", "crop", "sha256"),
]
FOLDERS = {"cutout": "cutouts", "background": "backgrounds", "photograph": "photographs"}
SPLIT_SEED = 0
EVAL_SHARE = 0.2
CUTOUT_SIDE = 224  # longest side, pixels
CUTOUT_MARGIN = 2
ALPHA_FLOOR = 8  # fainter pixels are dust around the object, not the object
SPECK_SHARE = 0.005
SPREAD = 8  # pixels: the block size of the lossy compression
SHORT_SIDE = {"background": 320, "photograph": 480}
QUALITY = {"cutout": 85, "background": 80, "photograph": 85}


def read_selection(path: Path) -> list[dict[str, str]]:
    """The rows of ``selection.csv``."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def find_archive(sources: Path, package: str) -> Path:
    """The archive of ``package`` in ``sources``, its hash verified.

    Raises: InputError if it is missing or is another version.
    """
    name, expected = SOURCES[package]
    archive = sources / name
    if not archive.is_file():
        raise InputError(f"{archive} is missing: fetch it with the commands at the top of {Path(__file__).name}")
    if sha256(archive) != expected:
        raise InputError(f"{archive} is not the version that was selected from: fetch {package} again")
    return archive


def open_deb_data(archive: Path) -> tarfile.TarFile:
    """The file tree of a Debian package: the member ``data.tar.*`` of an ``ar`` archive.

    Source: deb(5) and ar(5): a 60-byte header per member, name in bytes 0-16 and size in bytes 48-58.
    """
    content = archive.read_bytes()
    offset = len(b"!<arch>\n")
    while offset < len(content):
        header = content[offset : offset + 60]
        size = int(header[48:58])
        start = offset + 60
        if header[:16].startswith(b"data.tar"):
            return tarfile.open(fileobj=io.BytesIO(content[start : start + size]))
        offset = start + size + size % 2
    raise InputError(f"{archive} holds no data.tar: fetch it again")


def read_sources(archive: Path, wanted: set[str]) -> dict[str, bytes]:
    """The wanted files of an archive, by their path in it.

    Raises: InputError naming the first path that is not there.
    """
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            found = {name: wheel.read(name) for name in wheel.namelist() if name in wanted}
    else:
        with open_deb_data(archive) as tree:
            found = {}
            for member in tree:
                path = member.name.removeprefix("./")
                if path in wanted and (stream := tree.extractfile(member)) is not None:
                    found[path] = stream.read()
    for path in sorted(wanted - found.keys()):
        raise InputError(f"{archive.name} has no file {path}: correct that row of selection.csv")
    return found


def resize_premultiplied(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize RGBA with colours weighted by alpha, so that hidden colours cannot leak into the edge."""
    rgba = np.asarray(image, dtype=np.float32)
    alpha = rgba[..., 3:] / 255
    planes = np.concatenate([rgba[..., :3] * alpha, alpha], axis=-1)
    planes = np.stack(
        [
            np.asarray(Image.fromarray(planes[..., channel]).resize(size, Image.Resampling.LANCZOS))
            for channel in range(4)
        ],
        axis=-1,
    )
    alpha = planes[..., 3:].clip(0, 1)
    colour = planes[..., :3] / np.maximum(alpha, 1 / 255)
    pixels = np.concatenate([colour.clip(0, 255), alpha * 255], axis=-1)
    return Image.fromarray(pixels.round().astype(np.uint8), "RGBA")


def drop_faint_alpha(image: Image.Image) -> Image.Image:
    """Make pixels of alpha below ``ALPHA_FLOOR`` fully transparent."""
    pixels = np.array(image)
    pixels[..., 3][pixels[..., 3] < ALPHA_FLOOR] = 0
    return Image.fromarray(pixels, "RGBA")


def neighbours(values: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "9 h w *c"]:
    """The 3 x 3 neighbourhood of every pixel, zero outside the image."""
    rows, columns = values.shape[:2]
    padded = np.pad(values, ((1, 1), (1, 1)) + ((0, 0),) * (values.ndim - 2))
    return np.stack([padded[dy : dy + rows, dx : dx + columns] for dy in range(3) for dx in range(3)])


def drop_specks(image: Image.Image) -> Image.Image:
    """Make parts transparent that touch nothing else and are smaller than ``SPECK_SHARE`` of the largest part."""
    pixels = np.array(image)
    labels = np.zeros(pixels.shape[:2], dtype=np.int32)
    ndimage.label(pixels[..., 3] > 0, structure=np.ones((3, 3)), output=labels)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    pixels[..., 3][sizes[labels] < SPECK_SHARE * sizes.max()] = 0
    return Image.fromarray(pixels, "RGBA")


def spread_colour(image: Image.Image) -> Image.Image:
    """Give the transparent pixels the colours of the edge, and beyond ``SPREAD`` pixels the mean colour.

    Lossy compression and later resizing mix neighbouring pixels: what lies beyond the edge must look like it.
    """
    pixels = np.array(image).astype(np.float32)
    colour, known = pixels[..., :3], pixels[..., 3] > 0
    mean = colour[known].mean(axis=0)
    for _ in range(SPREAD):
        total = neighbours(np.where(known[..., None], colour, 0)).sum(axis=0)
        count = neighbours(known).sum(axis=0)
        fresh = ~known & (count > 0)
        colour[fresh] = total[fresh] / count[fresh, None]
        known |= fresh
    colour[~known] = mean
    return Image.fromarray(pixels.round().astype(np.uint8), "RGBA")


def crop_to_object(image: Image.Image) -> Image.Image:
    """Cut away what is transparent on all four sides."""
    return image.crop(image.getchannel("A").getbbox())


def prepare_cutout(image: Image.Image) -> Image.Image:
    """Crop to the object, shrink to ``CUTOUT_SIDE`` and leave a margin of ``CUTOUT_MARGIN`` pixels."""
    image = crop_to_object(drop_faint_alpha(image.convert("RGBA")))
    scale = min(1.0, (CUTOUT_SIDE - 2 * CUTOUT_MARGIN) / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if scale < 1:
        image = drop_faint_alpha(resize_premultiplied(image, size))
    image = crop_to_object(drop_specks(image))
    canvas = Image.new("RGBA", (image.width + 2 * CUTOUT_MARGIN, image.height + 2 * CUTOUT_MARGIN))
    canvas.paste(image, (CUTOUT_MARGIN, CUTOUT_MARGIN))
    return spread_colour(canvas)


def prepare_photograph(image: Image.Image, *, crop: str, short_side: int) -> Image.Image:
    """Crop (fractions: left, top, right, bottom) and resize so that the shorter side is ``short_side``."""
    image = image.convert("RGB")
    if crop:
        left, top, right, bottom = (float(part) for part in crop.split())
        image = image.crop(
            (
                round(left * image.width),
                round(top * image.height),
                round(right * image.width),
                round(bottom * image.height),
            )
        )
    scale = short_side / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def encode(row: dict[str, str], source: bytes) -> tuple[bytes, tuple[int, int]]:
    """The WebP file of one row and its (width, height)."""
    role = row["role"]
    with Image.open(io.BytesIO(source)) as image:
        if role == "cutout":
            result = prepare_cutout(image)
        else:
            result = prepare_photograph(image, crop=row["crop"], short_side=SHORT_SIDE[role])
    buffer = io.BytesIO()
    exact = {"exact": True, "alpha_quality": 100} if role == "cutout" else {}
    result.save(buffer, "WEBP", quality=QUALITY[role], method=6, **exact)
    return buffer.getvalue(), result.size


def choose_splits(rows: list[dict[str, str]]) -> dict[str, str]:
    """The split of every id: ``train``, ``eval`` or ``figure``.

    A fifth of each kind's cut-outs and a fifth of the background photographs are held out, by the order of a
    seeded hash; the crops of one photograph stay together.
    """
    strata: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["role"] != "photograph":
            unit = row["id"] if row["role"] == "cutout" else f"{row['package']}/{row['path']}"
            strata[f"{row['role']}/{row['kind']}"][unit].append(row["id"])
    splits = {row["id"]: "figure" for row in rows}
    for units in strata.values():
        ranked = sorted(units, key=lambda unit: hashlib.sha256(f"{SPLIT_SEED}:{unit}".encode()).hexdigest())
        held_out = set(ranked[: max(1, round(EVAL_SHARE * len(ranked)))])
        for unit, ids in units.items():
            splits.update(dict.fromkeys(ids, "eval" if unit in held_out else "train"))
    return splits


def build(selection: list[dict[str, str]], sources: Path, output: Path) -> Iterator[dict[str, object]]:
    """Write the picture of every row under ``output`` and yield its row of the manifest."""
    splits = choose_splits(selection)
    archives = {package: find_archive(sources, package) for package in sorted({row["package"] for row in selection})}
    for package, archive in archives.items():
        rows = [row for row in selection if row["package"] == package]
        files = read_sources(archive, {row["path"] for row in rows})
        for row in rows:
            content, (width, height) = encode(row, files[row["path"]])
            parts = [FOLDERS[row["role"]], row["kind"], f"{row['id']}.webp"]
            file = "/".join(part for part in parts if part)
            write_bytes(output / file, content)
            yield {
                **{column: row[column] for column in ("id", "role", "kind", "licence", "author", "package", "crop")},
                "split": splits[row["id"]],
                "file": file,
                "width": width,
                "height": height,
                "source": row["path"],
                "sha256": hashlib.sha256(content).hexdigest(),
            }


def main(arguments: list[str] | None = None) -> int:
    """Build the pack; 0 when it is written, 2 when a source is missing or wrong."""
    parser = argparse.ArgumentParser(description="Build the Cutouts pack.")
    parser.add_argument("--sources", type=Path, required=True, help="folder with the archives")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the pack")
    options = parser.parse_args(arguments)
    try:
        selection = read_selection(HERE / "selection.csv")
        manifest = {row["id"]: row for row in build(selection, options.sources, options.output)}
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(manifest[row["id"]] for row in selection)
        write_bytes(options.output / "manifest.csv", table.getvalue().encode())
        kept = {row["file"] for row in manifest.values()}
        for folder in FOLDERS.values():
            for stale in (options.output / folder).rglob("*.webp"):
                if stale.relative_to(options.output).as_posix() not in kept:
                    stale.unlink()
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
