"""What the chapters on single tokens run in the paper's profile, on miniatures of its data sets."""

from dataclasses import asdict, replace

import pytest

from tests import tiny
from tests.data import labelled, miniatures
from wbcore import profiles
from wbcore.checkpoints import ModelCard, save_model
from wbcore.measuring.probe_records import (
    global_records,
    local_records,
    outlier_threshold,
    read_patches,
    read_tokens,
)
from wbcore.models import BackboneConfig
from wbcore.records import Origin


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    miniatures.voc2012(root)
    labelled.cifar10(root)
    name = "vit_reg4_small_patch8_224"
    config = BackboneConfig(image_size=224, patch_size=32, dim=12, depth=2, heads=3, num_registers=4, num_classes=0)
    save_model(tiny.model(config), root / "weights" / f"{name}.safetensors", ModelCard(name, asdict(config), seed=0))
    return root


@pytest.fixture(scope="module")
def paper():
    return replace(profiles.profile("paper"), released=())


def test_patches_of_voc(paper, data_root):
    fit, score = paper.patches
    ((name, model),) = paper.register_models(data_root=data_root).items()
    assert fit.open(data_root).name == "voc2012/train"  # one miniature: too few for a class of each place
    images = replace(fit, split="val").open(data_root), score.open(data_root, 2)
    readings = [read_patches(model, one, size=score.size) for one in images]
    records = local_records(*readings, Origin(name, score.data, "test"), threshold=None)
    assert {(one.data, one.n) for one in records} == {("voc2012", 2)}
    assert {one.model for one in records} == {
        "vit_reg4",
        *(f"vit_reg4_{kind}" for kind in ("normal", "border", "corners")),
    }


def test_names_of_cifar(paper, data_root):
    ((name, model),) = paper.register_models(data_root=data_root).items()
    ((fit, score),) = paper.named_images(data_root)
    images = fit.open(data_root), score.open(data_root)
    threshold = outlier_threshold(model, images[0], size=fit.size)
    tokens = [read_tokens(model, one, threshold=threshold, draws=1, size=fit.size) for one in images]
    records = global_records(*tokens, Origin(name, score.data, "test"), strengths=(0.1,))
    top1 = {one.model: one for one in records if one.metric == "global/top1"}
    assert {one.data for one in records} == {"cifar10"}
    assert {one.n for one in top1.values()} == {3}
    assert len(top1["vit_reg4_register"].settings["choices"]) == 4
