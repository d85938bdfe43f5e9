"""Evaluation gives 1 to what is right, little to what has not looked, and stops at what is broken."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import tiny
from wbcore.data.example import Example
from wbcore.errors import InputError
from wbcore.evaluate import Measurement, cut, heads, look, noisy_example, parts, segmentation
from wbcore.showing import resize
from wbcore.subjects import Reading, Subject, add_noise, baseline_subject, model_subject, noisy, refined, shrunk

SIZE, PATCH = 40, 8
GRID = (5, 5)


class Squares:
    """Images with objects that fill whole tokens; ``empty`` images have none."""

    name, classes, fingerprint = "squares", ("background", "one", "two"), "0" * 64

    def __init__(self, *, empty=1, count=4, annotated=True):
        self.empty, self.count, self.annotated = empty, count, annotated

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        instances = np.zeros((2, SIZE, SIZE), bool)
        instances[0, 8 : 16 + 8 * (index % 2), 0:16] = True
        instances[1, 24:40, 24:40] = True
        if index < self.empty:
            instances = instances[:0]
        semantic = (instances * np.arange(1, len(instances) + 1)[:, None, None]).sum(axis=0).astype(np.uint8)
        image = np.full((SIZE, SIZE, 3), index, np.uint8)
        if not self.annotated:
            return Example(name=str(index), image=image)
        categories = np.arange(1, len(instances) + 1)
        crowd = np.zeros(len(instances), bool)
        return Example(str(index), image, semantic=semantic, instances=instances, categories=categories, crowd=crowd)


def truth_subject(dataset):
    """Attention and masks are the annotation itself; the image's value says which one it is."""

    def read(images):
        attention, masks = torch.zeros(len(images), 2, 25), torch.zeros(len(images), 2, *GRID, dtype=torch.bool)
        for row, image in enumerate(images):
            for place, mask in enumerate(dataset[int(image[0, 0, 0])].instances):
                masks[row, place] = torch.from_numpy(mask[4::8, 4::8])
                attention[row, place] = masks[row, place].flatten() / masks[row, place].sum()
        return Reading({-1: attention}, GRID, lambda: masks)

    return Subject("truth", read)


def measured(subject, dataset):
    records = segmentation(subject, dataset, data="squares", size=SIZE, command="test")
    return {record.metric: record for record in records}


@pytest.fixture
def whole_mass(monkeypatch):
    """Rules that keep an object whole: 60 % of the mass of an even object are 60 % of its tokens."""
    monkeypatch.setattr("wbcore.evaluate.RULES", {"mass60": lambda attn: attn > 0})


@pytest.mark.usefixtures("whole_mass")
def test_the_truth_scores_one():
    dataset = Squares(empty=1)
    found = measured(truth_subject(dataset), dataset)
    assert set(found) == {
        "attention_miou/mass60/layer-1",
        "attention_jaccard/mass60/layer-1",
        *(f"maskcut_{kind}/{name}" for kind in ("bbox", "segm") for name in ("ap", "ap50", "ap75")),
    }
    for record in found.values():
        assert record.value == pytest.approx(1)
    attention = found["attention_miou/mass60/layer-1"]
    assert attention.n == 3
    assert attention.values == (1.0, 1.0, 1.0)
    assert attention.settings["images_without_object"] == 1
    assert found["maskcut_segm/ap"].n == 4


class Corners(Squares):
    """One object in the first corner of each image, ``sides`` pixels high and wide; none where that is 0."""

    def __init__(self, *sides):
        super().__init__(count=len(sides))
        self.sides = sides

    def __getitem__(self, index):
        semantic = np.zeros((SIZE, SIZE), np.uint8)
        semantic[: self.sides[index], : self.sides[index]] = 1
        return Example(str(index), np.zeros((SIZE, SIZE, 3), np.uint8), semantic=semantic)


def corner_subject():
    """All attention on the first token."""
    attention = torch.zeros(2, 25)
    attention[:, 0] = 1
    return Subject("corner", lambda images: Reading({-1: attention.expand(len(images), 2, 25)}, GRID, lambda: None))


