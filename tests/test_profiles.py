"""The paper's profile on miniatures of its data sets, in their original folder formats."""

import shutil
from dataclasses import asdict, replace

import pytest
import torch

from tests import tiny
from tests.data import labelled, miniatures
from tests.paper_profile import run_notebook
from wbcore import profile, profiles
from wbcore._compat import import_timm
from wbcore.checkpoints import ModelCard, from_timm_vit, save_model
from wbcore.data.registry import DATA_ROOT_VARIABLE
from wbcore.errors import InputError
from wbcore.evaluate import Measurement
from wbcore.models import BackboneConfig

timm = import_timm()
VARIANTS = ("crate", "crate_mlp", "crate_mhsa", "vit")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    miniatures.voc2012(root)
    miniatures.coco2017(root)
    # The names of the paper's models; patches of 32 keep the grids of 224 and 480 px small.
    config = BackboneConfig(image_size=224, patch_size=32, dim=12, depth=2, heads=3, num_classes=0)
    for variant in VARIANTS:
        name = f"{variant}_small_patch8_224"
        save_model(
            tiny.model(config), root / "weights" / f"{name}.safetensors", ModelCard(name, asdict(config), seed=0)
        )
    return root


def test_the_papers_profile_on_miniatures(data_root):
    paper = profiles.profile("paper")
    assert (paper.attention, paper.maskcut) == (
        Measurement("voc2012", "val", 224),
        Measurement("coco2017", "val", 480),
    )
    chosen = VARIANTS[:2]
    subjects = paper.subjects(chosen, data_root=data_root)
    assert [subject.name for subject in subjects] == list(chosen)
    records = paper.measure(subjects, data_root=data_root, command="test")
    kinds = {(record.data, record.metric.split("_")[0]) for record in records}
    assert kinds == {("voc2012", "attention"), ("coco2017", "maskcut")}
    assert {record.n for record in records} == {3}
    assert {record.model for record in records} == set(chosen)
    metrics = {(record.data, record.metric) for record in records}
    assert set(paper.columns(["attention_miou/mass60/layer-1"], ["maskcut_bbox/ap"])) <= metrics
    assert {record.n for record in paper.measure(subjects[:1], data_root=data_root, limit=2, command="test")} == {2}
    only = paper.measure(subjects[:1], data_root=data_root, kinds=("attention",), command="test")
    assert {record.data for record in only} == {"voc2012"}


def test_data_root_from_the_environment(data_root, monkeypatch):
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(data_root))
    assert profiles.profile("paper").trained(VARIANTS) == list(VARIANTS)


def test_one_data_set_is_measured_once(data_root):
    voc = Measurement("voc2012", "val", 224)
    both = replace(profiles.profile("paper"), attention=voc, maskcut=voc)
    records = both.measure(both.subjects(["vit"], data_root=data_root), data_root=data_root, limit=1, command="test")
    assert len({record.metric for record in records}) == len(records)
    assert {record.metric.split("_")[0] for record in records} == {"attention", "maskcut"}
    one = both.measure(
        both.subjects(["vit"], data_root=data_root),
        data_root=data_root,
        limit=1,
        kinds=("attention",),
        command="test",
    )
    assert {record.metric.split("_")[0] for record in one} == {"attention"}


def test_models_of_the_chapters_on_registers(data_root, monkeypatch):
    """Ours whose weights are here, and released ones: from a file below the data root, or fetched."""
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    theirs = timm.create_model(name, embed_dim=6, num_heads=2, depth=1, num_classes=0)
    fetched = []

    def fetch(name):
        fetched.append(name)
        return from_timm_vit(theirs)

    monkeypatch.setattr(profile, "from_timm_vit_pretrained", fetch)
    paper = replace(profiles.profile("paper"), released=(name,))
    found = paper.register_models(data_root=data_root)
    assert (list(found), fetched) == (["vit", "crate", name], [name])
    assert not any(model.training for model in found.values())
    path = data_root / "weights" / f"{name}.pth"
    torch.save(timm.create_model(name).state_dict(), path)
    try:
        assert paper.register_models(data_root=data_root)[name].config.dim == 192
    finally:
        path.unlink()
    assert fetched == [name]


