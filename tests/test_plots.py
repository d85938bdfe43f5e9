"""Figures show every record and every picture, and no label covers another."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tests.tiny import record
from wbcore import plots
from wbcore.metrics.intervals import Interval

pytestmark = pytest.mark.usefixtures("book_style")


@pytest.fixture
def panels():
    records = [record(0.1 + 0.05 * place, model=model) for place, model in enumerate(plots.LABELS)]
    return {"Cutouts": records, "Weizmann horses": [*records[:3], record(0.2, model="vit", low=None, high=None)]}


ONE = {"attention_miou/mass60/layer-1": "last layer"}


def dots(axis, marker="o"):
    return [line for line in axis.lines if line.get_marker() == marker]


def test_forest_shows_every_record(panels):
    figure = plots.forest(panels, ONE, unit="mIoU (%)")
    assert [axis.get_title() for axis in figure.axes] == list(panels)
    rows = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert rows == [plots.label(model) for model in plots.LABELS]
    for axis, records in zip(figure.axes, panels.values(), strict=True):
        assert axis.get_xlabel() == "mIoU (%)"
        heights = [rows[round(dot.get_ydata()[0])] for dot in dots(axis)]
        assert heights == [plots.label(one.model) for one in records]
        assert [dot.get_xdata()[0] for dot in dots(axis)] == pytest.approx([100 * one.value for one in records])
        spans = [line.get_xdata() for line in axis.lines if line.get_marker() == "None"]
        assert spans[0] == pytest.approx([100 * records[0].low, 100 * records[0].high])
        top, bottom = axis.transData.inverted().transform(axis.transAxes.transform([(0, 1), (0, 0)]))[:, 1]
        assert top < 0  # the first record is the highest row
        assert bottom > len(rows) - 1
    assert not figure.legends


def test_two_series_share_the_row_of_their_model():
    metrics = {"attention_miou/mass60/layer-2": "last but one", "attention_miou/mass60/layer-1": "last layer"}
    records = [record(0.3 + 0.1 * place, metric=metric) for place, metric in enumerate(metrics)]
    records.append(record(0.2, model="vit"))
    figure = plots.forest({"Cutouts": records}, metrics, unit="mIoU (%)")
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.get_yticklabels()] == ["CRATE", "ViT"]
    (disc,), (diamond, other) = dots(axis), dots(axis, "D")
    assert (disc.get_xdata()[0], diamond.get_xdata()[0], other.get_xdata()[0]) == pytest.approx((30, 40, 20))
    assert -0.5 < disc.get_ydata()[0] < 0 < diamond.get_ydata()[0] < 0.5 < other.get_ydata()[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(metrics.values())


def test_runs_that_lie_together_can_be_told_apart():
    runs = [record(value, seeds=(seed,), low=None, high=None) for seed, value in enumerate((0.3, 0.304, 0.31))]
    lonely = record(0.2, model="vit", low=None, high=None)
    (axis,) = plots.forest({"Cutouts": [*runs, lonely]}, ONE, unit="mIoU (%)").axes
    *shown, alone = dots(axis)
    assert {(dot.get_alpha(), dot.get_markeredgecolor()) for dot in shown} == {(0.6, "white")}
    assert (alone.get_alpha(), alone.get_markeredgecolor()) == (None, plots.COLOURS["vit"])


def test_baselines_are_hollow(panels):
    axis = plots.forest(panels, ONE, unit="%").axes[0]
    hollow = {
        one.model
        for one, dot in zip(panels["Cutouts"], dots(axis), strict=True)
        if dot.get_markerfacecolor() == "white"
    }
    unlearned = {"centred_blob", "centred_blob_grid14", "centred_box", "whole_image", "random_heads"}
    unlearned |= {"untrained_crate", "untrained_vit"}
    assert hollow == unlearned | {"crate_scratch", "vit_scratch"}


def test_no_label_covers_another(panels):
    figure = plots.forest(panels, ONE, unit="mIoU (%)")
    figure.canvas.draw()
    texts = [text for axis in figure.axes for text in (*axis.get_yticklabels(), axis.title, axis.xaxis.label)]
    for axis in figure.axes:
        low, high = sorted(axis.get_xlim())
        texts += [text for text in axis.get_xticklabels() if low <= text.get_position()[0] <= high]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_every_model_has_a_colour_of_its_own():
    assert len(set(plots.COLOURS.values())) == len(plots.COLOURS)
    assert set(plots.COLOURS) <= set(plots.LABELS)


def test_picture_grid():
    images = [np.zeros((11, 13, 3), np.uint8), np.full((7, 5, 3), 200, np.uint8)]
    mask = np.zeros((2, 3, 5), bool)
    mask[0, 1, 2] = True
    heat = np.arange(15, dtype=np.float32).reshape(3, 5)
    overlays = [plots.Overlay(heat=heat, masks=mask, caption="head 1"), plots.Overlay()]
    figure = plots.picture_grid(images, {"CRATE": overlays, "ViT": overlays[::-1]})
    axes = np.array(figure.axes).reshape(2, 3)
    assert [axis.get_title() for axis in axes[0]] == ["image", "CRATE", "ViT"]
    drawn = axes[0, 1]
    assert [text.get_text() for text in drawn.texts] == ["head 1"]
    edges = {tuple(sorted(zip(line.get_xdata(), line.get_ydata(), strict=True))) for line in drawn.lines}
    corners = [(2 / 5, 1 / 3), (3 / 5, 1 / 3), (2 / 5, 2 / 3), (3 / 5, 2 / 3)]
    expected = [(0, 1), (2, 3), (0, 2), (1, 3)]  # the four sides of one token
    assert np.allclose(sorted(edges), sorted((corners[a], corners[b]) for a, b in expected))
    assert len(axes[1, 1].images) == 1  # nothing but the picture where there is nothing to draw
    assert not axes[1, 1].lines


def test_heat_alone_is_drawn_in_blocks_from_least_to_greatest():
    heat = np.arange(3, 18, dtype=np.float32).reshape(3, 5)
    image = np.zeros((11, 13, 3), np.uint8)
    figure = plots.picture_grid([image], {"CRATE": [plots.Overlay(heat=heat)]}, alone=True)
    (drawn,) = figure.axes[1].images
    assert np.array_equal(drawn.get_array(), heat)
    assert drawn.get_clim() == (3, 17)
    assert drawn.get_interpolation() == "nearest"
    assert drawn.get_extent() == figure.axes[0].images[0].get_extent()


def test_colour_fades_outside_the_masks_only():
    image = np.full((6, 10, 3), (200, 50, 20), np.uint8)
    masks = np.zeros((2, 3, 5), bool)
    masks[0, 1, 2] = masks[1, 0, 4] = True
    overlays = [plots.Overlay(masks=masks), plots.Overlay()]
    figure = plots.picture_grid([image, image], {"CRATE": overlays}, fade=True)
    _, cover = figure.axes[1].images
    opaque = cover.get_array()[..., 3]
    assert np.array_equal(opaque == 0, masks.any(axis=0).repeat(2, axis=0).repeat(2, axis=1))
    assert np.ptp(cover.get_array()[..., :3], axis=2).max() == 0
    assert len(figure.axes[3].images) == 1


def test_rows_are_named_beside_their_first_picture():
    images = [np.zeros((7, 5, 3), np.uint8)] * 3
    first, second = plots.Overlay(caption="first"), plots.Overlay(caption="second")
    columns = plots.by_head([[first, second]] * 3)
    assert columns == {"head 0": (first,) * 3, "head 1": (second,) * 3}
    figure = plots.picture_grid(images, columns, rows=["clean", "σ = 10", "σ = 25"])
    figure.canvas.draw()
    axes = np.array(figure.axes).reshape(3, 3)
    assert [axis.texts[0].get_text() for axis in axes[:, 0]] == ["clean", "σ = 10", "σ = 25"]
    assert [[text.get_text() for text in axis.texts] for axis in axes[0, 1:]] == [["first"], ["second"]]
    for axis in axes[:, 0]:
        name = axis.texts[0].get_window_extent()
        assert 0 <= name.x0 < name.x1 <= axis.get_window_extent().x0


def test_a_curve_stands_at_its_places():
    noise = {0: Interval(5.0, 4.0, 6.0, 7), 10: Interval(3.0, 2.5, 3.5, 7), 75: Interval(1.0, None, None, 7)}
    panels = {"a": {"crate": noise, "vit": {0: noise[0], 25: noise[10]}}, "b": {"centred_blob": noise}}
    figure = plots.curves(panels, units=["mIoU (%)"] * 2, axes=["σ", "share"])
    first, second = figure.axes
    assert (first.get_xlabel(), second.get_xlabel()) == ("σ", "share")
    assert list(first.get_xticks()) == [0, 10, 25, 75]
    assert [list(line.get_xdata()) for line in dots(first)] == [[0, 10, 75], [0, 25]]
    assert list(dots(first)[0].get_ydata()) == [5, 3, 1]
    assert dots(second)[0].get_markerfacecolor() == "white"


def test_names_of_states():
    assert plots.label("crate_layer3") == "CRATE, layer 3"
    assert plots.label("crate_mlp_sigma75_share10") == "CRATE-MLP, σ = 75 on 10 %"
    assert plots.label("another") == "another"


def test_by_layer_shows_every_curve_with_its_band():
    curves = {
        "crate": [Interval(0.5 * layer, 0.5 * layer - 1, 0.5 * layer + 1, 7) for layer in range(5)],
        "untrained_crate": [Interval(3.0, None, None, 1)] * 5,
    }
    figure = plots.by_layer({"a": curves, "b": {"crate": curves["crate"]}, "c": curves}, units=["x", "y", "z"])
    shown = [axis for axis in figure.axes if axis.axison]
    assert [(axis.get_title(), axis.get_ylabel()) for axis in shown] == [("a", "x"), ("b", "y"), ("c", "z")]
    dots = [line for line in shown[0].lines if line.get_marker() == "o"]
    assert [line.get_label() for line in dots] == ["CRATE", "CRATE, untrained"]
    assert [list(line.get_xdata()) for line in dots] == [[1, 2, 3, 4, 5]] * 2
    assert list(dots[0].get_ydata()) == [0, 0.5, 1, 1.5, 2]
    assert [line.get_markerfacecolor() == "white" for line in dots] == [False, True]
    band = shown[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (-1, 3)
    zero = [line for line in shown[0].lines if line not in dots]
    assert [list(line.get_ydata()) for line in zero] == [[0, 0]]


def test_image_grid_keeps_tokens_as_blocks_and_photographs_smooth():
    photograph, tokens = np.zeros((64, 70, 4), np.uint8), np.full((5, 3, 3), 0.5)
    figure = plots.image_grid({"image": [photograph] * 2, "CRATE\ntokens": [tokens, 0 * tokens]})
    axes = np.array(figure.axes).reshape(2, 2)
    assert [axis.get_title() for axis in axes[0]] == ["image", "CRATE\ntokens"]
    assert [[axis.images[0].get_interpolation() for axis in row] for row in axes] == [["lanczos", "nearest"]] * 2
    assert axes[0, 1].images[0].get_array().max() == 0.5
    assert axes[1, 1].images[0].get_array().max() == 0
    assert {tuple(axis.images[0].get_extent()) for axis in axes.flat} == {(0, 1, 1, 0)}


def test_a_place_of_the_grid_may_be_empty():
    picture = np.zeros((64, 70, 3), np.uint8)
    filled, empty = plots.image_grid({"image": [picture, None]}).axes
    assert (len(filled.images), len(empty.images)) == (1, 0)
    assert filled.axison
    assert not empty.axison


def test_a_label_names_the_step():
    assert plots.label("crate_layer3") == "CRATE, layer 3"
    assert plots.label("vit_epoch12") == "ViT, epoch 12"
    assert plots.label("something_else") == "something_else"


def test_registers_darken_a_models_colour():
    assert plots.colour("vit_reg4") == plots.colour("vit_reg16") != plots.colour("vit")
    assert to_rgb(plots.colour("crate_reg1")) == pytest.approx(
        [0.6 * part for part in to_rgb(plots.colour("crate"))], abs=0.01
    )
