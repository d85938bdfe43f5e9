"""Crops and their labels: aligned, padded, drawn again, and of seed, epoch and position alone."""

import colorsys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.data import miniatures
from wbcore.data.batches import Batches, stream
from wbcore.data.example import VOID, Example
from wbcore.data.readers import CamVid
from wbcore.data.segmentation_batches import (
    MEAN_COLOUR,
    SegmentationBatches,
    distorted,
    largest_share,
    resized,
    scaled_size,
    to_size,
)
from wbcore.errors import InputError

PLAIN = {"scale": (1.0, 1.0), "photometric": False, "flip": 0.0, "max_share": 1.0}
STEP = 20


class Photographs:
    """``count`` times one image and its mask; the blue channel says which of them it is."""

    name, classes, fingerprint = "photographs", tuple("abcdefgh"), "0" * 64

    def __init__(self, image, semantic, count=5):
        self.image, self.semantic, self.count = image, semantic, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image = self.image.copy()
        image[..., 2] = index
        return Example(name=str(index), image=image, semantic=self.semantic)


def places(rows=61, cols=83):
    """Each pixel says where it is; so does its label, which is the sum of both, modulo 7."""
    down, across = np.mgrid[:rows, :cols].astype(np.uint8)
    return Photographs(np.stack([down, across, 0 * down], axis=2), (down + across) % 7)


