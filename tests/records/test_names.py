"""A model's name says what was measured."""

import pytest

from wbcore.records import step_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("crate_layer12", ("crate", "layer", 12)),
        ("crate_mlp_epoch3", ("crate_mlp", "epoch", 3)),
        ("untrained_crate", ("untrained_crate", "", 0)),
        ("crate_layers", ("crate_layers", "", 0)),
    ],
)
def test_the_step_in_a_models_name(name, expected):
    assert step_of(name) == expected
