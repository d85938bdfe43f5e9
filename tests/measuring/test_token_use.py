"""What token-pass did with an image: layers, patches, blocks and borders, counted in another way."""

import dataclasses

import numpy as np
import pytest

from tests.stripes import CLASSES, Stripes, stripes_model
from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.measuring import token_use
from wbcore.measuring.segmentation import segment
from wbcore.models.dovit import Policy

POLICY = Policy("confidence", threshold=0.6)


@pytest.fixture(scope="module")
def model():
    return stripes_model()


@pytest.fixture(scope="module")
def found(model):
    data = Stripes()
    return list(segment(model, [data[number] for number in range(len(data))], policy=POLICY))


def test_variants_by_name():
    names = ["setr_crate_dense", "setr_crate_dovit_xi950", "setr_vit_tiny_dovit", "setr_vit_dovit", "blob"]
    assert token_use.of_variant(names, "dovit") == "setr_vit_tiny_dovit"
    with pytest.raises(InputError, match="no dyvit among setr_crate_dense"):
        token_use.of_variant(names, "dyvit")
    with pytest.raises(InputError, match="among no models"):
        token_use.of_variant([], "dovit")


def test_layers_of_each_patch_add_up_to_the_tokens_of_each_layer(model, found):
    for one in found:
        run = token_use.layers_run(one, model.config.decisions)
        assert run.shape == one.grid == (4, 5)
        assert [1 + (run > layer).sum() for layer in range(4)] == list(one.tokens)
    assert len(np.unique(run)) > 1


def test_a_dense_model_runs_every_layer(model):
    (dense,) = segment(model, [Stripes()[0]])
    assert np.array_equal(token_use.layers_run(dense, model.config.decisions), np.full((4, 5), 4))


@pytest.mark.parametrize("decision", [0, 1, 2])
def test_gathered_and_restored_patches_are_the_image_s(found, decision):
    for one in found:
        moved = token_use.passed(one, decision)
        padded = np.pad(one.image, ((0, 3), (0, 1), (0, 0)))
        kept = [
            padded[4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
            for row, col in zip(*np.nonzero(one.keep[decision]), strict=True)
        ]
        assert (moved.kept, moved.of) == (len(kept), 20)
        for number, patch in enumerate(kept):
            row, col = divmod(number, 5)
            assert np.array_equal(moved.gathered[4 * row : 4 * row + 4, 4 * col : 4 * col + 4], patch)
        assert moved.gathered.shape == (4 * -(-len(kept) // 5), 20, 3)
        mask = one.keep[decision].repeat(4, axis=0).repeat(4, axis=1)
        assert np.array_equal(moved.restored, np.where(mask[..., None], padded, 255))


def test_blocks(model, found):
    decisions = model.config.decisions
    for one in found:
        assert token_use.tokens_by_block(one, decisions) == [one.tokens[layer] for layer in (0, 1, 2, 3)]
        assert token_use.tokens_by_block(one, (2,)) == [one.tokens[0], one.tokens[2]]
        gmacs = token_use.gmacs_by_block(one.cost, (1, 3))
        layers = [layer.total / 1e9 for layer in one.cost.blocks]
        assert gmacs == pytest.approx([layers[0], layers[1] + layers[2], layers[3]])
    assert token_use.costs(found) == pytest.approx([one.cost.whole.total / 1e9 for one in found])


def test_pixels_of_classes_and_what_the_cost_goes_with(found):
    pixels = token_use.class_pixels(found, classes=CLASSES)
    expected = [(found[0].example.semantic == number).sum() for number in range(CLASSES)]
    assert pixels.tolist() == [expected] * 3
    pixels = np.array([[50, 0, 50, 0], [30, 1, 69, 0], [10, 1, 89, 0]])
    relations = token_use.cost_relations(np.array([3.0, 2.0, 1.0]), pixels, ("a", "b", "c", "d"))
    assert list(relations) == ["number of classes", "share of a", "share of b", "share of c"]
    assert relations["share of a"].value == pytest.approx(1)
    assert relations["share of c"].value == pytest.approx(-1)
    assert relations["number of classes"].value == pytest.approx(-np.sqrt(3) / 2)


def test_borders_patch_by_patch(found):
    found = [shifted(each, by) for by, each in enumerate(found, start=1)]  # else borders are those of patches
    one = found[0]
    expected = np.zeros((13, 19), bool)
    for row in range(0, 13, 4):
        for col in range(0, 19, 4):
            part = one.example.semantic[row : row + 4, col : col + 4]
            expected[row : row + 4, col : col + 4] = len(np.unique(part[part != VOID])) > 1
    assert np.array_equal(token_use.has_border(one), expected)
    assert 0 < expected.mean() < 1
    kept = token_use.kept_at_borders(found)
    for decision in range(3):
        masks = [(token_use.has_border(each), each.at_pixels(each.keep[decision])) for each in found]
        for name, wanted in (("several classes", True), ("one class", False)):
            chosen = np.concatenate([keep[border == wanted] for border, keep in masks])
            assert kept[name][decision].value == pytest.approx(chosen.mean())


def shifted(found, by):
    semantic = found.example.semantic.copy()
    semantic[:8] = np.roll(semantic[:8], by, axis=1)
    return dataclasses.replace(found, example=dataclasses.replace(found.example, semantic=semantic))


def test_borders_need_an_annotation(model):
    found = list(segment(model, [Stripes(annotated=False)[0]], policy=POLICY))
    for measure in (token_use.kept_at_borders, lambda each: token_use.class_pixels(each, classes=CLASSES)):
        with pytest.raises(InputError, match="stripes/0 has no annotation"):
            measure(found)
