"""Figures and tables of outliers: what is drawn is what the records say."""

import numpy as np
import pytest

from tests.tiny import record
from wbcore.figures import norm_plots
from wbcore.labels import label

pytestmark = pytest.mark.usefixtures("closed_figures")

HISTOGRAM = {"edges": [10.0, 13.0, 17.0, 19.0], "counts": [5, 0, 3]}


def share(model, value, threshold, **fields):
    settings = {"threshold": threshold, "histogram": HISTOGRAM}
    return record(value, model=model, metric="norms/outlier_share", settings=settings, **fields)


def test_histograms_say_where_outliers_begin_and_where_there_are_none():
    records = [share("vit", 0.0, None), share("vit_tiny_pretrained", 0.0237, 75.0), share("crate", 0.5, 3.0, data="x")]
    figure = norm_plots.histograms(records, data="cutouts")
    assert [axis.get_title() for axis in figure.axes] == [label("vit_tiny_pretrained"), "ViT"]
    first, second = figure.axes
    assert "2.37 % of the patches\nare above 75" in first.texts[0].get_text()
    assert first.lines[0].get_xdata()[0] == 75
    assert "no threshold" in second.texts[0].get_text()
    assert not second.lines
    assert first.patches[0].get_data().values.tolist() == HISTOGRAM["counts"]


def test_curves_are_in_the_unit_of_the_metric():
    norms = [record(float(10 * layer), model=f"vit_layer{layer}", metric="norms/largest") for layer in (2, 1, 11)]
    shares = [record(0.02, model="vit_layer3", metric="norms/triple_share"), record(0.5, metric="norms/triple_share")]
    found = norm_plots.curves_over_layers(norms + shares, data="cutouts", metric="norms/largest")
    assert {layer: one.value for layer, one in found["vit"].items()} == {1: 10, 2: 20, 11: 110}
    assert list(found["vit"]) == [1, 2, 11]
    found = norm_plots.curves_over_layers(norms + shares, data="cutouts", metric="norms/triple_share")
    assert list(found) == ["vit"]
    assert found["vit"][3] == pytest.approx((2.0, 0.0, 5.0, 7))


def test_the_table_shows_the_last_layer():
    records = [
        *(record(float(layer), model=f"crate_layer{layer}", metric="norms/median", low=None) for layer in (11, 2)),
        share("crate", 0.25, 3.0, low=0.24, high=0.26),
    ]
    table = norm_plots.norm_table(records, [("norms/median", "median"), ("norms/outlier_share", "outliers")])
    assert table.loc["CRATE", "Cutouts"].tolist() == ["11.0", "25.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}1.0"]


def test_positions_are_drawn_where_they_are():
    shares = np.zeros((3, 5))
    shares[2, 1] = 0.75
    one = record(0.75, metric="norms/position_share", model="vit", settings={"map": shares.tolist()})
    figure = norm_plots.position_maps([one], data="cutouts")
    assert np.array_equal(figure.axes[0].images[0].get_array(), 100 * shares)
    assert "3 × 5 patches,\nat most 75 %" in figure.axes[0].get_xlabel()


def test_kinds_of_patches_are_rows_and_outliers_are_filled():
    kinds = {"normal": 0.3, "outliers": 0.6, "corners": 0.5}
    records = [record(value, model=f"vit_{kind}", metric="norms/neighbour_cosine") for kind, value in kinds.items()]
    records.append(record(0.9, model="vit_normal", metric="norms/neighbour_cosine", data="coco200"))
    figure = norm_plots.token_intervals(records, ["vit"], data="cutouts", metric="norms/neighbour_cosine")
    axis = figure.axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["ViT: outliers", "ViT: normal", "ViT: corners"]
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == [0.6, 0.3, 0.5]
    assert [line.get_markerfacecolor() == "white" for line in dots] == [False, True, True]


def test_overlays_say_their_range():
    (overlay,) = norm_plots.norm_overlays(np.array([[[1.0, 2.5], [30.04, 4.0]]]))
    assert overlay.caption == "1.0 to 30.0"
