"""Claims are read strictly and decided by intervals."""

from dataclasses import replace

import pytest

from tests.tiny import record
from wbcore.claims import Check, Claim, decide, load_claims
from wbcore.errors import InputError
from wbcore.files import ROOT
from wbcore.labels import data_label
from wbcore.recording.artefacts import ARTEFACTS
from wbcore.records import load_records

MIOU = "attention_miou/mass60/layer-1"


def claim(relation="greater", margin=0.0, **other):
    check = Check(MIOU, "cutouts", "crate", relation, "vit", margin)
    return Claim("id", "CRATE", "Table 2", "wording", "table2_ablation", **{"check": check, **other})


def two(left, right, half=0.02):
    values = {"crate": left, "vit": right}
    return [record(value, model=name, low=value - half, high=value + half) for name, value in values.items()]


@pytest.mark.parametrize(
    ("relation", "margin", "left", "right", "verdict"),
    # Intervals of ± 0.02: of the difference ± 0.028.
    [
        ("greater", 0.0, 0.5, 0.4, "holds"),
        ("greater", 0.0, 0.4, 0.5, "fails"),
        ("greater", 0.09, 0.5, 0.4, "undecided"),
        ("within", 0.05, 0.4, 0.41, "holds"),
        ("within", 0.05, 0.41, 0.4, "holds"),
        ("within", 0.05, 0.4, 0.43, "undecided"),
        ("within", 0.05, 0.4, 0.5, "fails"),
        ("within", 0.05, 0.5, 0.4, "fails"),
    ],
)
def test_verdicts(relation, margin, left, right, verdict):
    assert decide(claim(relation, margin), two(left, right)).verdict == verdict


def test_what_cannot_be_decided():
    assert decide(claim(), two(0.5, 0.4)[:1]).verdict == "not measured yet"
    assert decide(claim(check=None, not_testable="too small"), two(0.5, 0.4)).verdict == "not testable here"
    without = [record(value, model=name, low=None, high=None) for name, value in (("crate", 0.4), ("vit", 0.4))]
    assert decide(claim("within", 0.05), without).verdict == "undecided"


def test_seeds_are_counted():
    first = [replace(one, seeds=(0,)) for one in two(0.5, 0.4)]
    records = [*first, record(0.52, seeds=(1,))]
    assert decide(claim(), records).seeds == (2, 1)


def test_three_runs_decide_with_the_images():
    def runs(crate, vit):
        values = {"crate": crate, "vit": vit}
        return [
            record(
                value, model=name + (f"_seed{seed}" if seed else ""), seeds=(seed,), low=value - 0.02, high=value + 0.02
            )
            for name, all_runs in values.items()
            for seed, value in enumerate(all_runs)
        ]

    sure = decide(claim(), runs((0.5, 0.51, 0.52), (0.3, 0.32, 0.31)))
    assert (sure.verdict, sure.over, sure.seeds, sure.comparison.difference.n) == ("holds", "runs", (3, 3), 3)
    wide = decide(claim(), runs((0.5, 0.3, 0.6), (0.3, 0.35, 0.31)))  # the first run alone would say that it holds
    assert wide.verdict == "undecided"
    few_images = decide(claim(), runs((0.31, 0.33, 0.32), (0.3, 0.32, 0.31)))  # ± 0.028 over the images of the first
    assert (few_images.verdict, few_images.over) == ("undecided", "runs")
    assert decide(claim(), runs((0.5, 0.3), (0.3, 0.35))).over == "images"


def test_the_projects_own_claims():
    claims = load_claims()
    assert len({one.id for one in claims}) == len(claims) >= 15
    for one in claims:
        assert one.wording.endswith(".")
        if one.check is not None:
            # Of fractions, a negative one allows a loss; norms have no bound.
            assert -1 < one.check.margin < 1 or one.check.metric == "prefix/norm"
            assert data_label(one.check.data) != one.check.data  # a data set that tables know
    tested = [one.notebook for one in claims if one.check is not None]
    known = {*ARTEFACTS, *(path.stem for path in (ROOT / "notebooks").glob("*.py"))}
    assert {"table2_ablation"} < set(tested)
    assert "fig6_depth" in known


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- [", "is not YAML"),
        ("- {id: a}", "entry 1 is no claim"),
        ("- {id: a, paper: b, place: c, wording: d, notebook: e}", "either a test or the reason"),
        (
            "- {id: a, paper: b, place: c, wording: d, notebook: e, test: {metric: m, data: d, left: l, "
            "relation: less, right: r, margin: 0}}",
            "relation is 'less'",
        ),
        ("- {id: a, paper: b, place: c, wording: d, notebook: e, test: {metric: m}}", "entry 1 is no claim"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "claims.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load_claims(path)
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="missing"):
        load_claims(tmp_path / "none.yaml")


def test_a_name_stands_for_one_network():
    weights = {}
    for one in load_records():
        key = (one.metric, one.model, one.data, one.seeds)
        assert weights.setdefault(key, one.weights_sha256) == one.weights_sha256, f"{key} was measured of two networks"
