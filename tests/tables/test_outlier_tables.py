"""What comes back, by hand; and tables that say which networks are missing."""

from dataclasses import replace

import numpy as np
import pytest

from tests.tiny import record
from wbcore.errors import InputError
from wbcore.tables.outlier_tables import NOT_TRAINED, by_layer, family_table, loss_table, recovered, recovery_table

MIOU = "attention_miou/mass60"
SPACE = "\N{NO-BREAK SPACE}"


def measured(model, values, metric=MIOU, **fields):
    mean = float(np.mean(values))
    return record(mean, model=model, metric=metric, **{"n": len(values), "values": tuple(values), **fields})


RNG = np.random.default_rng(0)
LAST = RNG.uniform(0.1, 0.2, 23)
BEST = LAST + 0.4
HALF = LAST + RNG.normal(0.2, 0.01, 23)


def test_half_comes_back():
    found = recovered(measured("a", HALF), measured("b", LAST), measured("c", BEST))
    assert found.value == pytest.approx(float((HALF - LAST).mean() / 0.4))
    assert found.low < found.value < found.high
    assert found.n == 23
    assert recovered(measured("a", LAST), measured("b", LAST), measured("c", BEST)).value == 0
    assert recovered(measured("a", BEST), measured("b", LAST), measured("c", BEST)).value == 1


def test_where_nothing_is_lost_nothing_can_come_back():
    noise = LAST + RNG.normal(0, 0.1, 23)
    assert (
        recovered(measured("a", BEST), measured("b", LAST), measured("c", noise - noise.mean() + LAST.mean())) is None
    )


@pytest.mark.parametrize("damage", [{"values": None}, {"values": (0.1,)}, {"data_sha256": 64 * "1"}])
def test_other_images_are_refused(damage):
    with pytest.raises(InputError, match="a and b have no values of the same images"):
        recovered(replace(measured("a", HALF), **damage), measured("b", LAST), measured("c", BEST))


def subjects():
    settings = {"best_layer": {"mass60": 2}}
    layers = {1: BEST - 0.1, 2: BEST, 3: BEST + 0.1, 4: LAST}  # the third is best here, but was not elsewhere
    records = [measured(f"vit_layer{n}", values, settings=settings) for n, values in layers.items()]
    return [
        *records,
        measured("vit_reg4_layer4", HALF),
        measured("vit_clean_layer4", LAST),
        measured("centred_blob", HALF - 0.1),
    ]


def test_the_table_of_what_comes_back():
    table = recovery_table(
        subjects(),
        [("vit", "_clean"), ("vit", "_reg4"), ("crate", "_reg4")],
        rules=["mass60"],
        data=["cutouts", "camvid"],
    )
    assert [index[:3] for index in table.index] == 2 * [("Cutouts", "60 % of mass", "ViT")]
    assert [index[3] for index in table.index] == ["outliers left out of the map", "trained with 4 registers"]
    first, second = table.to_dict("records")
    assert first["brought back"].startswith("0 % [0,")
    assert second["brought back"].startswith(f"{100 * (HALF - LAST).mean() / 0.4:.0f} % [")
    assert first["best"].startswith(f"{100 * BEST.mean():.1f}")
    assert first["best"].endswith("(2)")
    assert first["last"].startswith(f"{100 * LAST.mean():.1f}")
    assert second["over the blob"].startswith("+10.0 [+10.0,")


def test_the_table_of_losses():
    records = [*subjects(), measured("vit_clean_layer2", BEST)]
    table = loss_table(records, "vit", endings=("", "_clean", "_ttr"), rules=["mass60"], data=["cutouts", "camvid"])
    assert list(table.index) == [
        ("Cutouts", "60 % of mass", "as it is"),
        ("Cutouts", "60 % of mass", "outliers left out of the map"),
    ]
    assert table["loss (points)"].tolist() == ["+40.0", "+40.0"]
    assert table["best"].tolist() == 2 * [table["best"].iloc[0]]
    assert table["images"].tolist() == [23, 23]


def test_layers_are_sorted_as_numbers():
    records = [measured(f"vit_layer{n}", LAST) for n in (10, 2, 1)]
    assert list(by_layer(records, "vit", metric=MIOU, data="cutouts")) == [1, 2, 10]


def test_a_network_that_is_missing_is_said_to_be():
    records = [
        record(1.5, model="vit", metric="tail/largest", low=1.4, high=1.6),
        record(0.2, model="vit_layer3", metric=MIOU),
        record(0.3, model="vit_layer6", metric=MIOU, low=None),
        record(0.4, model="crate_reg4_layer6", metric=MIOU, low=None),
    ]
    variants = {"vit": ("MHSA", "MLP"), "crate": ("MSSA", "ISTA")}
    table = family_table(records, variants, [("tail/largest", "longest"), (MIOU, "mIoU")], data="cutouts")
    assert table.loc["MHSA", "MLP", "ViT", 0].tolist() == [f"1.50{SPACE}±{SPACE}0.10", "30.0"]
    assert table.loc["MHSA", "MLP", "ViT", 4].tolist() == [NOT_TRAINED, ""]
    assert table.loc["MSSA", "ISTA", "CRATE", 0].tolist() == [NOT_TRAINED, ""]
    assert table.loc["MSSA", "ISTA", "CRATE", 4].tolist() == ["–", "40.0"]
