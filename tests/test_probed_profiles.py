"""What the chapters on LOST and linear maps run in each profile, on miniatures of the paper's data sets."""

from dataclasses import asdict, replace

import pytest

from tests import tiny
from tests.data import miniatures
from wbcore import profiles
from wbcore.checkpoints import ModelCard, save_model
from wbcore.measuring.linear_records import classification_records, read, segmentation_records
from wbcore.measuring.lost_records import measure
from wbcore.models import BackboneConfig
from wbcore.records import Origin, select

KINDS = ("boxes", "names", "pixels")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    miniatures.voc2012(root)
    miniatures.ade20k(root)
    miniatures.image_folder(root)
    config = BackboneConfig(
        image_size=224, patch_size=32, dim=12, depth=2, heads=3, num_classes=0, num_registers=4, attention="mhsa"
    )
    name = "vit_reg4_small_patch8_224"
    save_model(tiny.model(config), root / "weights" / f"{name}.safetensors", ModelCard(name, asdict(config), seed=0))
    return root


def test_the_papers_profile_on_miniatures(data_root):
    paper = replace(profiles.profile("paper"), released=())
    ((name, model),) = paper.register_models(data_root=data_root).items()
    assert name == "vit_reg4"
    opened = {kind: paper.open_probed(kind, data_root=data_root, limit=2) for kind in paper.probed}
    assert set(opened) == set(KINDS)
    training, scenes = opened["boxes"]
    boxes = measure(model, training, scenes, Origin(name, "voc2012", "test"), biases=(0.0, 0.1))
    (best,) = select(boxes, metric="corloc", model=name)
    assert best.n == 2
    assert best.settings["chosen_on"] == "voc2012/train"
    names = classification_records(*(read(model, one) for one in opened["names"]), Origin(name, "imagenet", "test"))
    assert {one.n for one in names} == {2}
    fit, score = (read(model, one) for one in opened["pixels"])
    pixels = segmentation_records(fit, score, Origin(name, "ade20k", "test"))
    assert {one.metric for one in pixels} >= {"linear_segmentation/miou", "linear_segmentation/pa"}


def test_scenes_are_composed_once_and_are_those_of_the_measurement():
    lab = profiles.profile("lab")
    tuned, scored = lab.open_probed("boxes", limit=3)
    assert len(scored) == 3
    assert scored[1] is scored[1]
    fit, score = lab.probed["boxes"]
    for kept, plain in ((tuned, fit.open()), (scored, score.open(limit=3))):
        assert (kept.name, kept.fingerprint) == (plain.name, plain.fingerprint)
        assert (kept[2].image == plain[2].image).all()


@pytest.mark.parametrize("profile", ["lab", "paper"])
def test_nothing_is_scored_on_what_it_was_fitted_to(profile):
    for kind, (fit, score) in profiles.profile(profile).probed.items():
        assert kind in KINDS
        assert fit.split != score.split
        assert fit.data == score.data
        if fit.data == "cutouts":
            assert fit.seed != score.seed
