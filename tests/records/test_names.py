"""A model's name says what was measured."""

import pytest

from wbcore.records import segmenter_of, step_of


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


def test_a_further_run_is_no_segmentation_model_of_its_own():
    for name in ("setr_vit_tiny_dovit", "setr_vit_tiny_dovit_xi950", "segmenter_crate_dyvit70"):
        assert segmenter_of(name) is not None
        assert segmenter_of(f"{name}_seed1") is None
