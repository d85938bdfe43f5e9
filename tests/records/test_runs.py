"""Training runs by hand: under one name, and paired by their seeds."""

import math

import pytest

from tests.tiny import record
from wbcore.errors import InputError
from wbcore.records import greater_by_run, over_seeds, runs_of, select


def runs(model, values, first=0):
    names = [model, *(f"{model}_seed{seed}" for seed in range(1, 9))]
    return [record(value, model=names[seed], seeds=(seed,)) for seed, value in enumerate(values, start=first)]


def test_runs_have_the_plain_name():
    others = [record(0.9, model=name, seeds=(0,)) for name in ("crate_mlp", "crate_layer3", "crate_imagenette")]
    found = runs_of([*runs("crate", (0.5, 0.4, 0.6)), *others], ["crate"])
    assert [(one.model, one.seeds, one.value) for one in found] == [
        ("crate", (0,), 0.5),
        ("crate", (1,), 0.4),
        ("crate", (2,), 0.6),
    ]
    assert over_seeds(select(found, model="crate")).value == pytest.approx(0.5)


def test_pairs_of_runs():
    left, right = runs("crate", (0.5, 0.44, 0.53)), runs("vit", (0.4, 0.42, 0.5, 0.9))  # the fourth has no partner
    comparison = greater_by_run(left, right)
    # Differences 0.10, 0.02, 0.03: mean 0.05, standard error √(0.0038/2/3), t of 2 degrees of freedom 4.303.
    half = 4.302653 * math.sqrt(0.0038 / 2 / 3)
    assert comparison.difference == pytest.approx((0.05, 0.05 - half, 0.05 + half, 3))
    assert comparison.verdict == "undecided"
    assert greater_by_run(left, right, margin=0.2).verdict == "fails"
    assert greater_by_run(left, runs("vit", (0.1, 0.05, 0.14))).verdict == "holds"


def test_one_pair_says_nothing_of_others():
    assert greater_by_run(runs("crate", (0.5,)), runs("vit", (0.1, 0.2))).verdict == "undecided"
    with pytest.raises(InputError, match="no seed stands behind both"):
        greater_by_run(runs("crate", (0.5,)), runs("vit", (0.1,), first=1))
