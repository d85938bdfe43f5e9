"""Fine-tuning keeps everything but the head, and says where it began."""

from dataclasses import asdict, replace

import pytest
import torch

from tests import tiny
from wbcore.checkpoints import ModelCard, save_model
from wbcore.errors import InputError
from wbcore.files import sha256
from wbcore.recipes import Recipe
from wbcore.train import Trainer
from wbcore.transfer import origin, start_from


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(tiny.model(), path, ModelCard("body", asdict(tiny.CONFIG), seed=0, training={"seconds": 3.0}))
    return path


def test_only_the_head_is_new(weights):
    other = tiny.model(replace(tiny.CONFIG, num_classes=7), seed=1)
    head = {name: tensor.clone() for name, tensor in other.state_dict().items() if name.startswith("head.")}
    start_from(other, weights)
    expected = {**tiny.model().state_dict(), **head}
    assert head
    assert all(torch.equal(tensor, expected[name]) for name, tensor in other.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 1}, r"model\.safetensors has an unknown tensor blocks\.1"),
        ({"depth": 3}, r"model\.safetensors lacks blocks\.2"),
        ({"image_size": 32}, r"model\.safetensors: position has shape"),
    ],
)
def test_another_architecture_is_named(weights, change, message):
    with pytest.raises(InputError, match=message):
        start_from(tiny.model(replace(tiny.CONFIG, **change)), weights)


def test_the_card_names_the_start(weights, tmp_path):
    network = tiny.model(seed=1)
    start_from(network, weights)
    recipe = Recipe(epochs=1, batch_size=8, precision="float32")
    trainer = Trainer(
        network, tiny.ColourBatches(), recipe, output=tmp_path, name="tuned", device="cpu", start=origin(weights)
    )
    assert trainer.card({}).training["start"] == {"name": "body", "weights_sha256": sha256(weights)}
