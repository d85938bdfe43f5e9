"""DoViT's paper profile on miniatures of Cityscapes and ADE20K, in their original folder formats."""

from dataclasses import asdict, replace

import pytest
import torch

from tests.data import miniatures
from tests.paper_profile import run_notebook
from wbcore import profiles
from wbcore.checkpoints import ModelCard, save_model
from wbcore.errors import InputError
from wbcore.files import ROOT
from wbcore.measuring.segmentation import View
from wbcore.models.backbone import BackboneConfig
from wbcore.models.dovit import DoViT, Policy, SegmenterConfig

CLASSES = {"street": 19, "scenes": 150}
POLICIES = {"dense": Policy(), "dovit": Policy("confidence", threshold=0.5)}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Both data sets, and for each a dense SETR with ViT-B and its DoViT."""
    root = tmp_path_factory.mktemp("data")
    miniatures.cityscapes(root)
    miniatures.ade20k(root)
    backbone = BackboneConfig(image_size=224, patch_size=32, dim=12, depth=4, heads=3, attention="mhsa", num_classes=0)
    for scenery, classes in CLASSES.items():
        for variant, policy in POLICIES.items():
            torch.manual_seed(0)
            config = SegmenterConfig(backbone, classes, decisions=(1, 2, 3), policy=policy)
            name = f"{scenery}_setr_vit_base_{variant}"
            path = root / "weights" / f"{name}.safetensors"
            save_model(DoViT(config), path, ModelCard(name, asdict(config), seed=0))
    return root


@pytest.mark.parametrize(("scenery", "data"), [("street", "cityscapes"), ("scenes", "ade20k")])
def test_models_are_measured_under_their_own_policy(data_root, scenery, data):
    paper = profiles.profile("paper")
    assert paper.segmentations[scenery].view.window is not None  # as in the official configurations
    small = {name: replace(plan, view=View(64, (64, 40))) for name, plan in paper.segmentations.items()}
    records = replace(paper, segmentations=small).segment(scenery, data_root=data_root, limit=2, command="test")
    assert {record.model for record in records} == {"setr_vit_base_dense", "setr_vit_base_dovit"}
    assert {record.data for record in records} == {data}
    assert {record.n for record in records} == {2}
    by_model = {record.model: record.settings["policy"]["kind"] for record in records}
    assert by_model == {"setr_vit_base_dense": "dense", "setr_vit_base_dovit": "confidence"}


def test_no_model_at_all(tmp_path):
    with pytest.raises(InputError, match=r"street_setr_vit_large_dense.safetensors is missing, .*dovit_cityscapes"):
        profiles.profile("paper").segment("street", data_root=tmp_path, command="test")


def test_the_lab_ships_no_street_model():
    assert profiles.profile("lab").segment("street", command="test") == []


@pytest.mark.parametrize("notebook", sorted(path.stem for path in (ROOT / "notebooks").glob("dovit_*.ipynb")))
def test_the_notebook_runs_on_the_papers_data(notebook, data_root, tmp_path):
    run_notebook(notebook, data_root, tmp_path)