def test_an_object_too_small_to_win_a_token_counts_at_pixels():
    # Of the first token's 64 pixels the objects have 16, 0, 64, 25 and 36; from 33 on they win it.
    found = measured(corner_subject(), Corners(4, 0, 8, 5, 6))
    tokens, pixels = (found[f"attention_{name}/mass60/layer-1"] for name in ("miou", "jaccard"))
    assert tokens.values == (1, 1)
    assert pixels.values == (0.25, 1, 0.3906, 0.5625)
    assert pixels.value == (16 + 64 + 25 + 36) / 64 / 4
    for record in found.values():
        assert record.n == len(record.values)
        assert record.settings["images_without_object"] == 5 - record.n


def test_where_no_object_wins_a_token_there_is_no_record_on_the_token_grid():
    found = measured(corner_subject(), Corners(0, 4))
    assert set(found) == {"attention_jaccard/mass60/layer-1"}
    assert found["attention_jaccard/mass60/layer-1"].values == (0.25,)
    with pytest.raises(InputError, match="squares has no object in any of its 2 images"):
        measured(corner_subject(), Corners(0, 0))


def test_records_say_what_they_stand_on():
    dataset = Squares()
    subject = replace(truth_subject(dataset), seed=3, weights_sha256="f" * 64)
    for record in measured(subject, dataset).values():
        assert (record.model, record.data, record.data_sha256) == ("truth", "squares", "0" * 64)
        assert (record.seeds, record.weights_sha256, record.command) == ((3,), "f" * 64, "test")
        assert record.settings["dataset"] == "squares"
        assert record.settings["size"] == SIZE
        assert record.device
        assert record.seconds is not None


@pytest.mark.parametrize("name", ["random_heads", "centred_blob"])
def test_baselines_do_not_look_and_do_not_score_one(name):
    one = torch.zeros(3, 3, SIZE, SIZE, dtype=torch.uint8)
    first, second = (baseline_subject(name, patch_size=PATCH).read(images) for images in (one, one + 100))
    assert torch.equal(first.attention[-1], second.attention[-1])
    assert first.masks.shape[-2:] == GRID
    for metric, record in measured(baseline_subject(name, patch_size=PATCH), Squares()).items():
        assert 0 <= record.value < 0.8, metric


def test_noise_falls_on_its_share_of_the_pixels():
    seen = []
    spy = Subject("spy", lambda images: seen.append(images) or Reading({}, GRID, lambda: None))
    images = torch.full((7, 3, 53, 59), 128, dtype=torch.uint8)
    noisy(spy, sigma=20, share=0.3).read(images)
    (shown,) = seen
    changed = (shown != images).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert (shown.float() - 128)[changed[:, None].expand_as(shown)].std().item() == pytest.approx(20, rel=0.05)
    noisy(spy, sigma=20, share=0.0).read(images)
    assert torch.equal(seen[1], images)
    noisy(spy, sigma=20, share=0.3).read(images)
    assert torch.equal(seen[2], shown)  # a seed, so the same noise
    with pytest.raises(InputError, match="share of 30"):
        noisy(spy, sigma=20, share=30)


def test_objects_are_searched_only_when_asked_for():
    def fail():
        raise AssertionError("MaskCut was run")

    dataset = Squares()
    careful = Subject("truth", lambda images: replace(truth_subject(dataset).read(images), find=fail))
    records = segmentation(careful, dataset, data="squares", size=SIZE, command="test", kinds=("attention",))
    assert {record.metric.split("_")[0] for record in records} == {"attention"}
    records = segmentation(
        truth_subject(dataset), dataset, data="squares", size=SIZE, command="test", kinds=("maskcut",)
    )
    assert {record.metric.split("_")[0] for record in records} == {"maskcut"}


def test_an_unknown_baseline():
    with pytest.raises(InputError, match="unknown baseline 'corner'"):
        baseline_subject("corner", patch_size=8)


