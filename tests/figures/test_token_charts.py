"""Charts of token-pass draw the numbers that they were given."""

import numpy as np
import pytest

from tests.stripes import Stripes, stripes_model
from wbcore.figures import token_charts
from wbcore.measuring.segmentation import segment
from wbcore.metrics.intervals import Interval
from wbcore.metrics.segmentation_cost import dense_ledger
from wbcore.models.dovit import Policy
from wbcore.tables.token_records import TokenUse

pytestmark = pytest.mark.usefixtures("book_style")


def use(title="model on data") -> TokenUse:
    kept = ((0.7, 0.6), (0.3, 0.1), (0.5, 0.4))
    return TokenUse(
        title=title,
        classes=("sky", "sign_symbol", "road"),
        pixels=np.array([[5, 1, 7], [3, 2, 11]]),
        iou=(Interval(0.5, 0.4, 0.6, 2),) * 3,
        kept_by_class=tuple(tuple(Interval(v, v - 0.05, v + 0.05, 2) for v in values) for values in kept),
        kept=np.array([[0.7, 0.5], [0.6, 0.2]]),
        gmacs=np.array([0.7, 0.5]),
        dense=1.1,
    )


def test_classes_that_stop_first_are_on_top():
    figure = token_charts.class_bars([use(), use("other on data")])
    first, second = figure.axes
    assert [text.get_text() for text in first.get_yticklabels()] == ["sign symbol", "road", "sky"]
    assert second.get_title() == "other\non data"
    dots = [line.get_xdata()[0] for line in first.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([30, 10, 50, 40, 70, 60])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["decision 1", "decision 2"]


def test_bars_of_single_images():
    model = stripes_model()
    data = Stripes(2)
    cheap, dear = segment(model, [data[0], data[1]], policy=Policy("confidence", threshold=0.6))
    figure = token_charts.cost_bars({"cheap": cheap, "dear": dear}, model.config)
    axes = np.array(figure.axes).reshape(2, 4)
    dense = [layer.total / 1e9 for layer in dense_ledger(model.config, cheap.grid).blocks]
    for row, one in zip(axes, (cheap, dear), strict=True):
        heights = [patch.get_height() for patch in row[2].patches]
        assert heights == [one.tokens[0]] * 4 + list(one.tokens)
        heights = [patch.get_height() for patch in row[3].patches]
        assert heights == pytest.approx(dense + [layer.total / 1e9 for layer in one.cost.blocks])
    assert [row[0].get_ylabel() for row in axes] == ["cheap", "dear"]


def test_histograms_count_every_image():
    gmacs = np.random.default_rng(0).random(37) * 0.8
    figure = token_charts.cost_histograms({"first": (gmacs, 1.1), "second": (gmacs, None)})
    for axis in figure.axes:
        assert sum(patch.get_height() for patch in axis.patches) == 37
    with_dense, without = figure.axes
    assert [line.get_xdata()[0] for line in with_dense.lines if line.get_linestyle() == "--"] == [1.1]
    assert not [line for line in without.lines if line.get_linestyle() == "--"]


def test_nothing_to_show():
    for figure in (token_charts.class_bars([]), token_charts.cost_histograms({})):
        assert not figure.axes[0].lines
