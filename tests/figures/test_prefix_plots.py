"""Figures and tables of class token and registers show every token of every network."""

import pytest
import torch

from tests.tiny import record
from wbcore.figures import prefix_plots
from wbcore.measuring.prefix_records import PrefixReading
from wbcore.models import model_config

pytestmark = pytest.mark.usefixtures("book_style")

HISTOGRAM = {"histogram": {"edges": [1.0, 1.2, 1.5], "counts": [3, 4]}}


@pytest.fixture
def records():
    tokens = {"vit": ("cls", "patches"), "vit_reg4": ("cls", "patches", "register2", "register1")}
    return [
        record(7.0 + place, model=f"{model}_{token}", metric="prefix/norm", data=data, settings=HISTOGRAM)
        for model, found in tokens.items()
        for place, token in enumerate(found)
        for data in ("coco200", "cutouts")
    ] + [record(0.25, model="vit_reg4_register2", metric="prefix/like_cls", data="cutouts")]


def test_a_ridge_for_every_token(records):
    figure = prefix_plots.norm_ridges(records, data="coco200")
    assert [axis.get_title() for axis in figure.axes] == ["ViT", "ViT, 4 registers"]
    names = [[tick.get_text() for tick in axis.get_yticklabels()] for axis in figure.axes]
    assert names == [["patches", "class token"], ["patches", "class token", "register 1", "register 2"]]
    assert [len(axis.patches) for axis in figure.axes] == [2, 4]


def test_few_outliers_are_pointed_at():
    histogram = {"edges": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0], "counts": [90, 7, 0, 1, 2]}
    close = {"edges": [1.0, 2.0, 3.0, 8.0], "counts": [90, 0, 10]}  # the stretch without a token is from 2 to 3
    records = [
        record(2.0, model=f"vit_{token}", metric="prefix/norm", data="coco200", settings={"histogram": shown})
        for token, shown in (("patches", histogram), ("cls", close))
    ]
    (axis,) = prefix_plots.norm_ridges(records, data="coco200").axes
    (note,) = axis.texts
    assert note.get_text() == "3 % of\nthe patches"
    assert note.xy[0] == pytest.approx((16 * 32) ** 0.5)


def test_a_row_for_every_token(records):
    table = prefix_plots.prefix_table(records)
    assert len(table) == 2 * (2 + 4)
    cells = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in table.loc["ViT, 4 registers", "Cutouts", "register 2"]]
    assert cells == ["9.0 ± 0.0", "–", "0.25 ± 0.03"]
    assert table.loc[("ViT", "COCO-200", "class token")].tolist()[1:] == ["–", "–"]


def test_a_map_for_every_token():
    maps = torch.rand(2, 3, 6)
    columns = prefix_plots.prefix_overlays(PrefixReading(torch.ones(2, 3), torch.ones(2, 6), maps, (2, 3)))
    assert list(columns) == ["class token", "register 1", "register 2"]
    assert torch.equal(torch.from_numpy(columns["register 1"][1].heat), maps[1, 1].view(2, 3))


def test_what_registers_cost():
    shapes = {number: model_config("vit_tiny_patch16_224", num_registers=number) for number in (0, 4, 16)}
    table = prefix_plots.overhead_table({"ViT-Ti/16": shapes})
    (row,) = table.to_dict("records")
    linear = 12 * 12 * 192**2  # multiply-accumulates of a token in the twelve layers, attention's products aside
    tokens = {number: 197 + number for number in (0, 4, 16)}
    total = {n: t * linear + 12 * 2 * t**2 * 192 + 196 * 768 * 192 + 192_000 for n, t in tokens.items()}
    assert row["GMACs"] == f"{total[0] / 1e9:.2f}"
    assert row["4 registers"] == f"+{100 * (total[4] / total[0] - 1):.2f} %"
    assert row["16 registers"] == f"+{100 * (total[16] / total[0] - 1):.2f} %"
    assert row["patches"] == 196
