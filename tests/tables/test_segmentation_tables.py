"""DoViT's tables: rows by family, differences image by image, and costs that follow from the architecture."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import record
from wbcore.errors import InputError
from wbcore.metrics.segmentation import confusion, tally
from wbcore.models import model_config
from wbcore.models.dovit import DoViT, Policy, SegmenterConfig
from wbcore.records import greater
from wbcore.tables.segmentation_tables import (
    accuracy_table,
    class_table,
    difference_table,
    full_size_table,
    run_differences,
    segmenters_in,
    statement_table,
)

PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
DENSE, DOVIT, DYVIT = (f"setr_vit_tiny_{ending}" for ending in ("dense", "dovit", "dyvit70"))
POLICIES = {
    "dense": {"kind": "dense"},
    "dovit": {"kind": "confidence", "threshold": 0.985, "merging": "code"},
    "dyvit70": {"kind": "ratio", "keep_ratio": 0.7},
}
CLASSES = 5
LABELS = (np.arange(77).reshape(7, 11) % CLASSES).astype(np.uint8)


def measured(model, *, wrong=1, costs=(2.0, 2.0, 2.0)):
    """Records of three images, in each of which so many pixels are wrong."""
    predictions = [LABELS.copy() for _ in range(3)]
    for image, prediction in enumerate(predictions):
        prediction.flat[: wrong * (image + 1)] = 4
    tallies = tally(confusion(each, LABELS, classes=CLASSES) for each in predictions)
    common: dict[str, Any] = {"model": model, "data": "camvid", "n": 3, "seeds": (0,)}
    common["settings"] = {"policy": POLICIES[model.removeprefix("setr_vit_tiny_")]}
    spread: dict[str, Any] = {"low": 0.4, "high": 0.48}
    return [
        record(0.44, metric="segmentation/miou", tallies=tallies.lines(), **common, **spread),
        record(0.7, metric="segmentation/pa", **common, **spread),
        record(0.6, metric="segmentation/mpa", **common, **spread),
        *(
            record(
                float(np.mean(costs)), metric=f"cost/{name}", values=costs, **common, low=min(costs), high=max(costs)
            )
            for name in ("gmacs", "gmacs_linear")
        ),
    ]


@pytest.fixture
def records():
    return [*measured(DOVIT, wrong=5, costs=(1.0, 1.5, 0.5)), *measured(DENSE), *measured(DYVIT, costs=(1.2, 1.2, 1.2))]


def test_families_stand_together():
    names = ["segmenter_vit_tiny_dense", "setr_crate_dense", "setr_vit_tiny_dovit_xi960", DENSE, "crate", DOVIT]
    found = segmenters_in([record(0.1, model=name) for name in names], ("dovit", "dense", "dovit_xi960"))
    assert found == [DOVIT, DENSE, "setr_vit_tiny_dovit_xi960", "setr_crate_dense", "segmenter_vit_tiny_dense"]
    assert segmenters_in([], ("dense",)) == []


def test_accuracy_beside_cost(records):
    table = accuracy_table("recorded", records, [DENSE, DYVIT, DOVIT, "setr_vit_tiny_plain"], data="camvid")
    rows = ["dense", "DyViT/0.7", "DoViT, ξ = 0.985", "DoViT, neither"]
    assert list(table.index) == [("SETR", "ViT-Ti/16", row) for row in rows]
    table = table["recorded, CamVid"]
    assert list(table["%", "mIoU"]) == [f"44.0{PLUS_MINUS}4.0"] * 3 + ["–"]
    assert list(table["GMACs", "with attention"]) == ["2.000", "1.200", "1.000", "–"]
    saved = list(table["saved (%)", "linear only"])
    assert (saved[0], saved[1], saved[3]) == ("–", f"40.0{PLUS_MINUS}0.0", "–")
    assert saved[2].startswith(f"50.0{PLUS_MINUS}")
    assert saved[2] != f"50.0{PLUS_MINUS}0.0"


def test_parameters_are_those_of_the_network(records):
    table = accuracy_table("recorded", records, [DENSE, DOVIT, DYVIT], data="camvid")["recorded, CamVid"]
    backbone = model_config("vit_tiny_patch16_224", num_classes=0)
    with torch.device("meta"):
        network = DoViT(SegmenterConfig(backbone, CLASSES, policy=Policy("ratio")))
    parts = network.backbone, network.decoder, network.probes, network.predictors
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert list(table["parameters", "million"]) == [f"{(counts[0] + counts[1]) / 1e6:.2f}"] * 3
    added = list(table["parameters", "added (thousand)"])
    assert added == ["–", f"{counts[2] / 1e3:.1f}", f"{counts[3] / 1e3:.1f}"]


def test_parameters_of_what_was_measured(records):
    backbone = model_config("crate_lab_patch8_72", num_classes=0)
    other = SegmenterConfig(backbone, CLASSES, decisions=(2, 3, 5), policy=Policy("confidence"))
    table = accuracy_table("now", records, [DOVIT], data="camvid", configs={DOVIT: other})
    assert float(table["now, CamVid"]["parameters", "million"].item()) < 1


def test_nothing_was_measured(records):
    table = accuracy_table("this run", [], [DENSE, DOVIT], data="camvid")
    assert set(table.to_numpy().flat) == {"–"}
    assert set(accuracy_table("this run", records, [DENSE], data="cityscapes").to_numpy().flat) == {"–"}
    assert accuracy_table("this run", [], [], data="camvid").empty
    assert difference_table([], [], data="camvid").empty


def test_differences_image_by_image(records):
    table = difference_table(records, [DENSE, DYVIT, DOVIT, "setr_vit_tiny_plain"], data="camvid")
    assert [row for *_, row in table.index] == ["DyViT/0.7", "DoViT, ξ = 0.985"]  # neither itself nor the unmeasured
    table = table["minus dense, CamVid"]
    by_name = {one.model: one for one in records if one.metric == "segmentation/miou"}
    expected = greater(by_name[DOVIT], by_name[DENSE]).difference
    assert expected.high is not None
    assert expected.high < 0
    assert list(table["mIoU", "points"]) == ["+0.0", f"{100 * expected.value:+.1f}"]
    assert list(table["GMACs", "GMACs"]) == ["-0.800", "-1.000"]
    assert next(iter(table["GMACs", "95 % interval"])) == "[-0.800,\N{NO-BREAK SPACE}-0.800]"
    assert list(table["", "images"]) == [3, 3]


def test_differences_run_by_run(records):
    again = {DENSE: (0.45, 0.47), DOVIT: (0.43, 0.46)}  # DyViT was trained once
    records += [
        record(value, model=f"{model}_seed{seed}", metric="segmentation/miou", data="camvid", seeds=(seed,))
        for model, values in again.items()
        for seed, value in enumerate(values, start=1)
    ]
    options: dict[str, Any] = {"data": "camvid", "metrics": ["segmentation/miou"], "over": "runs"}
    table = difference_table(records, [DENSE, DYVIT, DOVIT], **options)
    assert [row for *_, row in table.index] == ["DoViT, ξ = 0.985"]
    table = table["minus dense, CamVid"]
    # Differences 0, -0.02, -0.01: mean -0.01, standard error 0.01/√3, t of 2 degrees of freedom 4.303.
    assert table.to_numpy().tolist() == [["-1.0", "[-3.5,\N{NO-BREAK SPACE}+1.5]", 3]]
    (found,) = run_differences(records, [DENSE, DYVIT, DOVIT], data="camvid").items()
    model, (each, interval) = found
    assert model == DOVIT
    assert each == pytest.approx([0, -2, -1])
    assert interval == pytest.approx((-1, -1 - 4.302653 / 3**0.5, -1 + 4.302653 / 3**0.5, 3))


def test_differences_from_another_reference(records):
    table = difference_table(records, [DENSE, DOVIT], data="camvid", reference="dovit", metrics=["cost/gmacs"])
    assert list(table["minus DoViT, CamVid", "GMACs", "GMACs"]) == ["+1.000"]
    assert [row for *_, row in table.index] == ["dense"]


def test_rules_of_merging_have_rows_of_their_own(records):
    names = [DOVIT, f"{DOVIT}_printed", f"{DOVIT}_none"]
    table = accuracy_table("now", records, names, data="camvid")
    rows = ["DoViT, ξ = 0.985", "DoViT, merging as printed", "DoViT, nothing merged"]
    assert [row for *_, row in table.index] == rows


def test_classes_by_group(records):
    groups = {"road": "stuff", "car": "things", "sky": "stuff", "man": "things", "dog": "things"}
    table = class_table(records, [DENSE, DOVIT, "setr_vit_tiny_plain"], groups, data="camvid")
    assert [name for _, name in table.index] == ["road", "sky", "car", "man", "dog"]
    assert [name for *_, name in table.columns] == ["dense", "DoViT, ξ = 0.985"]
    dense = dict(table["SETR", "ViT-Ti/16", "dense"].items())
    # 16 pixels of each image are road, one of which is wrong; none of man is.
    assert dense["stuff", "road"].startswith(f"{100 * 45 / 48:.1f}")
    assert dense["things", "man"] == f"100.0{PLUS_MINUS}0.0"
    with pytest.raises(InputError, match="has 5 classes on camvid, 1 are named"):
        class_table(records, [DENSE], {"road": "stuff"}, data="camvid")


def test_full_sizes():
    table = full_size_table()
    assert len(table) == 2 * 2 * 3
    street = table.loc["Cityscapes", "SETR", "ViT-B/16, DeiT-B/16"]
    linear = 12 * 12 * 8193 * 768**2 + 8192 * 768**2 + 8192 * 256 * (768 + 19)
    attention = 2 * 12 * 8193**2 * 768
    assert street["GMACs", "linear only"] == f"{linear / 1e9:,.1f}"
    assert street["GMACs", "with attention"] == f"{(linear + attention) / 1e9:,.1f}"
    assert street["", "attention's share (%)"] == f"{100 * attention / (linear + attention):.1f}"
    assert street["parameters", "DoViT adds (thousand)"] == f"{3 * (2 * 768 + 769 * 19) / 1e3:.1f}"
    # As tests/metrics/test_segmentation_cost.py has them by hand.
    scenes = table.loc["ADE20K", "SETR", "ViT-L/16"]
    assert (scenes["GMACs", "linear only"], scenes["GMACs", "with attention"]) == ("310.7", "362.3")
    assert scenes["parameters", "million"].startswith("304.")


def test_what_the_paper_says():
    table = statement_table("section 4.3, components", "section 4.2, ADE20K")
    assert list(table["paper"]) == ["0.3 points", "0.2 points", "30 %", "20 %", "less"]
    assert list(table.index.unique()) == ["section 4.3, components", "section 4.2, ADE20K"]
    with pytest.raises(InputError, match=r"no statement of 'section 9': there are section 4\.2, Cityscapes;"):
        statement_table("section 9")


def test_names_that_say_nothing(records):
    with pytest.raises(InputError, match="'vit' names no segmentation model"):
        accuracy_table("recorded", records, ["vit"], data="camvid")
    strange = [record(0.3, model="setr_swin_dense", metric=one.metric, data="camvid", n=3) for one in measured(DENSE)]
    assert strange[0].tallies is None
    tallied = [
        record(
            0.3, model="setr_swin_dense", metric=one.metric, data="camvid", tallies=one.tallies, settings=one.settings
        )
        for one in measured(DENSE)
    ]
    assert "–" in accuracy_table("recorded", strange, ["setr_swin_dense"], data="camvid").iloc[0].to_list()
    with pytest.raises(InputError, match="no model is called swin_patch16_224 or swin_lab_patch8_72"):
        accuracy_table("recorded", tallied, ["setr_swin_dense"], data="camvid")
