"""Figures and tables of readings: what is drawn is what the records say."""

import numpy as np
import pytest

from tests.tiny import record
from wbcore.errors import InputError
from wbcore.figures import sensitivity_plots as figures
from wbcore.measuring.sensitivity import READINGS, SHARES, STEPS
from wbcore.measuring.sensitivity_records import LAYER_RULES
from wbcore.metric_labels import METRIC_LABELS

pytestmark = pytest.mark.usefixtures("closed_figures")

DEPTH = 3


def interval(value):
    return [value, round(value - 0.02, 3), round(value + 0.04, 3)]


def readings(model, level, *, depth=DEPTH, data="coco200", grids=(9, 12, 18)):
    """A record whose numbers say where they belong: ``level``, and thousandths for the place."""
    choice = {"layer": min(2, depth), "rule": "mass", "share": 0.6, "head": "best"}
    found = {name: {**choice, "value": interval(level + place / 1000)} for place, name in enumerate(READINGS)}
    found["own_rule"] |= {"layer": 1, "rule": "entries", "share": 0.3, "head": 4}
    settings = {
        "shares": list(SHARES),
        "readings": found,
        "by_share": {rule: [interval(level)] * len(SHARES) for rule in ("mass", "entries")},
        "by_share_own": {rule: [interval(level / 2)] * len(SHARES) for rule in ("mass", "entries")},
        "by_layer": {mask: [interval(level + layer / 100) for layer in range(depth)] for mask in LAYER_RULES},
        "grids": list(grids),
        "by_grid": {name: [interval(level + side / 1000) for side in grids] for name in ("pixels", "own_rule")},
        "surface": {
            rule: [[round(1000 * level) + layer + share for share in range(len(SHARES))] for layer in range(depth)]
            for rule in ("mass", "entries")
        },
    }
    return record(level, model=model, metric="reading/paper", data=data, settings=settings)


@pytest.fixture
def records():
    return [
        readings("centred_blob", 0.3, depth=1),
        readings("vit", 0.2),
        readings("crate", 0.4),
        readings("vit_tiny_pretrained", 0.25, depth=12, grids=(14, 9, 18)),
        readings("crate", 0.6, data="weizmann"),
        readings("centred_blob", 0.5, data="weizmann", depth=1),
        record(0.17, model="whole_image", metric="reading/own_rule", data="coco200"),
    ]


def plain(cell):
    return cell.replace("\N{NO-BREAK SPACE}", " ")


def curves(axis):
    return [line for line in axis.lines if len(line.get_xdata()) > 2]


def test_every_reading_that_is_shown_has_a_name():
    assert tuple(figures.STEP_LABELS) == STEPS
    assert {change for change in figures.CHANGE_LABELS if not change.startswith("grid")} < set(READINGS)
    assert {f"reading/{step}" for step in STEPS} < set(METRIC_LABELS)


def test_subjects_stand_in_the_order_of_the_figures(records):
    names = ["crate", "vit", "vit_tiny_pretrained", "centred_blob"]
    assert list(figures.overview(records, "coco200")) == names
    with pytest.raises(InputError, match="no reading is recorded on cutouts"):
        figures.overview(records, "cutouts")


def test_steps(records):
    figure = figures.steps(records, ("coco200", "weizmann"))
    first, second = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["COCO-200", "Weizmann horses"]
    assert [round(line.get_ydata()[0], 2) for line in curves(first)] == [40, 20, 25, 30]
    assert np.allclose(curves(first)[0].get_ydata(), [40, 40.1, 40.2, 40.3, 40.4, 40.5])
    assert len(curves(second)) == 2
    assert [line.get_ydata() for line in first.lines if line not in curves(first)] == [[17.0, 17.0]]
    assert len(first.collections) == 3  # bands of CRATE and both ViTs


