"""Components of models: class by class, the truth scores 1, and what is drawn is what the metric says."""

import numpy as np
import pytest
import torch

from tests import tiny
from wbcore.data.example import VOID, Example
from wbcore.measuring.components import (
    blob_finder,
    depth_pictures,
    foreground_records,
    model_finder,
    patch_features,
    portrait,
    untrained_model,
)
from wbcore.metrics.attention import NoObjectError
from wbcore.metrics.pca import class_components, depth_components

SIZE, GRID = 24, (3, 3)


class Blocks:
    """One image for each semantic mask; an image's grey level says which it is."""

    name, fingerprint, classes = "blocks", "0" * 64, ("background", "one", "two")

    def __init__(self, *masks):
        self.masks = masks

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, index):
        image = np.full((SIZE, SIZE, 3), index, np.uint8)
        return Example(str(index), image, semantic=self.masks[index])


def block(value, rows=slice(8, 24), cols=slice(0, 8)):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[rows, cols] = value
    return mask


def images(count=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, SIZE, SIZE), generator=generator).to(torch.uint8)


def measured(finder, dataset, **options):
    return foreground_records({"it": finder}, dataset, data="blocks", size=SIZE, command="test", **options)


def test_features_are_the_models_own_whatever_the_batch(monkeypatch):
    model, seen = tiny.model(), images()
    layout = model.layout(seen)
    expected = layout.patches(model.tap(model.normalise(seen), "segmentation_feature", -2)).detach()
    monkeypatch.setattr("wbcore.measuring.components.BATCH", 2)
    found = patch_features(model, seen, layers=(-2, -1))
    torch.testing.assert_close(found[-2], expected)
    assert found.keys() == {-2, -1}


def test_untrained_model_depends_on_its_seed_alone():
    first, again, other = (untrained_model("crate_lab_patch8_72", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.position, again.position)
    assert not torch.equal(first.position, other.position)


def test_untrained_model_leaves_the_random_numbers_alone():
    before = torch.random.get_rng_state()
    untrained_model("crate_lab_patch8_72")
    assert torch.equal(before, torch.random.get_rng_state())


def test_model_finder_is_the_metric_on_the_features():
    model, seen = tiny.model(), images()
    found = model_finder(model, rules=("code", "text"), layer=0)(seen)
    features = patch_features(model, seen, layers=(0,))[0]
    for rule in ("code", "text"):
        assert torch.equal(found[rule], class_components(features, GRID, rule=rule).foreground)


def test_truth_scores_one_and_the_other_rule_by_hand():
    dataset = Blocks(block(1), block(2, cols=slice(8, 24)), block(1, rows=slice(0, 8)))

    def find(seen):
        masks = torch.stack([torch.from_numpy(dataset.masks[int(image[0, 0, 0])][4::8, 4::8] > 0) for image in seen])
        return {"truth": masks, "all": torch.ones_like(masks)}

    truth, everything = measured(find, dataset)
    assert (truth.metric, truth.value, truth.n) == ("pca_foreground_iou/truth/layer-1", 1.0, 3)
    assert everything.values == pytest.approx((2 / 9, 4 / 9, 1 / 9), abs=1e-4)
    assert everything.value == pytest.approx(7 / 27)


def test_a_class_is_looked_at_at_once_by_its_largest_part():
    both = block(1, rows=slice(0, 16)) | block(2, rows=slice(16, 24))  # more of class 1, and some void
    both[:, 8:] = VOID
    dataset = Blocks(block(2), both, block(1), np.zeros((SIZE, SIZE), np.uint8), block(2))
    groups = []

    def find(seen):
        groups.append(seen[:, 0, 0, 0].tolist())
        return {"none": torch.zeros(len(seen), *GRID, dtype=torch.bool)}

    (record,) = measured(find, dataset)
    assert groups == [[1, 2], [0, 4]]
    assert (record.value, record.n) == (0, 4)
    assert record.settings["images_without_object"] == 1
    assert record.settings["classes"] == 2


def test_who_was_measured_stands_in_the_record():
    (record,) = measured(
        blob_finder(8, rules=("code",)), Blocks(block(1)), seeds={"it": (3,)}, weights_sha256={"other": "f" * 64}
    )
    assert record.seeds == (3,)
    assert record.weights_sha256 is None
    assert 0 < record.value < 1


def test_no_object_anywhere():
    with pytest.raises(NoObjectError, match="no image with an object"):
        measured(blob_finder(8, rules=("code",)), Blocks(block(0), block(VOID)))


def test_portrait_shows_the_foreground_and_nothing_else():
    model, seen = tiny.model(), images()
    examples = [Example(str(index), image.permute(1, 2, 0).numpy()) for index, image in enumerate(seen)]
    drawn = portrait(model, examples, size=SIZE)
    found = class_components(patch_features(model, seen)[-1], GRID)
    for index, (cutout, colours) in enumerate(zip(drawn.cutouts, drawn.colours, strict=True)):
        foreground = found.foreground[index].numpy()
        assert np.array_equal(cutout[..., :3], examples[index].image)
        assert np.array_equal(cutout[..., 3], 255 * np.kron(foreground, np.ones((8, 8))))
        np.testing.assert_allclose(colours[..., :3], found.colours[index])
        assert np.array_equal(colours[..., 3], foreground)


def test_pictures_by_layer_hold_every_image_in_grey_and_in_colour():
    model, seen = tiny.model(), images(3)
    examples = [Example(str(index), image.permute(1, 2, 0).numpy()) for index, image in enumerate(seen)]
    found = depth_pictures(model, examples, size=SIZE, layers=(0, 1))
    assert list(found) == [0, 1]
    for layer, pictures in found.items():
        expected = depth_components(patch_features(model, seen, layers=(layer,))[layer], GRID)
        assert len(pictures) == 2 * len(examples)
        for index in range(len(examples)):
            np.testing.assert_allclose(pictures[2 * index], expected.first[index][..., None].expand(*GRID, 3))
            np.testing.assert_allclose(pictures[2 * index + 1], expected.colours[index])
