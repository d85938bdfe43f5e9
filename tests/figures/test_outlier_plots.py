"""Figures of outliers and segmentation: what is drawn is what the records say."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.tiny import record
from wbcore.figures import outlier_plots
from wbcore.figures.outlier_plots import PARTS, STYLES, Row
from wbcore.plots import COLOURS, colour

pytestmark = pytest.mark.usefixtures("closed_figures")

MIOU, TAIL = "attention_miou/mass60", "tail/triple_share"
ROWS = (Row(MIOU, "mIoU (%)", blob=True), Row(TAIL, "patches (%)", symlog=0.1))


def by_layer(model, values, metric=MIOU, **fields):
    return [record(value, model=f"{model}_layer{n}", metric=metric, **fields) for n, value in enumerate(values, 1)]


RECORDS = [
    *by_layer("vit_tiny_pretrained", (0.3, 0.6, 0.1)),
    *by_layer("vit_tiny_pretrained_ttr", (0.3, 0.6, 0.4)),
    *by_layer("vit_tiny_pretrained_clean_rand", (0.3, 0.5, 0.1)),
    *by_layer("vit_tiny_pretrained", (0.0, 0.02, 0.02), TAIL),
    *by_layer("crate", (0.2, 0.5)),
    *by_layer("crate_reg4", (0.2, 0.55)),
    *by_layer("crate", (0.0, 0.0), TAIL),
    *by_layer("crate", (0.9, 0.9), data="weizmann"),
    record(0.35, model="centred_blob_grid14", metric=MIOU),
    record(0.25, model="centred_blob", metric=MIOU),
]


def lines(axis):
    """(numbers, colour, style) of every curve; level and upright lines have two points."""
    return [
        (list(line.get_ydata()), to_hex(line.get_color()), line.get_linestyle())
        for line in axis.lines
        if len(line.get_xdata()) > 2 or list(line.get_xdata()) == [1, 2]
    ]


def test_every_column_is_a_model_under_its_interventions():
    columns = [("vit_tiny_pretrained", "cutouts"), ("crate", "cutouts")]
    figure = outlier_plots.layer_columns(RECORDS, columns, ROWS)
    (first, second), (below, last) = np.array(figure.axes).reshape(2, 2)
    found = {tuple(np.round(numbers, 6)): (shade, line) for numbers, shade, line in lines(first)}
    assert found == {
        (30, 50, 10): (STYLES["_clean_rand"].shade, ":"),
        (30, 60, 40): (COLOURS["vit_tiny_pretrained_ttr"], "-"),
        (30, 60, 10): (to_hex(COLOURS["vit_tiny_pretrained"]), "-"),
    }
    assert [numbers for numbers, *_ in lines(below)] == [[0, 2, 2]]
    assert below.get_yscale() == "symlog"
    assert {shade for _, shade, _ in lines(second)} == {to_hex(colour("crate")), colour("crate_reg4")}
    levels = [line.get_ydata()[0] for line in (*first.lines, *second.lines) if list(line.get_xdata()) == [0, 1]]
    assert 35.0 in levels
    assert 25.0 in levels
    assert list(last.get_xticks()) == [1, 2]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == STYLES[""].name
    assert STYLES["_clean_edge"].name not in names
    assert names[-2:] == ["blob in the centre", "attention sees outliers"]


def test_outliers_are_seen_in_the_layer_after_they_arise():
    assert outlier_plots.outliers_seen_from(RECORDS, "vit_tiny_pretrained", "cutouts") == 3
    assert outlier_plots.outliers_seen_from(RECORDS, "crate", "cutouts") is None
    passing = by_layer("crate_mlp", (0.0, 0.02, 0.0), TAIL)
    assert outlier_plots.outliers_seen_from(passing, "crate_mlp", "cutouts") is None
    always = by_layer("crate_mlp", (0.02, 0.02, 0.02), TAIL)
    assert outlier_plots.outliers_seen_from(always, "crate_mlp", "cutouts") == 2
    figure = outlier_plots.layer_columns(RECORDS, [("crate", "cutouts")], ROWS[:1])
    assert "attention sees outliers" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_share_without_colour_is_what_is_left():
    spent = {"class_token": 0.1, "registers": 0.05, "outliers": 0.2, "object": 0.4}
    records = [record(0.5, model="vit", metric="object_share")]
    for part, share in spent.items():
        records += by_layer("vit", (share, share / 2), f"attention_to/{part}")
    figure = outlier_plots.spending(records, [("vit", "cutouts")])
    (axis,) = figure.axes
    tops = [path.get_paths()[0].get_extents().y1 for path in axis.collections]
    assert tops == pytest.approx([10, 15, 35, 75, 100])
    (line,) = axis.lines
    # Of the first layer 65 % fall on normal patches, of the second 82.5 %; half of the patches are object.
    assert line.get_ydata() == pytest.approx([35 + 32.5, 17.5 + 41.25])
    assert [text.get_text() for text in figure.legends[0].get_texts()][:-1] == [name for name, _ in PARTS.values()][
        ::-1
    ]
