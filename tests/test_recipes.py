"""Every recipe is sound, and what no recipe can be is one line that names field, value and remedy."""

import dataclasses
import math

import pytest

from wbcore.cli import _recipe_changes
from wbcore.errors import InputError
from wbcore.recipes import _ALLOWED, RECIPES, Recipe, recipe


def test_recipes_by_name():
    assert recipe("crate_in21k") is RECIPES["crate_in21k"]
    with pytest.raises(InputError, match="unknown recipe 'lab13': did you mean lab12"):
        recipe("lab13")


def test_every_field_has_its_rule():
    assert set(_ALLOWED) == {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize(
    ("setting", "shown", "remedy"),
    [
        ("epochs=0", "0", "a whole number from 1"),
        ("epochs=1.5", "1.5", "a whole number from 1"),
        ("epochs=true", "True", "a whole number from 1"),
        ("batch_size=-8", "-8", "a whole number from 1"),
        ("optimizer=rmsprop", "'rmsprop'", "adamw, lion or sgd"),
        ("learning_rate=nan", "'nan'", "a number above 0"),
        ("learning_rate=NaN", "nan", "a number above 0"),
        ("learning_rate=1e999", "inf", "a number above 0"),
        ("learning_rate=0", "0", "a number above 0"),
        ("weight_decay=-0.1", "-0.1", "a number from 0"),
        ("decay_all=yes", "'yes'", "true or false"),
        ("warmup_epochs=null", "None", "a number from 0"),
        ("label_smoothing=1", "1", "below 1"),
        ("clip_norm=0", "0", "null for no clipping"),
        ("ema_decay=1", "1", "null for no average"),
        ("precision=float16", "'float16'", "float32 or bfloat16"),
        ("compile=1", "1", "true or false"),
        ("crop_scale=0.3", "0.3", "two shares"),
        ("crop_scale=[1, 0.3]", r"\(1, 0.3\)", "the smaller first"),
        ("crop_scale=[0, 1]", r"\(0, 1\)", "above 0"),
        ("rand_augment=[2, 31]", r"\(2, 31\)", "a magnitude of 0 to 30"),
    ],
)
def test_an_impossible_value_is_named(setting, shown, remedy):
    field = setting.partition("=")[0]
    with pytest.raises(InputError, match=f"^recipe field {field}={shown}: give .*{remedy}"):
        _recipe_changes([setting])


def test_changes_from_the_command_line():
    settings = ["crop_scale=[0.2, 1]", "clip_norm=null", "optimizer=lion", "rand_augment=[2, 9]", "learning_rate=1e-4"]
    changed = dataclasses.replace(RECIPES["lab"], **_recipe_changes(settings))
    assert (changed.crop_scale, changed.clip_norm, changed.optimizer) == ((0.2, 1), None, "lion")
    assert (changed.rand_augment, changed.learning_rate) == ((2, 9), 1e-4)
    with pytest.raises(InputError, match="write KEY=VALUE with a KEY among batch_size"):
        _recipe_changes(["lr=3"])


def test_no_rule_lets_a_value_through_that_is_not_finite():
    for name in ("learning_rate", "weight_decay", "warmup_epochs", "label_smoothing", "clip_norm", "ema_decay"):
        for value in (math.nan, math.inf, -math.inf):
            with pytest.raises(InputError, match=f"recipe field {name}="):
                dataclasses.replace(RECIPES["lab"], **{name: value})
