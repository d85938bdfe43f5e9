"""Weights out and in again; and whatever goes wrong, one clear line and nothing lost."""

import dataclasses
import errno
import json
import os
import pickle
import re
import tempfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from wbcore.checkpoints import (
    ModelCard,
    card_path,
    load_model,
    load_weights,
    read_card,
    read_safetensors,
    save_model,
)
from wbcore.errors import InputError
from wbcore.models.backbone import Backbone, BackboneConfig
from wbcore.models.zoo import create_model

CONFIG = BackboneConfig(image_size=(15, 35), patch_size=5, num_classes=7, dim=22, depth=2, heads=2, num_registers=3)
CARD = ModelCard(name="small", config={}, data={"name": "cutouts"}, seed=3, commit="abc", metrics={"top1": 0.5})


def make(seed=0, **options):
    torch.manual_seed(seed)
    return Backbone(dataclasses.replace(CONFIG, **options)).eval()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "small.safetensors"


@pytest.fixture
def saved(path):
    save_model(make(), path, CARD)
    return path


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def assert_one_line(error, *words):
    assert len(str(error.value).splitlines()) == 1
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("registers", [0, 3])
def test_round_trip(path, registers):
    model = make(num_registers=registers)
    save_model(model, path, CARD)
    again, card = load_model(path)
    assert again.config == model.config
    assert not again.training
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    expected = dataclasses.replace(CARD, config=card.config, weights_sha256=card.weights_sha256)
    assert card == expected
    assert sorted(contents(path.parent)) == ["small.json", "small.safetensors"]


def test_a_device_that_is_not_there(saved):
    with pytest.raises(InputError, match="device='gpu' is not to be had"):
        load_model(saved, device="gpu")


def test_half_precision_halves_the_file_and_is_widened_again(saved, tmp_path):
    half = tmp_path / "half.safetensors"
    save_model(make(), half, CARD, dtype=torch.float16)
    assert half.stat().st_size < 0.6 * saved.stat().st_size
    again, _ = load_model(half)
    for name, tensor in make().state_dict().items():
        assert again.state_dict()[name].dtype == torch.float32
        assert torch.equal(again.state_dict()[name], tensor.half().float())


@pytest.mark.parametrize("registers", [0, 3])
def test_eight_bits_quarter_the_file_and_miss_by_half_a_step(tmp_path, registers):
    eighth, whole = tmp_path / "eight.safetensors", make(num_registers=registers)
    with torch.no_grad():
        whole.blocks[0].attention.subspaces.weight[3] = 0  # a row of zeros has no step
    save_model(whole, eighth, CARD, dtype=torch.int8)
    stored = read_safetensors(eighth)
    again, _ = load_model(eighth)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(stored[name], again.state_dict()[name])
        if tensor.ndim < 2:
            assert torch.equal(again.state_dict()[name], tensor)
        else:
            half_step = tensor.abs().amax(-1, keepdim=True) / 254
            assert ((again.state_dict()[name] - tensor).abs() <= half_step * 1.0001).all()
    numbers = sum(tensor.numel() for tensor in whole.state_dict().values())
    vectors = sum(
        tensor[..., 0].numel() if tensor.ndim > 1 else tensor.numel() for tensor in whole.state_dict().values()
    )
    assert eighth.stat().st_size < numbers + 4 * vectors + 5000  # a header of names and shapes


def test_card_is_readable_json(saved):
    document = json.loads(card_path(saved).read_text())
    assert document["config"]["dim"] == 22
    assert BackboneConfig.from_dict(document["config"]) == CONFIG
    assert len(document["weights_sha256"]) == 64