def test_an_untrained_model_is_measured_at_every_layer_and_rule():
    subject = model_subject(tiny.model(), name="untrained_crate", seed=0)
    found = measured(subject, Squares())
    rules = ("mass60", "entries60", "entries20")
    assert {f"attention_miou/{rule}/layer{layer}" for rule in rules for layer in (-2, -1)} < set(found)
    for record in found.values():
        assert 0 <= record.value < 0.8
    again = measured(subject, Squares())
    assert {metric: record.value for metric, record in again.items()} == {m: r.value for m, r in found.items()}


def test_registers_are_no_patches():
    subject = model_subject(tiny.model(replace(tiny.CONFIG, num_registers=3)), name="crate")
    reading = subject.read(torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8))
    assert reading.attention[-1].shape == (2, 3, 25)
    assert reading.masks.shape == (2, 3, *GRID)


def test_a_shrunk_subject_sees_what_resize_makes():
    seen = []
    spy = Subject("spy", lambda images: seen.append(images) or Reading({}, GRID, lambda: None))
    image = np.random.default_rng(0).integers(0, 256, (53, 53, 3)).astype(np.uint8)
    shrunk(spy, size=24).read(resize(image, 53)[None])
    assert torch.equal(seen[0][0], resize(image, 24))


def test_refined_masks_are_those_of_the_image_that_is_shown(monkeypatch):
    """With a CRF that keeps the bright pixels of each mask: every object of the picture, cut to its stripe."""
    monkeypatch.setattr("wbcore.subjects.refine", lambda masks, image: masks & (image[..., 0] > 99))
    dataset = Squares()
    subject = refined(truth_subject(dataset))
    images = torch.stack([resize(dataset[index].image, SIZE) for index in (1, 2)])
    images[:, :, :, 8:] += 100
    masks = subject.read(images).masks
    assert masks.shape == (2, 2, SIZE, SIZE)
    for mask, index in zip(masks, (1, 2), strict=True):
        expected = dataset[index].instances.copy()
        expected[:, :, :8] = False
        assert np.array_equal(mask.numpy(), expected)


def test_records_say_how_masks_were_made(monkeypatch):
    monkeypatch.setattr("wbcore.subjects.refine", lambda masks, _image: masks)
    plain = measured(model_subject(tiny.model(), name="crate", tau=0.3, affinity="dot"), Squares())["maskcut_segm/ap"]
    assert plain.settings == {
        **{"dataset": "squares", "size": SIZE, "scores": "constant", "crf": False},
        **{"tau": 0.3, "affinity": "dot", "peak": "positive", "num_masks": 3},
    }
    crf = measured(refined(model_subject(tiny.model(), name="crate")), Squares())
    assert crf["maskcut_segm/ap"].settings["crf"]
    assert "tau" not in crf["attention_miou/mass60/layer-1"].settings


def test_features_that_are_not_finite_are_refused():
    model = tiny.model()
    with torch.no_grad():
        model.position.fill_(float("nan"))
    with pytest.raises(InputError, match=r"finite|NaN"):
        measured(model_subject(model, name="crate"), Squares())


def test_a_size_that_the_patch_does_not_divide():
    with pytest.raises(InputError, match="8"):
        segmentation(model_subject(tiny.model(), name="crate"), Squares(), data="squares", size=41, command="test")


def test_data_without_masks():
    with pytest.raises(InputError, match="squares has neither classes nor objects"):
        measured(model_subject(tiny.model(), name="crate"), Squares(annotated=False))


def test_data_where_no_image_has_an_object():
    with pytest.raises(InputError, match="no object"):
        measured(model_subject(tiny.model(), name="crate"), Squares(empty=4))


def test_a_look_names_the_head():
    dataset = Squares(empty=0)
    plain = Example("plain", dataset[0].image)
    shown = look(truth_subject(dataset), [dataset[0], plain], size=SIZE)
    assert shown[0].caption.startswith("head ")
    assert shown[1].caption == "mean of heads"
    assert shown[0].heat.shape == GRID


def test_a_look_without_masks_does_not_search_for_them():
    def fail():
        raise AssertionError("MaskCut was run")

    dataset = Squares(empty=0)
    careful = Subject("truth", lambda images: replace(truth_subject(dataset).read(images), find=fail))
    (shown,) = look(careful, [dataset[0]], size=SIZE, masks=False)
    assert shown.masks is None
    assert np.array_equal(shown.heat, look(truth_subject(dataset), [dataset[0]], size=SIZE)[0].heat)