def steps(axis):
    """Bands of rising classes along an axis, each ``STEP`` grey levels brighter than the one before."""
    semantic = (np.indices((61, 83))[axis] * 8 // (61, 83)[axis]).astype(np.uint8)
    return Photographs(np.repeat(semantic[..., None] * np.uint8(STEP), 3, axis=2), semantic)


def batches(dataset=None, **options):
    return SegmentationBatches(dataset or places(), **{"size": (17, 29), **options})


def everything(source):
    return source.batch(0, range(source.num_examples))


def test_crops_are_pieces_of_their_photograph():
    source = batches(**PLAIN)
    as_protocol: Batches = source
    assert (as_protocol.name, as_protocol.num_classes, as_protocol.num_examples) == ("photographs-17x29px", 8, 5)
    images, labels = everything(source)
    assert images.shape == (5, 3, 17, 29)
    assert sorted(images[:, 2, 0, 0].tolist()) == list(range(5))
    corners = set()
    for image, label in zip(images, labels, strict=True):
        top, left = image[:2, 0, 0].tolist()
        corners.add((top, left))
        down, across = torch.meshgrid(torch.arange(top, top + 17), torch.arange(left, left + 29), indexing="ij")
        assert torch.equal(image[0], down.byte())
        assert torch.equal(image[1], across.byte())
        assert torch.equal(label, ((down + across) % 7).byte())
    assert len(corners) == 5


def test_a_crop_does_not_depend_on_its_batch_and_is_of_its_seed():
    images, labels = batches().batch(3, range(5))
    for position in (4, 0, 2):
        alone, label = batches().batch(3, [position])
        assert torch.equal(alone[0], images[position])
        assert torch.equal(label[0], labels[position])
    for other in (batches().batch(2, range(5)), batches(seed=1).batch(3, range(5))):
        assert not torch.equal(other[0], images)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scale", [(0.5, 2.0), (0.6, 0.6), (1.7, 1.7)])
@pytest.mark.parametrize("shorter", [None, 43])
def test_labels_lie_under_their_pixels(axis, scale, shorter):
    """Where brightness crosses half a step, the class changes: any shift of one against the other would show."""
    source = batches(steps(axis), scale=scale, shorter=shorter, photometric=False, max_share=1.0, repeats=7)
    images, labels = everything(source)
    assert ((images[:, 0].float() - STEP * labels).abs()[labels != VOID] <= STEP / 2 + 1).all()


@pytest.mark.parametrize("factor", [0.37, 1.0, 1.9])
def test_a_whole_photograph_is_resized_as_by_torch(factor):
    generator = np.random.default_rng(7)
    image = generator.integers(0, 256, (31, 43, 3)).astype(np.uint8)
    dataset = Photographs(image, generator.integers(0, 8, (31, 43)).astype(np.uint8), count=1)
    size = scaled_size(31, 43, 31 * factor)
    images, labels = everything(batches(dataset, **PLAIN | {"size": size, "scale": (factor, factor)}))
    pixels = torch.from_numpy(dataset[0].image).permute(2, 0, 1)[None].float()
    expected = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    assert (images - expected).abs().max() <= 1
    mask = torch.from_numpy(dataset.semantic)[None, None].float()
    assert torch.equal(labels[:, None].float(), F.interpolate(mask, size, mode="nearest-exact"))


def test_a_part_is_resized_as_in_the_whole():
    image = np.random.default_rng(3).integers(0, 256, (53, 71, 3)).astype(np.uint8)
    for size in ((19, 23), (53, 71), (97, 131)):
        whole = np.array(resized(image, size, box=(0, 0, *size)), dtype=int)
        part = np.array(resized(image, size, box=(2, 5, 17, 13)), dtype=int)
        assert np.abs(part - whole[2:19, 5:18]).max() <= 1


def test_scaled_size_and_to_size():
    assert scaled_size(360, 480, 180) == (180, 240)
    assert scaled_size(480, 360, 90.0) == (120, 90)
    assert scaled_size(7, 1000, 0.2) == (1, 29)
    image = np.random.default_rng(5).integers(0, 256, (41, 67, 3)).astype(np.uint8)
    assert to_size(image, 23).shape == (23, 38, 3)
    np.testing.assert_array_equal(to_size(image, 41), image)


def test_beside_a_smaller_picture_nothing_is_known():
    source = batches(places(13, 11), **PLAIN | {"flip": 0.5})
    images, labels = everything(source)
    inside = torch.zeros(17, 29, dtype=torch.bool)
    inside[:13, :11] = True
    assert torch.equal(labels != VOID, inside.expand(5, -1, -1))
    assert (images.permute(0, 2, 3, 1)[:, ~inside] == torch.tensor(MEAN_COLOUR)).all()
    across = images[:, 1, 0, :11].long()
    assert torch.equal(across.sort(dim=1).values, torch.arange(11).expand(5, -1))
    assert {int(row[0]) for row in across} == {0, 10}  # mirrored within the picture, not with what is beside it


def test_only_one_side_may_be_smaller():
    images, labels = everything(batches(places(13, 83), **PLAIN))
    assert (labels[:, 13:] == VOID).all()
    assert (labels[:, :13] != VOID).all()
    assert (images[:, 1, 0, 1:13] - images[:, 1, 0, :12] == 1).all()


def test_one_pixel_is_enough():
    tiny = Photographs(np.full((1, 1, 3), 9, np.uint8), np.full((1, 1), 4, np.uint8))
    images, labels = everything(batches(tiny, **PLAIN | {"scale": (0.5, 0.5)}))
    assert (images[:, :2, 0, 0] == 9).all()
    assert (labels[:, 0, 0] == 4).all()
    assert (labels != VOID).sum() == 5


def test_mirrored_half_of_the_time():
    source = batches(**PLAIN | {"flip": 0.5, "repeats": 20})
    images, labels = everything(source)
    mirrored = images[:, 1, 0, 0] > images[:, 1, 0, -1]
    assert abs(int(mirrored.sum()) - 50) < 4 * 5
    assert torch.equal(labels, (images[:, 0].long() + images[:, 1]).remainder(7).byte())


def test_an_epoch_is_the_data_set_repeatedly():
    source = batches(**PLAIN | {"repeats": 3})
    assert source.num_examples == 15
    for epoch in range(2):
        shown = source.batch(epoch, range(15))[0][:, 2, 0, 0].reshape(3, 5)
        assert (shown.sort(dim=1).values == torch.arange(5)).all()
        assert len(set(map(tuple, shown.tolist()))) > 1


def test_a_crop_of_nearly_one_class_is_drawn_again():
    semantic = (np.indices((61, 83)) // 31).sum(axis=0).astype(np.uint8) % 2
    semantic[::9] = VOID
    dataset = Photographs(np.zeros((61, 83, 3), np.uint8), semantic, count=97)
    once, again = (everything(batches(dataset, **PLAIN | {"max_share": share}))[1] for share in (1.0, 0.75))
    one_sided = torch.tensor([largest_share(label.numpy()) >= 0.75 for label in once])
    assert 20 < one_sided.sum() < 80
    assert torch.equal(once[~one_sided], again[~one_sided])
    assert all(largest_share(label.numpy()) < 0.75 for label in again)


def test_a_photograph_of_one_class_is_cropped_all_the_same():
    alone = Photographs(places().image, np.full((61, 83), 3, np.uint8))
    first, eleventh = (everything(batches(alone, **PLAIN | {"max_share": share})) for share in (1.0, 0.75))
    assert (eleventh[1] == 3).all()
    assert not torch.equal(first[0], eleventh[0])
    assert torch.equal(first[0], everything(batches(**PLAIN))[0])


def test_largest_share_by_hand():
    assert largest_share(np.array([[0, 0, 0], [4, VOID, VOID]], np.uint8)) == 0.75
    assert largest_share(np.full((2, 3), VOID, np.uint8)) == 1.0


def pixel(image):
    return np.array(image)[0, 0].tolist()


def test_distortion_by_hand():
    image = Image.new("RGB", (3, 2), (200, 100, 40))
    off, half = [0.9] * 4, [0.5] * 4

    def with_(which, value):
        return [0.1 if i == which else 0.9 for i in range(4)] + [value if i == which else 0.5 for i in range(4)]

    assert pixel(distorted(image, [*off, *half, 0.0])) == [200, 100, 40]
    assert pixel(distorted(image, [*with_(0, 0.75), 0.0])) == [216, 116, 56]
    assert pixel(distorted(image, [*with_(1, 0.0), 0.0])) == [100, 50, 20]
    assert pixel(distorted(image, [*with_(1, 0.9), 0.9])) == [255, 140, 56]
    # Brightness first, then contrast: (200 - 16) · ½ and so on, whatever comes last.
    assert pixel(distorted(image, [0.1, 0.1, 0.9, 0.9, 0.25, 0.0, 0.5, 0.5, 0.9])) == [92, 42, 12]


@pytest.mark.parametrize("contrast_last", [0.1, 0.9])
@pytest.mark.parametrize(("saturation", "hue"), [(0.1, 0.5), (0.8, 0.5), (0.5, 0.05), (0.5, 0.95), (0.3, 0.8)])
def test_saturation_and_hue_are_those_of_colorsys(saturation, hue, contrast_last):
    colours = np.array([[(200, 100, 40), (31, 97, 181), (89, 151, 83), (120, 120, 120)]], np.uint8)
    u = [0.9, 0.1, 0.1, 0.1, 0.5, 0.2, saturation, hue, contrast_last]
    contrast = 0.7
    result = np.array(distorted(Image.fromarray(colours), u))[0]
    for colour, found in zip(colours[0] / 255, result, strict=True):
        colour = colour if contrast_last < 0.5 else colour * contrast
        h, s, v = colorsys.rgb_to_hsv(*colour)
        turned = colorsys.hsv_to_rgb((h + (hue - 0.5) * 0.2) % 1, min(1, s * (0.5 + saturation)), v)
        expected = np.array(turned) * (contrast if contrast_last < 0.5 else 1) * 255
        assert np.abs(found - expected).max() < 5  # HSV has 8 bits


def test_photometric_distortion_leaves_labels_and_places_alone():
    plain, distorted_ = (everything(batches(steps(0), photometric=photometric)) for photometric in (False, True))
    assert torch.equal(plain[1], distorted_[1])
    assert not torch.equal(plain[0], distorted_[0])


SCHEDULE = [(0, range(2)), (1, range(1, 3))]


@pytest.fixture
def camvid(tmp_path):
    miniatures.camvid(tmp_path)
    return CamVid(tmp_path / "camvid", "val")


def test_streamed_and_kept_crops_are_the_same(camvid):
    kept = SegmentationBatches(camvid, size=(37, 53), repeats=2)
    streamed = SegmentationBatches(camvid, size=(37, 53), repeats=2, keep_bytes=0, workers=2)
    for one, other in zip(stream(kept, SCHEDULE), stream(streamed, SCHEDULE), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    for path in camvid.root.rglob("*.png"):
        path.unlink()
    kept.batch(0, range(2))
    with pytest.raises(InputError, match="does not exist"):
        streamed.batch(0, range(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 5)}, r"size=\(0, 5\)"),
        ({"shorter": 0}, "shorter=0"),
        ({"scale": (2.0, 0.5)}, r"scale=\(2\.0, 0\.5\)"),
        ({"scale": (0.0, 0.5)}, r"scale=\(0\.0, 0\.5\)"),
        ({"max_share": 0.0}, r"max_share=0\.0"),
        ({"flip": 1.5}, r"flip=1\.5"),
        ({"repeats": 0}, "repeats=0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        batches(**options)


def test_photographs_without_masks_are_refused():
    with pytest.raises(InputError, match=r"0 of photographs has no semantic mask"):
        batches(Photographs(np.zeros((5, 7, 3), np.uint8), None))
