"""The drawing of a layer shows its arrays and its numbers, and no label covers another."""

import numpy as np
import pytest

from tests.drawings import assert_readable, texts
from wbcore.figures import diagram
from wbcore.measuring.stages import LayerStages

pytestmark = pytest.mark.usefixtures("book_style")

IMAGE = np.full((64, 64, 3), 200, np.uint8)


def stages(*, layer: int = 4, heads: int = 6, grid: tuple[int, int] = (9, 7), width: int = 5, **numbers) -> LayerStages:
    random = np.random.default_rng(0)
    n, dim = grid[0] * grid[1] + 1, heads * width
    before, between = random.normal(size=(2, n, dim))
    known = {"nonzeros": (0.419, 1.0, 0.372), "rate": (311.7, 291.5), "lasso": (13583.0, 12922.5)}
    return LayerStages(
        layer=layer,
        before=np.maximum(before, 0),
        between=between,
        after=np.maximum(between - 0.5, 0),
        attention=random.random((heads, *grid)),
        dictionary=random.normal(size=(dim, dim)),
        lasso_feasible=15562.1,
        **{**known, **numbers},
    )


def test_it_shows_what_it_was_given():
    one = stages()
    figure = diagram.layer_diagram(IMAGE, one)
    drawn = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert np.array_equal(drawn[0], IMAGE)
    for array, shown in zip(
        (one.before, one.between, one.after, *one.attention, one.dictionary), drawn[1:], strict=True
    ):
        assert np.array_equal(np.ma.filled(shown, 0), array)
    assert len(drawn) == 11
    shown = " ".join(text.get_text() for text in texts(figure))
    numbers = ("64 tokens × 30", "9 × 7 patches", "6 subspaces of 5", "41.9 %", "100.0 %", "37.2 %", "311.7 nats")
    for number in (
        *numbers,
        "291.5 nats",
        "−20.2 nats",
        "−62.8 points",
        "13 583",
        "12 922",
        "15 562",
        "−660",
        "−2 640",
    ):
        assert number.replace(" ", "") in shown.replace("\N{THIN SPACE}", "").replace(" ", ""), number
    for equation in ("(5)", "(6)", "(7)", "(8)"):
        assert equation in shown


def test_zero_is_white_and_nothing_else_is():
    figure = diagram.layer_diagram(IMAGE, stages())
    strip = figure.axes[4].images[0]
    coloured = strip.to_rgba(strip.get_array())
    white = (coloured == 1).all(axis=-1)
    assert np.array_equal(white, np.ma.getmaskarray(strip.get_array()))
    assert 0.5 < white.mean() < 0.9
    tiny = strip.to_rgba(np.array([[-1e-9, 1e-9]]))[0]
    assert (tiny[:, :3].min(axis=1) < 0.9).all()
    assert tiny[0, 2] > tiny[0, 0]  # below zero is blue
    assert tiny[1, 0] > tiny[1, 2]


@pytest.mark.parametrize(
    "one",
    [
        {},
        {"layer": 1, "rate": (344.2, 1361.1), "nonzeros": (1.0, 1.0, 1.0), "lasso": (10876.9, 211862.3)},
        {"layer": 12, "heads": 12, "grid": (28, 28), "width": 64, "lasso": (513583.0, 498765.0)},
        {"layer": 2, "heads": 3},
    ],
)
def test_no_label_covers_another(one):
    assert_readable(diagram.layer_diagram(IMAGE, stages(**one)))


@pytest.mark.parametrize(("layer", "way"), [(1, "→ embedding"), (2, "→ layer 1"), (4, "→ layers 1–3")])
def test_it_says_what_came_before(layer, way):
    figure = diagram.layer_diagram(IMAGE, stages(layer=layer))
    assert way in [text.get_text() for text in texts(figure)]
    assert f"CRATE, layer {layer}" in [text.get_text() for text in texts(figure)]
