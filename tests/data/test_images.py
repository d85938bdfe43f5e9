import io

import numpy as np
import pytest
from PIL import Image

from wbcore.data.images import read_image, read_mask
from wbcore.errors import InputError

ROWS, COLUMNS = 31, 47


def gradient() -> np.ndarray:
    """Smooth enough that a JPEG keeps it within a few grey values, and without any symmetry."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return np.stack([rows * 7, columns * 5, rows * 3 + columns * 3], axis=2).astype(np.uint8)


def test_png_is_read_exactly(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "image.png")
    image = read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(image, gradient())
    assert image.flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_image_upright(tmp_path, orientation):
    # What a camera stores so that undoing the orientation gives the gradient: EXIF 2.32, tag 0x0112.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](gradient())
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "image.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), gradient())


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = gradient()[..., 0]
    Image.fromarray(grey).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), np.stack([grey] * 3, axis=2))


def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path):
    grey = gradient()[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), np.stack([grey] * 3, axis=2))


def test_transparency_is_dropped(tmp_path):
    alpha = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS, 1) % 256
    Image.fromarray(np.concatenate([gradient(), alpha.astype(np.uint8)], axis=2)).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), gradient())


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(np.tile(np.arange(4, dtype=np.uint8), (ROWS, 1)))
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "image.png", transparency=b"\x00\x80\xff\xff")
    expected = [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    np.testing.assert_array_equal(read_image(tmp_path / "image.png")[0], expected)


def test_cmyk_jpeg(tmp_path):
    Image.fromarray(gradient()).convert("CMYK").save(tmp_path / "image.jpg", quality=100, subsampling=0)
    difference = read_image(tmp_path / "image.jpg").astype(int) - gradient()
    assert np.abs(difference).max() <= 8


def test_mask_keeps_palette_indices(tmp_path):
    numbers = np.arange(ROWS * COLUMNS, dtype=np.int64).reshape(ROWS, COLUMNS) % 256
    mask = Image.fromarray(numbers.astype(np.uint8))
    mask.putpalette([255 - value for value in range(256) for _ in range(3)])
    mask.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), numbers)


def test_a_coloured_mask_is_refused(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask\.png cannot be read .*one channel.*RGB"):
        read_mask(tmp_path / "mask.png")


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_missing_file(tmp_path, read):
    with pytest.raises(InputError, match=r"absent\.jpg does not exist: unpack"):
        read(tmp_path / "absent.jpg")


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_truncated_file(tmp_path, kind, share):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    path = tmp_path / f"image.{kind}"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "download the data set again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("exif", [b"II*\x00\x08\x00\x00\x00\x05\x00\x12", b"nonsense", b"MM\x00*\xff\xff\xff\xff"])
def test_broken_exif_does_not_hide_the_pixels(tmp_path, kind, exif):
    path = tmp_path / f"image.{kind}"
    Image.fromarray(gradient()).save(path, exif=b"Exif\x00\x00" + exif)
    assert np.abs(read_image(path).astype(int) - gradient()).mean() < 3
