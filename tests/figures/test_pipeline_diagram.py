"""The drawing of the pipeline shows its arrays and its numbers, and no label covers another."""

import itertools

import numpy as np
import pytest

from tests.drawings import assert_readable, texts
from tests.stripes import CLASSES, Stripes, stripes_model
from wbcore.figures.pipeline_diagram import pipeline_diagram
from wbcore.measuring.segmentation import segment
from wbcore.metrics.segmentation_cost import dense_ledger
from wbcore.models.dovit import Policy

pytestmark = pytest.mark.usefixtures("book_style")


def drawn(threshold=0.6):
    model = stripes_model()
    (found,) = segment(model, [Stripes()[0]], policy=Policy("confidence", threshold=threshold))
    dense = dense_ledger(model.config, found.grid)
    return found, pipeline_diagram(found, model.config, threshold=threshold, dense=dense, classes=CLASSES)


def test_it_shows_what_happened():
    found, figure = drawn()
    arrays = [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]
    assert len(arrays) == 8  # image, three times confidence and what is kept, prediction
    assert np.array_equal(arrays[0], found.example.image)
    for number in range(3):
        assert np.array_equal(arrays[1 + 2 * number], found.at_pixels(found.sure[number]))
    shown = [text.get_text() for text in texts(figure)]
    kept = [20, *(int(mask.sum()) for mask in found.keep)]
    for before, after in itertools.pairwise(kept):
        assert f"{before - after} stop" in shown
    assert {f"{count} tokens" for count in found.tokens} <= set(shown)
    assert {"DoViT, ξ = 0.6", "4 × 5 patches", "layer 1", "$B_4$"} <= set(shown)


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.985, 1.0])
def test_no_label_covers_another(threshold):
    _, figure = drawn(threshold)
    assert_readable(figure)
