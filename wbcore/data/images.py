"""How image files become arrays; every other module gets its pixels from here."""

import contextlib
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from wbcore.errors import InputError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def read_image(path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """A photograph as RGB, upright.

    Grey, palette, CMYK and 16-bit grey images become 8-bit RGB; transparency is dropped, as torchvision's
    loader does.
    Deviates: torchvision's loader ignores the orientation in EXIF; here the image is turned upright.
    Raises: InputError, naming the file, if it is missing, truncated or not a photograph.
    """
    return _decode(Path(path), _to_rgb)


def read_mask(path: Path | str) -> UInt8[np.ndarray, "h w"]:
    """A mask as the numbers stored in the file: palette indices, or grey values.

    Raises: InputError, naming the file, if it is missing, truncated, or has more than one channel.
    """
    return _decode(Path(path), _to_numbers)


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode}, not 8 or 16 bits a channel")
    # Orientation is read before anything is turned: broken EXIF data leave the image as it was stored.
    with contextlib.suppress(struct.error, SyntaxError, ValueError):
        ImageOps.exif_transpose(image, in_place=True)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _to_numbers(image: Image.Image) -> np.ndarray:
    if image.mode not in ("1", "L", "P"):
        raise ValueError(f"a mask has one channel of 8 bits, and this image is of mode {image.mode}")
    return np.array(image, dtype=np.uint8)


def _decode(path: Path, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    """Open ``path``, apply ``convert``, and turn whatever Pillow raises into one clear line."""
    try:
        with warnings.catch_warnings():
            # Some photographs of ImageNet have broken EXIF data, of which Pillow warns; their pixels are sound.
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(path) as image:
                image.load()
                return convert(image)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: unpack the data set again, or correct data_root") from error
    # Pillow's decoders answer broken files with any of these.
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        reason = "it is not an image file" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise InputError(f"{path} cannot be read ({reason}): unpack or download the data set again") from error
