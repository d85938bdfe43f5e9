"""LOST's figures and tables: what is drawn is what the records hold."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests import tiny
from wbcore.figures.lost_plots import RIGHT, TRUTH, WRONG, bias_curves, box_grid, pair_table
from wbcore.measuring.lost_sweep import TREATMENTS, Picture

PLACES, CURVE = [-0.1, 0.0, 0.2], [[0.1, 0.05, 0.2], [0.3, 0.2, 0.4], [0.5, 0.4, 0.6]]


def curves(model: str) -> list:
    said = {"bias": 0.2, "places": PLACES, "curve": CURVE}
    return [tiny.record(0.5, model=model, metric=f"corloc/{one}", settings=said) for one in TREATMENTS]


@pytest.mark.usefixtures("book_style")
def test_curves_show_the_values_the_choice_and_lost_as_published():
    boxes = [
        tiny.record(0.36, model="centred_box", metric="corloc"),
        tiny.record(0.2, model="whole_image", metric="corloc"),
    ]
    rows = {"keys": [("vit", "keys"), ("vit_reg4", "keys")], "projections": [("crate", "projections")]}
    known = [*curves("vit_keys"), *curves("crate_projections"), *boxes]
    axes = np.array(bias_curves(known, rows, data="cutouts").axes).reshape(2, 3)
    for row in axes:
        for axis, treatment in zip(row, TREATMENTS, strict=True):
            centred, whole, line, ring, *rest = axis.lines
            assert [list(one.get_ydata()) for one in (centred, whole)] == [[36, 36], [20, 20]]
            assert list(line.get_xdata()) == PLACES
            assert list(line.get_ydata()) == pytest.approx([10, 30, 50])
            assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (0.2, 50)
            stock = [(one.get_xdata()[0], one.get_ydata()[0]) for one in rest]
            assert stock == ([(0, pytest.approx(30))] if treatment == "scaled" else [])
    assert [text.get_text() for text in axes[0, -1].get_legend().get_texts()] == ["ViT"]


def test_pairs_without_records_are_passed_over():
    known = [tiny.record(value, model=name, metric="corloc") for name, value in (("vit", 0.3), ("crate", 0.5))]
    table = pair_table(known, [("crate", "vit"), ("vit_reg4", "vit")], [("cutouts", "corloc"), ("coco200", "corloc")])
    assert list(table["claim"]) == ["CRATE > ViT"]
    assert list(table["difference (points)"]) == ["+20.0"]


def test_pairs_on_other_images_are_passed_over():
    known = [
        tiny.record(0.3, model=name, metric="corloc", data=data, data_sha256=content)
        for name, data, content in (
            ("vit", "cutouts", "a"),
            ("crate", "cutouts", "b"),
            ("vit", "coco200", "c"),
            ("crate", "coco200", "c"),
        )
    ]
    table = pair_table(known, [("crate", "vit")], [("cutouts", "corloc"), ("coco200", "corloc")])
    assert list(table.index) == ["COCO-200"]


@pytest.mark.usefixtures("book_style")
def test_boxes_are_drawn_where_they_are():
    box, place, degree = (0.1, 0.2, 0.7, 0.9), (0.0, 0.0, 0.5, 0.5), np.zeros((3, 5), int)
    found = [Picture(box, (0.3, 0.5), degree, [place], right) for right in (True, False)]
    found.append(Picture(box, (0.3, 0.5), degree, [], None))
    figure = box_grid([np.zeros((7, 11, 3), np.uint8)] * 3, {"ViT": found})
    drawn = [[to_hex(one.get_edgecolor()) for one in axis.patches] for axis in figure.axes]
    assert drawn == [[TRUTH, RIGHT], [TRUTH, WRONG], [RIGHT]]
    for axis in figure.axes:
        last = axis.patches[-1]
        assert (*last.get_xy(), last.get_width(), last.get_height()) == pytest.approx((0.1, 0.2, 0.6, 0.7))
        assert axis.lines[0].get_xydata().tolist() == [[0.3, 0.5]]