@pytest.mark.parametrize(("own", "level"), [(False, 40), (True, 20)])
def test_dials_are_shares_and_layers(records, own, level):
    figure = figures.dials(records, ("coco200",), own=own)
    assert [axis.get_xlabel().split(" (")[0] for axis in figure.axes] == [
        "share of the mass kept",
        "share of the entries kept",
        "layer",
    ]
    for axis in figure.axes[:2]:
        (crate, *_) = curves(axis)
        assert np.allclose(crate.get_xdata(), [100 * share for share in SHARES])
        assert np.allclose(crate.get_ydata(), level)
    lines = figure.axes[2].lines
    assert np.allclose(lines[0].get_xdata(), [100 / 3, 200 / 3, 100])
    assert np.allclose(lines[0].get_ydata(), [40, 41, 42])
    assert len(lines[2].get_xdata()) == 12
    assert np.allclose(lines[3].get_ydata(), [30, 30])  # a blob has no layers: level


def test_surfaces_mark_the_papers_place_and_the_own_one(records):
    figure = figures.surfaces(records, data="coco200")
    panels = [axis for axis in figure.axes if axis.images]
    assert len(panels) == 6
    crate_mass, crate_entries = panels[0], panels[3]
    assert np.allclose(crate_mass.images[0].get_array()[2], 40.2 + np.arange(10) / 10)
    (square,) = [line for line in crate_mass.lines if line.get_marker() == "s"]
    assert (square.get_xdata()[0], square.get_ydata()[0]) == (SHARES.index(0.6), 1)
    (star,) = [line for line in crate_entries.lines if line.get_marker() == "*"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (SHARES.index(0.3), 0)
    assert crate_entries.get_xlabel() == "share kept (%)"


def lead(pair, decided, data="coco200"):
    settings = {
        "quantiles": [-50, 10, 300],
        "decided": decided,
        "by_choice": {
            "rule": {"mass": [3, 1, 0], "entries": [0, 1, 3]},
            "layer": {"last_but_one": decided},
            "share": {"10 %": decided, "5 %": decided},
        },
    }
    return record(0.9, model=pair, metric="reading/lead", data=data, low=None, high=None, settings=settings)


def test_leads():
    records = [lead("crate_over_vit", [6, 1, 1]), lead("crate_over_centred_blob", [0, 3, 1], data="weizmann")]
    table = figures.lead_table(records, ("coco200", "weizmann")).map(plain)
    assert table.loc["CRATE > ViT"].tolist() == ["75 / 12 / 12 (-5.0, +1.0, +30.0)", "–"]
    assert table.loc["CRATE > centred blob", "Weizmann horses"].startswith("0 / 75 / 25")
    table = figures.choice_table(records, "crate_over_vit", ("coco200",))
    words = [("rule", "mass"), ("rule", "entries"), ("layer", "last but one")]
    assert table.index.tolist() == [*words, ("share", "5 %"), ("share", "10 %")]
    assert table["COCO-200"].map(plain).tolist()[:2] == ["75 / 25 / 0", "0 / 25 / 75"]


def test_own_readings(records):
    table = figures.own_table(records, ("coco200", "weizmann"))
    row = table.loc["COCO-200", "CRATE"].map(plain)
    assert row.tolist() == ["40.1 ± 3.0", "40.5 ± 3.0", "1 of 3", "30 % of entries", "4", "40.6 ± 3.0", "40.7 ± 3.0"]
    assert table.loc["COCO-200", "centred blob"]["layer"] == "–"
    assert len(table.loc["Weizmann horses"]) == 2
    assert len(figures.own_table(records, ("coco200",), ("crate", "crate_tied"))) == 1


def test_the_order_under_each_change(records):
    table = figures.orders(records, ("coco200",))
    first = plain(table.loc["60 % of mass, last layer but one, best head", "COCO-200"])
    assert first == "CRATE 40 · centred blob 30 · ViT-Ti/16, ImageNet 25 · ViT 20"
    assert "ViT-Ti" not in table.loc["12 × 12 tokens", "COCO-200"]
    assert table.index[-1] == "own layer, share, rule and head"