def test_a_heat_map_is_cut_to_a_mask():
    dataset = Squares(empty=0)
    (shown,) = look(truth_subject(dataset), [dataset[0]], size=SIZE, masks=False, rule="entries20")
    # 5 of 25 tokens: under either head all of its object, so the one with 4 tokens has 4 of the 7 it shares with all 6.
    assert shown.caption == "head 1, IoU 57 %"
    by_mass, by_entries = cut([shown])[0], cut([shown], rule="entries20")[0]
    assert by_mass.heat is None
    assert by_mass.caption == shown.caption
    assert by_mass.masks.shape == (1, *GRID)
    assert [int(one.masks.sum()) for one in (by_mass, by_entries)] == [3, 5]
    assert by_entries.masks[0][shown.heat > 0].all()
    with pytest.raises(InputError, match="without a heat map"):
        cut([by_mass])


def test_every_head_is_shown_with_its_fit():
    dataset = Squares(empty=0)
    plain = Example("plain", dataset[1].image)
    annotated, bare = heads(truth_subject(dataset), [dataset[0], plain], size=SIZE)
    # Objects of 2 and 4 tokens, each even under one head.  60 % of its mass: 2 and 3 tokens of the 6 of both together.
    assert [one.caption for one in annotated] == ["IoU 33 %", "IoU 50 %"]
    assert [int((one.heat > 0).sum()) for one in annotated] == [2, 4]
    assert [one.heat.shape for one in annotated] == [GRID] * 2
    assert [one.caption for one in bare] == ["", ""]
    assert [one.masks for one in annotated + bare] == [None] * 4


def test_parts_of_every_image():
    example = Example("one", np.zeros((SIZE, SIZE, 3), np.uint8), semantic=np.zeros((SIZE, SIZE), np.uint8))
    example.semantic[8:32, 0:24] = 1
    attention = torch.zeros(2, 25)
    attention[0, 5:8], attention[1] = 0.2, 0.04  # the first row of the object; everywhere
    top = Subject("top", lambda images: Reading({-1: attention.expand(len(images), 2, 25)}, GRID, lambda: None))
    thin = np.zeros((SIZE, SIZE), np.uint8)
    thin[8:24] = 1  # two tokens high
    small = Example("small", example.image, semantic=thin)
    found, kept = parts(top, [small] + [example] * 17, size=SIZE)
    assert kept == list(range(1, 18))
    assert found.shape == (17, 2, 5)
    assert found[16].tolist() == [pytest.approx([1, 0, 1 / 3, 1 / 3, 1]), pytest.approx([1 / 3] * 4 + [8 / 9])]
    with pytest.raises(InputError, match="plain is not annotated"):
        parts(top, [Example("plain", example.image)], size=SIZE)
    with pytest.raises(InputError, match="none of 1 images"):
        parts(top, [small], size=SIZE)


def test_a_noisy_example_is_what_a_noisy_subject_sees():
    seen = []
    spy = Subject("spy", lambda images: seen.append(images) or Reading({}, GRID, lambda: None))
    example = Squares(empty=0)[1]
    noisy(spy, sigma=50, share=0.5, seed=3).read(resize(example.image, SIZE)[None])
    shown = noisy_example(example, sigma=50, share=0.5, seed=3)
    assert np.array_equal(shown.image, seen[0][0].permute(1, 2, 0).numpy())
    assert shown.semantic is example.semantic
    with pytest.raises(InputError, match="sigma=-1"):
        add_noise(seen[0], sigma=-1, share=0.5, generator=torch.Generator())


def test_a_limit():
    assert len(Measurement("cutouts", "segmentation", 8, 11).open()) == 11
    assert len(Measurement("cutouts", "segmentation", 8, 11).open(limit=3)) == 3
    with pytest.raises(InputError, match="ask for 1 or more"):
        Measurement("cutouts", "segmentation", 8, 11).open(limit=0)
