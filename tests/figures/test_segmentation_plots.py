"""Pictures of token-pass show the arrays that they were given."""

import numpy as np
import pytest

from tests.stripes import CLASSES, Stripes, stripes_model
from wbcore.data.example import VOID
from wbcore.figures import segmentation_plots as pictures
from wbcore.measuring.segmentation import segment
from wbcore.models.dovit import Policy

pytestmark = pytest.mark.usefixtures("book_style")


@pytest.fixture(scope="module")
def model():
    return stripes_model()


@pytest.fixture(scope="module")
def found(model):
    data = Stripes(2)
    return list(segment(model, [data[0], data[1]], policy=Policy("confidence", threshold=0.6)))


@pytest.mark.parametrize("count", [2, 11, 19, 150])
def test_classes_have_colours_of_their_own(count):
    colours = pictures.class_colours(count)
    assert colours.shape == (count, 3)
    assert len(np.unique(colours.round(3), axis=0)) == count
    assert ((colours >= 0) & (colours < 1)).all()
    apart = np.linalg.norm(colours[:, None] - np.vstack([colours, np.ones(3)]), axis=-1)
    assert np.sort(apart, axis=1)[:, 1].min() > (0.15 if count < 20 else 0.02)  # the nearest but itself, or white


def test_labels_in_colour():
    labels = np.array([[0, 1, VOID], [2, 0, 1]], np.uint8)
    shown = pictures.class_picture(labels, classes=3)
    colours = pictures.class_colours(3)
    for row, col in np.ndindex(2, 3):
        number = labels[row, col]
        assert np.array_equal(shown[row, col], [1, 1, 1] if number == VOID else colours[number])


def test_fading_takes_the_colour_and_leaves_the_rest():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    keep = np.random.default_rng(1).random((5, 7)) < 0.5
    shown = pictures.faded(image, keep)
    assert np.array_equal(shown[keep], image[keep] / 255)
    assert (shown[~keep] == shown[~keep][:, :1]).all()
    assert (shown[~keep] > 0.7).all()


def test_sureness_is_by_doubt():
    norm = pictures.sureness_norm()
    assert np.allclose(norm(np.array([0.0, 0.9, 0.99, 0.999, 1.0])), [0, 1 / 3, 2 / 3, 1, 1])
    assert np.allclose(norm.inverse(np.array([1 / 3, 2 / 3])), [0.9, 0.99])


def test_columns(model, found):
    columns, notes = pictures.decision_columns(found)
    assert len(columns) == 6
    assert np.array_equal(columns["confidence $q^2$"][1], found[1].sure[1])
    assert notes["kept $M^3$"][0] == f"{100 * found[0].keep[2].mean():.0f} %"
    layers, costs = pictures.layer_columns({"DoViT": found}, model.config)
    assert layers["DoViT"][0].shape == (13, 19, 3)
    assert costs["DoViT"][1] == f"{found[1].cost.whole.total / 1e9:.3f} GMACs"
    classes = pictures.class_columns({"DoViT": found}, classes=CLASSES)
    assert list(classes) == ["DoViT", "truth"]
    assert (classes["truth"][0][0] == 1).all()  # the first row's class is unknown


def test_legends(model, found):
    assert list(pictures.layer_legend(model.config)) == ["1 layer", "2 layers", "3 layers", "all 4 layers"]
    legend = pictures.class_legend(("a_b", *"bcde"), found)
    assert list(legend) == ["a b", *"bcde"]
    (blind,) = segment(model, [Stripes(annotated=False)[0]])
    assert set(pictures.class_legend(tuple("abcde"), [blind])) <= set("abcde")


def test_a_grid_shows_its_pictures_and_marks_the_threshold(found):
    columns, notes = pictures.decision_columns(found)
    images = [one.picture for one in found]
    figure = pictures.scene_grid(
        {"image": images, **columns}, rows=("one", "two"), notes=notes, threshold=0.6, legend={"a": (0, 0, 1)}
    )
    figure.canvas.draw()
    axes = np.array(figure.axes[:14]).reshape(2, 7)
    for row, column in np.ndindex(2, 7):
        expected = [images, *columns.values()][column][row]
        assert np.array_equal(np.asarray(axes[row, column].images[0].get_array()), expected)
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["one", "two"]
    assert axes[1, 2].get_xlabel() == notes["kept $M^1$"][1]
    bar = figure.axes[14]
    assert [line.get_ydata()[0] for line in bar.lines if line.get_color() == "#d1345b"] == [0.6]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a"]


def test_a_grid_of_pictures_alone_has_no_scale():
    wide = np.zeros((8, 24, 3), np.uint8)
    figure = pictures.scene_grid({"a": [wide], "b": [wide]})
    assert len(figure.axes) == 2
    figure.canvas.draw()
    box = figure.axes[0].get_window_extent()
    assert box.width / box.height == pytest.approx(3, rel=0.02)
