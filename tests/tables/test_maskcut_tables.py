"""Tables and figures of MaskCut's settings, on records whose order is known."""

import matplotlib.pyplot as plt
import pytest

from tests import tiny
from wbcore.figures.maskcut_plots import lead_figure, setting_figure
from wbcore.tables.maskcut_tables import (
    effect_table,
    lead_counts_table,
    leads,
    mask_counts_table,
    order_by_setting_table,
    setting_curves,
    setting_label,
    spread_table,
)

METRIC = "maskcut_bbox/ap"
COLUMN = ("cutouts", METRIC)
HIT, MISS = "1 1 0:3ff/0", "1 1"
IMAGES = 23


def found(hits, *, model, **fields):
    """A record of ``hits`` images of 23 in which the object is found, by the worst of results or the best."""
    return tiny.record(
        hits / IMAGES, model=model, metric=METRIC, matches=(HIT,) * hits + (MISS,) * (IMAGES - hits), **fields
    )


@pytest.fixture
def records():
    return [
        found(20, model="crate"),
        found(4, model="vit"),
        found(9, model="crate_tau5"),
        found(10, model="vit_tau5"),
        found(22, model="crate_tau40"),
        found(1, model="centred_blob"),
        found(13, model="crate_crf"),
        found(20, model="crate", data="coco200"),
    ]


def test_settings_have_names():
    assert [setting_label(one) for one in ("", "_tau5", "_layer3", "_masks1", "_crf480", "_negative", "_dot15")] == [
        "as in Table 1",
        "τ = 0.05",
        "layer 3",
        "1 mask",
        "CRF at 480 px",
        "negative peak",
        "inner products, τ = 0.15",
    ]


def test_curves_hold_the_default_at_its_place_and_what_cannot_change_as_a_level(records):
    curves = setting_curves(
        records,
        "tau",
        ("crate", "vit", "centred_blob", "random_heads"),
        data="cutouts",
        metric=METRIC,
        blind=("centred_blob",),
    )
    assert {model: list(curve) for model, curve in curves.items()} == {
        "crate": [5, 15, 40],
        "vit": [5, 15],
        "centred_blob": [5, 15, 40],
    }
    assert [round(one.value * IMAGES / 100) for one in curves["crate"].values()] == [9, 20, 22]
    assert {one.value for one in curves["centred_blob"].values()} == {100 / IMAGES}
    masks = setting_curves(records, "masks", ("crate",), data="cutouts", metric=METRIC)
    assert list(masks["crate"]) == [3]


def test_a_lead_is_that_of_the_same_setting(records):
    under = leads(records, "crate", "vit", ("", "_tau5", "_tau40", "_masks1"), data="cutouts", metric=METRIC)
    assert list(under) == ["", "_tau5"]
    assert (under[""].verdict, under["_tau5"].verdict) == ("holds", "undecided")
    assert under["_tau5"].difference.value < 0 < under[""].difference.value
    blob = leads(records, "crate", "centred_blob", ("", "_tau5"), data="cutouts", metric=METRIC)
    assert list(blob) == [""]
    blob = leads(
        records, "crate", "centred_blob", ("", "_tau5"), data="cutouts", metric=METRIC, blind=("centred_blob",)
    )
    assert round(blob["_tau5"].difference.value * IMAGES) == 8
    counted = lead_counts_table(records, [("crate", "vit"), ("vit", "crate")], ("", "_tau5", "_tau40"), [COLUMN])
    assert counted["Cutouts", "det AP"].tolist() == ["1 (1, 0) of 2", "1 (0, 1) of 2"]
    assert counted.index.tolist() == ["CRATE > ViT", "ViT > CRATE"]


def test_orders_by_setting(records):
    table = order_by_setting_table(records, ("vit", "crate"), ("", "_tau5", "_tau40", "_masks1"), [COLUMN])
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in table["Cutouts", "det AP"]] == [
        "CRATE 87.0 > ViT 17.4",
        "ViT 43.5 ≈ CRATE 39.1",
        "CRATE 95.7",
        "–",
    ]
    assert table.index.tolist() == ["as in Table 1", "τ = 0.05", "τ = 0.4", "1 mask"]


def test_what_a_setting_changes(records):
    table = effect_table(records, ("crate", "vit"), "_crf", [COLUMN])
    worse, none = table["Cutouts", "det AP"]
    assert worse.startswith(("-30", "-29", "-31"))
    assert worse.endswith("*")
    assert none == "–"


def test_masks_are_counted_from_the_matches(records):
    two = tiny.record(0.5, model="vit_crf", metric=METRIC, matches=("1 2", "1 3 2:1/3fe", "2 0"))
    table = mask_counts_table([*records, two], ("crate", "vit"), ("", "_crf"), data=("cutouts",))
    assert table["Cutouts", "as in Table 1"].tolist() == ["1.00", "1.00"]
    assert table["Cutouts", "CRF"].tolist() == ["1.00", "1.67"]
    assert mask_counts_table(records, ("vit",), ("_crf",), data=("cutouts",)).squeeze() == "–"


def test_least_and_greatest(records):
    table = spread_table(records, ("crate", "random_heads"), ("", "_tau5", "_tau40"), data=("cutouts",), metric=METRIC)
    assert table.loc["CRATE"].tolist() == ["86.96", "39.13 (τ = 0.05)", "95.65 (τ = 0.4)"]
    assert table.loc["random heads"].tolist() == ["–", "–", "–"]


def test_figures_show_every_curve_and_every_rival(records):
    models = ("crate", "vit", "centred_blob")
    curves = {axis: setting_curves(records, axis, models, data="cutouts", metric=METRIC) for axis in ("tau", "masks")}
    figure = setting_figure({"Cutouts": curves}, unit="det AP (%)")
    first = figure.axes[0]
    assert {line.get_label() for line in first.lines} >= {"CRATE", "ViT", "centred blob"}
    assert [list(line.get_xdata()) for line in first.lines if line.get_label() == "CRATE"] == [[0.05, 0.15, 0.4]]
    assert len(figure.legends[0].texts) == 3
    plt.close(figure)
    under = leads(records, "crate", "vit", ("", "_tau5"), data="cutouts", metric=METRIC)
    figure = lead_figure({"Cutouts": {"vit": under}}, unit="points")
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == line.get_color() for line in dots] == [True, False]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["as in Table 1", "τ = 0.05"]
    plt.close(figure)
