"""Figures as notebooks keep them."""

from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure
from PIL import Image

from wbcore.encoding import encode, encode_small

RNG = np.random.default_rng(0)


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()
    encode_small(shell)
    yield shell
    InteractiveShell.clear_instance()


def _shown(shell: InteractiveShell, figure: Figure) -> dict[str, str]:
    assert shell.display_formatter is not None
    bundle, _ = shell.display_formatter.format(figure)
    return {kind: data for kind, data in bundle.items() if kind.startswith("image/")}


def _chart() -> Figure:
    figure = Figure(figsize=(4, 3))
    figure.subplots().plot([0, 1, 4, 9], marker="o", label="squares")
    figure.axes[0].legend()
    return figure


def test_charts_are_sharp(shell: InteractiveShell):
    ((kind, data),) = _shown(shell, _chart()).items()
    assert kind == "image/png"
    drawn = BytesIO()
    _chart().savefig(drawn, format="png", bbox_inches="tight")
    exact, kept = (
        np.asarray(Image.open(file).convert("RGB")).astype(int) for file in (drawn, BytesIO(b64decode(data)))
    )
    assert exact.shape == kept.shape
    assert ((exact - kept) ** 2).mean() ** 0.5 < 1  # of 255


def test_photographs_are_jpeg(shell: InteractiveShell):
    smooth = np.asarray(Image.fromarray(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((400, 300), 3)) / 255
    textured = np.clip(smooth + RNG.normal(0, 0.04, (300, 400, 1)), 0, 1)
    figure = Figure(figsize=(4, 3))
    figure.add_axes((0, 0, 1, 1)).imshow(textured)
    ((kind, data),) = _shown(shell, figure).items()
    assert (kind, Image.open(BytesIO(b64decode(data))).format) == ("image/jpeg", "JPEG")


def test_the_smaller_is_kept():
    flat = Image.new("RGB", (64, 64), "#0b7a75")
    kind, data = encode(flat)
    jpeg = BytesIO()
    flat.save(jpeg, "jpeg", quality=75, optimize=True, progressive=True)
    assert kind == "image/png"
    assert len(data) < len(jpeg.getvalue())
    assert np.array_equal(np.asarray(Image.open(BytesIO(data)).convert("RGB")), np.asarray(flat))


def test_an_empty_figure_shows_nothing(shell: InteractiveShell):
    assert _shown(shell, Figure()) == {}