def test_without_data_root(monkeypatch):
    monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)
    with pytest.raises(InputError, match=f"profile 'paper' needs data_root .or {DATA_ROOT_VARIABLE}.*crate_small"):
        profiles.profile("paper").subjects(VARIANTS)


def test_missing_weights_are_named_with_the_command_that_makes_them(tmp_path):
    paper = profiles.profile("paper")
    for ask in (paper.subjects, paper.trained):
        with pytest.raises(InputError, match="wbcore train crate_small_patch8_224") as caught:
            ask(VARIANTS, data_root=tmp_path)
        assert str(tmp_path / "weights" / "crate_small_patch8_224.safetensors") in str(caught.value)


def test_missing_data_are_named(data_root, tmp_path):
    shutil.copytree(data_root / "weights", tmp_path / "weights")
    paper = profiles.profile("paper")
    subjects = paper.subjects(["crate"], data_root=tmp_path)
    with pytest.raises(InputError, match=f"voc2012 is not below data_root {tmp_path}: expected .*VOC2012"):
        paper.measure(subjects, data_root=tmp_path, command="test")


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory):
    """CIFAR-10 and Pets with the fine-tuned weights of one model each."""
    root = tmp_path_factory.mktemp("fine_tuned")
    labelled.cifar10(root)
    labelled.pets(root)
    for name, classes in (("crate_tiny_patch8_224-cifar10", 10), ("vit_base_patch8_224-pets", 3)):
        config = BackboneConfig(image_size=224, patch_size=32, dim=12, depth=2, heads=3, num_classes=classes)
        save_model(
            tiny.model(config), root / "weights" / f"{name}.safetensors", ModelCard(name, asdict(config), seed=0)
        )
    return root


def test_fine_tuned_models_are_measured_where_they_are(fine_tuned):
    records = profiles.profile("paper").recognise(data_root=fine_tuned, command="test")
    assert [(one.model, one.data, one.n) for one in records] == [("crate_tiny", "cifar10", 3), ("vit_base", "pets", 4)]
    assert {one.metric for one in records} == {"top1"}
    (one, _) = profiles.profile("paper").recognise(data_root=fine_tuned, limit=2, command="test")
    assert one.n == 2


def test_no_fine_tuned_model_at_all(tmp_path, monkeypatch):
    paper = profiles.profile("paper")
    expected = r"crate_tiny_patch8_224-imagenet.safetensors is missing, .*fine-tune crate_tiny_patch8_224 on imagenet"
    with pytest.raises(InputError, match=expected):
        paper.recognise(data_root=tmp_path, command="test")
    monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)
    with pytest.raises(InputError, match=r"needs data_root .*crate_tiny_patch8_224-imagenet"):
        paper.recognise(command="test")


def test_unknown_profile():
    with pytest.raises(InputError, match="unknown profile 'laboratory': choose one of lab, paper"):
        profiles.profile("laboratory")


@pytest.mark.parametrize(
    ("notebook", "data"),
    [("table2_ablation", "data_root"), ("sensitivity", "data_root"), ("table3_transfer", "fine_tuned")],
)
def test_the_notebook_runs_on_the_papers_data(notebook, data, tmp_path, request):
    run_notebook(notebook, request.getfixturevalue(data), tmp_path)


def test_names_are_asked_of_what_is_there(fine_tuned, tmp_path, monkeypatch):
    lab, paper = profiles.profile("lab"), profiles.profile("paper")
    assert lab.named_images() == list(lab.one_token)
    assert [fit.data for fit, _ in paper.named_images(fine_tuned)] == ["cifar10", "pets"]
    with pytest.raises(InputError, match="imagenet is not below data_root"):
        paper.named_images(tmp_path)
    monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)
    with pytest.raises(InputError, match="imagenet needs data_root"):
        paper.named_images()


@pytest.mark.parametrize("name", ["lab", "paper"])
def test_no_token_is_scored_on_what_was_fitted_on(name):
    chosen = profiles.profile(name)
    for fit, score in (chosen.patches, *chosen.one_token):
        assert fit.data == score.data
        assert fit.split != score.split
        assert fit.data != "cutouts" or fit.seed != score.seed
