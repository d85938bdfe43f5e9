"""Figures and tables of probes: what is drawn is what the records say."""

import numpy as np
import pytest

from tests.tiny import record
from wbcore.figures import probe_plots
from wbcore.labels import label

pytestmark = pytest.mark.usefixtures("closed_figures")

NBSP = "\N{NO-BREAK SPACE}"
OURS, HEALED = "vit_tiny_pretrained", "vit_tiny_pretrained_ttr"


def one(value, model, metric="local/position_top1", **fields):
    return record(value, model=model, metric=metric, **fields)


def test_names_are_those_that_were_recorded_in_order():
    records = [one(0.5, f"{model}_{kind}") for model in ("vit", OURS) for kind in ("normal", "cls", "outliers")]
    assert probe_plots.token_names(records, [OURS, "crate", "vit"]) == [
        *(f"{OURS}_{kind}" for kind in ("cls", "outliers", "normal")),
        *(f"vit_{kind}" for kind in ("cls", "outliers", "normal")),
    ]
    assert probe_plots.token_names(records, ["vit"], ("normal", "cls")) == ["vit_normal", "vit_cls"]


def test_rows_are_kinds_of_tokens_and_panels_metrics():
    names = [f"{OURS}_outliers", f"{OURS}_normal", "vit_normal"]
    records = [
        *(one(value, name) for name, value in zip(names, (0.5, 0.02, 1.0), strict=True)),
        one(14.9, names[0], "local/reconstruction", low=14.0, high=15.5),
        one(15.1, names[0], "local/mean_patch"),
        one(0.9, names[0], data="coco200"),
    ]
    panels = {
        "position": ("cutouts", "local/position_top1", "named (%)"),
        "pixels": ("cutouts", "local/reconstruction", "L2 error"),
    }
    figure = probe_plots.token_panels(records, names, panels, beside={"local/reconstruction": "local/mean_patch"})
    position, pixels = figure.axes
    assert [tick.get_text() for tick in position.get_yticklabels()] == [label(name) for name in names]
    dots = [line for line in position.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in dots] == [50.0, 2.0, 100.0]
    assert [line.get_markerfacecolor() == "white" for line in dots] == [False, True, True]
    assert [(axis.get_title(), axis.get_xlabel()) for axis in figure.axes] == [
        ("position", "named (%)"),
        ("pixels", "L2 error"),
    ]
    assert (position.get_xlim()[0], pixels.get_xlim()[0] > 0) == (0, True)
    (dot,) = [line for line in pixels.lines if line.get_marker() == "o"]
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (14.9, 0)
    (stroke,) = [line for line in pixels.lines if line.get_marker() == "|"]
    assert (stroke.get_xdata()[0], stroke.get_ydata()[0]) == (15.1, 0)
    span = next(line for line in pixels.lines if line.get_marker() == "None" and len(set(line.get_ydata())) == 1)
    assert list(span.get_xdata()) == [14.0, 15.5]
    borders = [line.get_ydata()[0] for line in position.lines if list(line.get_xdata()) == [0, 1]]
    assert borders == [1.5]  # between the models, and nowhere else