def test_weights_by_name(path):
    model = create_model("crate_lab_patch8_72", depth=1, num_classes=5)
    save_model(model, path, CARD)
    again = create_model("crate_lab_patch8_72", weights=path, depth=1, num_classes=5)
    image = torch.randn(1, 3, 72, 72)
    assert torch.equal(again(image), model(image))
    with pytest.raises(InputError, match=r"head\.weight has shape \(5, 192\), the model needs \(7, 192\)"):
        create_model("crate_lab_patch8_72", weights=path, depth=1, num_classes=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 3}, r"lacks blocks\.2\."),
        ({"depth": 1}, r"has an unknown tensor blocks\.1\."),
        ({"num_classes": 5}, r"head\.weight has shape \(7, 22\), the model needs \(5, 22\)"),
        ({"num_registers": 0}, r"registers has shape \(1, 3, 22\), the model needs \(1, 0, 22\)"),
        ({"attention": "mhsa"}, r"lacks blocks\.0\.attention\.qkv\.weight"),
    ],
)
def test_weights_of_another_architecture(saved, options, message):
    model = make(1, **options)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=message) as error:
        load_weights(model, saved)
    assert_one_line(error, str(saved))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 0.5, 0.999])
def test_truncated_file(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match="is damaged or cut short") as error:
        read_safetensors(saved)
    assert_one_line(error, str(saved), "copy it again")


@pytest.mark.parametrize("write", ["zip", "legacy", "pickle"])
def test_pickles_are_refused_unread(path, write):
    state = make().state_dict()
    if write == "pickle":
        path.write_bytes(pickle.dumps({"weights": 3}))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=write == "zip")
    with pytest.raises(InputError, match="is a pickle, not safetensors") as error:
        read_safetensors(path)
    assert_one_line(error, str(path), "from_official_crate_file")


@pytest.mark.parametrize("header", [0x280, 0x4B50])
def test_a_header_that_begins_as_a_pickle_does(path, header):
    """A safetensors file begins with the length of its header: 640 looks like a pickle, 19280 like a zip archive."""
    tensors = {"weight": torch.arange(3.0)}
    save_file(tensors, path)
    plain = int.from_bytes(path.read_bytes()[:8], "little")
    save_file(tensors, path, metadata={"note": "x" * (header - plain - len(',"__metadata__":{"note":""}'))})
    assert path.read_bytes()[:2] in (b"\x80\x02", b"PK")
    assert torch.equal(read_safetensors(path)["weight"], tensors["weight"])


def test_missing_files(saved, tmp_path):
    with pytest.raises(InputError, match="is missing") as error:
        read_safetensors(tmp_path / "none.safetensors")
    assert_one_line(error, "none.safetensors")
    card_path(saved).unlink()
    with pytest.raises(InputError, match=re.escape(f"{card_path(saved)} is missing")):
        load_model(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b'{"nome": "small"}', b"\xff\xfe\x00", b"3"])
def test_damaged_card(saved, content):
    card_path(saved).write_bytes(content)
    with pytest.raises(InputError, match="is not a model card") as error:
        read_card(saved)
    assert_one_line(error, "small.json")


def test_weights_and_card_that_do_not_belong_together(saved, tmp_path):
    other = tmp_path / "other.safetensors"
    save_model(make(1), other, CARD)
    saved.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_model(saved)


def failing(number, *, at=1, real=None):
    """A system call that fails with ``number`` when it is called for the ``at``-th time."""
    calls = []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            raise OSError(number, os.strerror(number))
        assert real is not None
        return real(*args, **kwargs)

    return call


@pytest.mark.parametrize(
    ("module", "name", "number", "at", "remedy"),
    [
        (os, "fsync", errno.ENOSPC, 1, "the disk is full"),
        (tempfile, "mkstemp", errno.EROFS, 1, "the folder is read-only"),
        (tempfile, "mkstemp", errno.ENOSPC, 2, "the disk is full"),
    ],
)
def test_failed_writing_loses_nothing(saved, monkeypatch, module, name, number, at, remedy):
    before = contents(saved.parent)
    monkeypatch.setattr(module, name, failing(number, at=at, real=getattr(module, name)))
    with pytest.raises(InputError, match=f"was not written: {remedy}") as error:
        save_model(make(1), saved, CARD)
    assert_one_line(error, "small.")
    monkeypatch.undo()
    assert contents(saved.parent) == before
    assert torch.equal(load_model(saved)[0].class_token, make().class_token)


def test_saved_file_is_plain_safetensors(saved):
    assert load_file(saved).keys() == make().state_dict().keys()
