"""Pictures of cost: what is drawn where, and that labels keep apart."""

import itertools

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Annotation

from tests.tables.test_segmentation_curves import DENSE, DOVIT, scored, speed
from wbcore.figures.cost_plots import (
    cost_plane,
    run_differences,
    saving_scatter,
    speed_bars,
    text_box,
    threshold_curves,
)
from wbcore.metrics.intervals import Interval
from wbcore.plots import VARIANT_COLOURS
from wbcore.tables.segmentation_curves import GMACS, MIOU, plane, saving_panels, threshold_panels


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_threshold_curves_have_a_row_for_each_data_set():
    models = [(f"{DOVIT}_xi950", 0.5), (f"{DOVIT}_xi990", 0.6), (DENSE, 0.7)]
    records = [scored(model, value, data=data) for data in ("camvid", "cutouts_stuff") for model, value in models]
    figure = threshold_curves(threshold_panels(records, (MIOU,), ("camvid", "cutouts_stuff")))
    assert [axis.get_title() for axis in figure.axes] == ["CamVid", "Cutouts, stuff and things"]
    curve, level, margin = figure.axes[0].lines
    assert (list(curve.get_ydata()), curve.get_color()) == ([50, 60], VARIANT_COLOURS["dovit"])
    assert list(level.get_ydata()) == [70, 70]
    assert (level.get_marker(), margin.get_xydata().tolist()) == ("", [[1.02, 70]])  # no dot at any ξ


def test_bars_say_how_much_faster():
    records = [speed(DENSE, 5.0), speed(DOVIT, 9.0), speed(DOVIT, 1.8, "speedup/fps")]
    figure = speed_bars(records, [DENSE, DOVIT])
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["ViT, lab, dense", "ViT, lab, DoViT"]
    assert [patch.get_width() for patch in right.patches] == [5, 9]
    assert [text.get_text() for text in right.texts] == ["× 1.80"]
    assert not left.patches


def test_promise_and_nine_tenths_of_it():
    figure = saving_scatter(saving_panels([speed(DOVIT, 1.5, "speedup/fps")]))
    promise, tenths, _, measured, _ = figure.axes[0].lines
    assert [list(line.get_ydata()) for line in (promise, tenths)] == [[0, 50], [0, 45]]
    assert measured.get_xydata()[0] == pytest.approx((50, 100 - 100 / 1.5))


def test_every_run_has_a_dot():
    (axis,) = run_differences({DOVIT: ([-1.0, 0.5], Interval(-0.25, -3, 2.5, 2))}, unit="points").axes
    spread, mean, runs, zero = axis.lines
    assert spread.get_xdata().tolist() == [-3, 2.5]
    assert mean.get_xdata().tolist() == [-0.25, -0.25]
    assert runs.get_xydata().tolist() == [[-1, 0], [0.5, 0]]
    assert zero.get_xdata() == [0, 0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["SETR, ViT, lab, DoViT"]


def test_labels_in_the_plane_keep_apart():
    costs = {"dense": 2.0, "dense_untuned": 1.1, "dovit_xi950": 1.0, "dovit_xi970": 1.02, "dovit_xi990": 1.04}
    costs |= {"dyvit70": 1.03, "dyvit90": 1.6, "dense_tome25": 1.61, "dense_tome75": 1.05}
    records = [scored(f"setr_vit_{name}", 0.5 + cost / 100) for name, cost in costs.items()]
    records += [scored(f"setr_vit_{name}", cost, GMACS) for name, cost in costs.items()]
    figure = cost_plane({("camvid", GMACS): plane(records, GMACS, data="camvid")})
    notes = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
    assert sorted(note.get_text() for note in notes) == ["0.7", "0.9", "0.95", "0.99", "25 %", "75 %"]
    boxes = [text_box(note) for note in notes]
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_lines_follow_the_setting_and_not_the_cost():
    costs = {"dovit_xi950": 3.0, "dovit_xi970": 1.0, "dovit_xi990": 2.0, "dovit": 1.5}  # a clock may say so
    records = [scored(f"setr_vit_{name}", 0.5) for name in costs]
    records += [scored(f"setr_vit_{name}", cost, GMACS) for name, cost in costs.items()]
    (axis,) = cost_plane({("camvid", GMACS): plane(records, GMACS, data="camvid")}).axes
    assert [line.get_xdata().tolist() for line in axis.lines if len(line.get_xdata()) == 3] == [[3.0, 1.0, 2.0]]
    notes = {text.get_text(): text.xy[0] for text in axis.texts if isinstance(text, Annotation)}
    assert notes == {"0.95": 3.0, "0.99": 2.0}


@pytest.mark.parametrize(
    "draw", [threshold_curves, saving_scatter, cost_plane, lambda none: speed_bars([], list(none))]
)
def test_nothing_to_draw_is_no_error(draw):
    assert not [axis for axis in draw({}).axes if axis.lines or axis.patches]