def test_maps_are_drawn_where_the_patches_are():
    told, missed = np.zeros((3, 5)), np.ones((3, 5))
    told[2, 1], missed[0, 4] = 0.75, 7.5
    records = [
        one(0.5, "vit", settings={"map": told.tolist()}),
        one(9.0, "vit", "local/reconstruction", settings={"map": missed.tolist()}),
        one(0.5, "crate", settings={"map": told.tolist()}),
        one(9.0, "crate", "local/reconstruction", settings={"map": (missed - 0.5).tolist()}),
        one(0.5, OURS, settings={"map": [[0.5, 0.25]]}),
        one(9.0, OURS, "local/reconstruction", settings={"map": [[20.0, 30.0]]}),
    ]
    metrics = {"local/position_top1": "named (%)", "local/reconstruction": "L2 error"}
    figure = probe_plots.probe_maps(records, metrics, data="cutouts", models=("vit_reg4", "vit", "crate", OURS))
    position, pixels = figure.axes[:3], figure.axes[3:6]
    assert [axis.get_title().split("\n")[0] for axis in position] == ["ViT", "CRATE", "ViT-Ti/16"]
    assert [(axis.get_ylabel(), axis.images[0].get_clim()) for axis in position] == [
        ("named (%)", (0, 100)),
        ("", (0, 100)),
        ("", (0, 100)),
    ]
    assert np.array_equal(position[0].images[0].get_array(), 100 * told)
    assert np.array_equal(pixels[0].images[0].get_array(), missed)
    assert [axis.images[0].get_clim() for axis in pixels] == [(0.5, 7.5), (0.5, 7.5), (20, 30)]


def test_curves_end_in_the_model_itself():
    records = [
        one(0.1, f"{OURS}_layer4_outliers", "local/reconstruction", low=0.0, high=0.3),
        one(0.2, f"{OURS}_outliers", "local/reconstruction", low=None, high=None),
        one(0.7, f"{OURS}_layer4_normal", data="coco200"),
        one(0.4, f"{OURS}_normal", "local/reconstruction"),
    ]
    curves = probe_plots.by_kind(
        records, OURS, ("outliers", "normal"), (4, 12), data="cutouts", metric="local/reconstruction"
    )
    assert {kind: list(places) for kind, places in curves.items()} == {
        f"{OURS}_outliers": [4, 12],
        f"{OURS}_normal": [12],
    }
    assert curves[f"{OURS}_outliers"][4] == (0.1, 0.0, 0.3, 7)
    assert curves[f"{OURS}_outliers"][12] == (0.2, None, None, 7)
    share = probe_plots.by_kind(records, OURS, ("normal",), (4, 12), data="coco200", metric="local/position_top1")
    assert share[f"{OURS}_normal"][4].value == pytest.approx(70)
    figure = probe_plots.layer_panels({"pixels": ("L2 error", curves)})
    (axis,) = figure.axes
    drawn = {line.get_label(): line for line in axis.lines}
    assert list(drawn[label(f"{OURS}_outliers")].get_ydata()) == [0.1, 0.2]
    assert drawn[label(f"{OURS}_normal")].get_linestyle() == "--"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("layer", "L2 error")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(drawn)


def test_the_spread_stands_beside_the_mean():
    settings = {"choices": [0.3, 0.25, 0.35]}
    records = [
        one(0.3, "vit_normal", "global/top1", low=0.28, high=0.32, settings=settings),
        one(0.05, "vit_normal", "global/spread", low=None, high=None, n=3),
        one(0.6, "vit_cls", "global/top1", settings={"choices": [0.6]}),
    ]
    table = probe_plots.spread_table(records, ["vit_cls", "vit_normal", "crate_cls"], data="cutouts")
    assert list(table.index) == ["ViT: class token", "ViT: normal"]
    row = dict(table["Cutouts"].loc["ViT: normal"])
    assert row == {
        "top-1": f"30.0{NBSP}±{NBSP}2.0",
        "choices": 3,
        "deviation": "5.00",
        "least": "25.0",
        "greatest": "35.0",
        "images": 7,
    }
    assert table["Cutouts"].loc["ViT: class token", "deviation"] == "–"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (f"{OURS}_cls", "ViT-Ti/16, ImageNet: class token"),
        (f"{HEALED}_register", "ViT-Ti/16, test-time register: register"),
        (f"{HEALED}_layer8_former", "ViT-Ti/16, test-time register, layer 8: former outliers"),
        ("vit_reg4_normal", "ViT, 4 registers: normal"),
        ("dinov2_large_reg1_outliers", "DINOv2 ViT-L/14, 1 register: outliers"),
    ],
)
def test_kinds_of_tokens_are_named(name, text):
    assert label(name) == text
