"""Test-time registers on a model whose outliers were planted: what makes them is known."""

from dataclasses import replace

import pytest
import torch

from tests.planted import CONFIG, GRID, LAYER, LENGTH, MINOR, PLACES, UNIT, photographs, planted
from wbcore.errors import InputError
from wbcore.models import Backbone
from wbcore.models.test_time_registers import RegisterNeuron, find_register_neurons, with_test_time_register

THRESHOLD = 50.0
NEURON = RegisterNeuron(LAYER, UNIT, 10.0)


def patch_norms(model, images, layer=-1):
    return model.layout(images).patches(model.tap(images, "tokens", layer)).norm(dim=-1)


@pytest.fixture
def model():
    return planted()


@torch.no_grad()
def test_the_double_has_its_outliers_where_they_were_planted(model):
    images = photographs()
    assert model.layout(images).grid == GRID
    for layer in range(CONFIG.depth):
        norms = patch_norms(model, images, layer)
        expected = [*PLACES] if layer >= LAYER else []
        assert [(row > THRESHOLD).nonzero().flatten().tolist() for row in norms] == [expected] * len(images)
    assert norms[:, PLACES].mean().item() == pytest.approx(LENGTH, rel=0.2)
    assert norms.median() < 10


def test_the_planted_units_are_found(model):
    images = photographs(5)
    found = find_register_neurons(model, images.split(2), threshold=THRESHOLD, top_layer=LAYER, count=11)
    assert [(neuron.layer, neuron.unit) for neuron in found[:2]] == [(LAYER, UNIT), (LAYER, MINOR)]
    activations = [neuron.activation for neuron in found]
    assert activations == sorted(activations, reverse=True)
    assert activations[1] > 10 * activations[2]


@torch.no_grad()
def test_the_score_of_a_unit_by_hand(model):
    """The mean over images of the mean over each image's outliers, where the numbers of outliers differ."""
    images = photographs()
    threshold = patch_norms(model, images)[:, PLACES].flatten().sort().values[4].item()
    (best,) = find_register_neurons(model, [images], threshold=threshold, top_layer=LAYER, count=1)
    norms, layout = patch_norms(model, images), model.layout(images)
    mlp = model.blocks[LAYER].feedforward
    hidden = mlp.activation(mlp.expand(mlp.norm(model.tap(images, "tokens_after_attention", LAYER))))
    activity = layout.patches(hidden)[..., UNIT]
    chosen = [row[norm > threshold] for row, norm in zip(activity, norms, strict=True)]
    means = [row.mean().item() for row in chosen if len(row)]
    assert len({len(row) for row in chosen}) > 1
    assert best.unit == UNIT
    assert best.activation == pytest.approx(sum(means) / len(means))


@pytest.mark.parametrize("registers", [0, 2])
@torch.no_grad()
def test_the_outliers_move_into_the_register(registers):
    model, images = planted(replace(CONFIG, num_registers=registers)), photographs()
    edited = with_test_time_register(model, [NEURON])
    layout, tokens = edited.layout(images), edited.tokens(images)
    assert layout.num_prefix == model.layout(images).num_prefix + 1
    assert layout.patches(tokens).norm(dim=-1).max() < 10
    prefix = layout.prefix(tokens).norm(dim=-1)
    assert prefix[:, -1].min() > 0.8 * LENGTH
    assert prefix[:, :-1].max() < 10
    assert edited(images).shape == (len(images), CONFIG.num_classes)


@torch.no_grad()
def test_a_moved_layer_by_hand(model):
    """Token by token: the register has the largest activation of the unit, all others none; other units stay."""
    edited = with_test_time_register(model, [NEURON])
    block, tokens = edited.blocks[LAYER], torch.randn(2, 2 + 35, CONFIG.dim)
    mlp = model.blocks[LAYER].feedforward
    expected = torch.empty_like(tokens)
    for image, out in zip(tokens, expected, strict=True):
        activity = [mlp.activation(mlp.expand(mlp.norm(token))) for token in image]
        largest = max(one[UNIT].item() for one in activity)
        for place, one in enumerate(activity):
            one[UNIT] = largest if place == 1 else 0
            out[place] = mlp.contract(one)
    torch.testing.assert_close(block.feedforward(tokens), expected)


@torch.no_grad()
def test_without_neurons_a_token_of_zeros_is_all_that_is_new(model):
    images = photographs()
    edited = with_test_time_register(model, [])
    tokens = edited.embed(images)
    assert torch.equal(tokens[:, 1], torch.zeros(len(images), CONFIG.dim))
    assert torch.equal(tokens[:, [0, *range(2, tokens.shape[1])]], model.embed(images))
    trained = Backbone(replace(CONFIG, num_registers=1)).eval()
    trained.load_state_dict({**model.state_dict(), "registers": torch.zeros(1, 1, CONFIG.dim)})
    torch.testing.assert_close(edited(images), trained(images))


@torch.no_grad()
def test_the_model_itself_is_left_as_it_was(model):
    images = photographs()
    before = model(images)
    edited = with_test_time_register(model, [NEURON])
    edited.registers += 1
    assert torch.equal(model(images), before)
    assert model.config == CONFIG


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1e6}, "no patch of any image has a norm above 1000000.0"),
        ({"top_layer": 3}, "top_layer=3: the model has the layers 0 to 2"),
        ({"count": 0}, "count=0"),
        ({"count": 1000}, "layers 0 to 1 have 176 units"),
    ],
)
def test_what_cannot_be_found(model, options, message):
    known = {"threshold": THRESHOLD, "top_layer": LAYER, "count": 3}
    with pytest.raises(InputError, match=message):
        find_register_neurons(model, [photographs()], **{**known, **options})


def test_models_without_such_units(model):
    with pytest.raises(InputError, match="no unit 88 in layer 1"):
        with_test_time_register(model, [RegisterNeuron(1, 88, 1.0)])
    crate = Backbone(replace(CONFIG, attention="mssa", feedforward="ista"))
    with pytest.raises(InputError, match="are ISTA: register neurons are units of an MLP"):
        with_test_time_register(crate, [NEURON])
    edited = with_test_time_register(model, [RegisterNeuron(0, 3, 1.0)])
    with pytest.raises(InputError, match=r"MovedActivity.*no test-time register yet"):
        with_test_time_register(edited, [NEURON])
