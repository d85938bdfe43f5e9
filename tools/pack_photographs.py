"""Pack a set of classified photographs into one small file, to be taken where no download reaches.

Usage: python tools/pack_photographs.py DATA_ROOT/imagenette imagenette.zip [--quality 60] [--limit 36]

The pack is a zip of WebP files in the layout that the set has on disk, class folders within splits; unpacked with
``python -m zipfile -e imagenette.zip DIR`` it is read with ``--data-root DIR``.  Its pixels are not the originals', so
that its fingerprint differs from theirs; ``pack.json`` in it says what it was made from.
"""

import argparse
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

from PIL import Image, features
from tqdm import tqdm

from wbcore.data.readers import ImageFolder
from wbcore.errors import InputError
from wbcore.files import open_atomically, sha256

MEBIBYTE = 2**20


def pack(source: Path, output: Path, *, quality: int = 60, limit: float = 36.0) -> int:
    """Pack every split of ``source``; returns how many photographs.  The same photographs make the same bytes.

    Raises: InputError, leaving no file, if a photograph cannot be read or the pack passes ``limit`` MiB.
    """
    splits = sorted(folder.name for folder in source.iterdir() if folder.is_dir()) if source.is_dir() else []
    if not splits:
        raise InputError(f"{source} holds no split: give the folder of a set, with folders such as train and val in it")
    sets = {split: ImageFolder(source, split) for split in splits}
    told = {
        "splits": {name: {"photographs": len(one), "made_from": one.fingerprint} for name, one in sets.items()},
        "webp": {"quality": quality, "libwebp": features.version("webp")},
    }
    with open_atomically(output) as stream, zipfile.ZipFile(stream, "w") as archive:
        _add(archive, f"{source.name}/pack.json", json.dumps(told, indent=2).encode())
        for dataset in sets.values():
            for index in tqdm(range(len(dataset)), desc=f"{output.name}", disable=None):
                example = dataset[index]
                encoded = io.BytesIO()
                Image.fromarray(example.image).save(encoded, "WEBP", quality=quality, method=6)
                _add(archive, f"{source.name}/{example.name}.webp", encoded.getvalue())
                _require_room(stream, output, limit)
        archive.close()  # writes the directory
        _require_room(stream, output, limit)
    return sum(map(len, sets.values()))


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name), content)  # without the time of day, and as it is: WebP is compressed


def _require_room(stream: BinaryIO, output: Path, limit: float) -> None:
    if stream.tell() > limit * MEBIBYTE:
        raise InputError(f"{output} would be larger than {limit:g} MiB: lower --quality, or raise --limit")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Pack a set of classified photographs into one small file.")
    parser.add_argument("source", type=Path, help="the folder of the set, with its splits in it")
    parser.add_argument("output", type=Path, help="the pack, a zip file")
    parser.add_argument("--quality", type=int, default=60, help="of the WebP files, 0 to 100 (default: 60)")
    parser.add_argument("--limit", type=float, default=36.0, metavar="MIB", help="size of the pack (default: 36)")
    parsed = parser.parse_args(arguments)
    try:
        count = pack(parsed.source, parsed.output, quality=parsed.quality, limit=parsed.limit)
    except InputError as error:
        print(f"pack_photographs: {error}", file=sys.stderr)
        return 2
    size = parsed.output.stat().st_size / MEBIBYTE
    print(f"{parsed.output}: {count} photographs, {size:.1f} MiB, SHA-256 {sha256(parsed.output)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
