import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data import miniatures
from wbcore.data.example import VOID, Dataset, Example
from wbcore.data.readers import CamVid, CocoInstances, CocoPanoptic, ImageFolder, VocSegmentation, WeizmannHorses
from wbcore.errors import InputError

BUILDERS: dict[str, Callable] = {
    "imagenet": miniatures.image_folder,
    "coco": miniatures.coco2017,
    "VOCdevkit/VOC2012": miniatures.voc2012,
    "weizmann-horses": miniatures.weizmann,
    "camvid": miniatures.camvid,
}
READERS = {
    ImageFolder: "imagenet",
    CocoInstances: "coco",
    CocoPanoptic: "coco",
    VocSegmentation: "VOCdevkit/VOC2012",
    WeizmannHorses: "weizmann-horses",
    CamVid: "camvid",
}


@pytest.fixture(params=READERS, ids=lambda reader: reader.__name__)
def built(request, tmp_path):
    """A reader's class and the folder of its miniature."""
    return request.param, build(request.param, tmp_path)


def build(reader: type, folder: Path) -> Path:
    BUILDERS[READERS[reader]](folder)
    return folder / READERS[reader]


def examples(dataset: Dataset) -> list[Example]:
    return [dataset[index] for index in range(len(dataset))]


def assert_same_photograph(image: np.ndarray, expected: np.ndarray) -> None:
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 15


def test_image_folder(tmp_path):
    expected = miniatures.image_folder(tmp_path)
    dataset = ImageFolder(tmp_path / "imagenet", "val")
    assert list(dataset.classes) == list(miniatures.WNIDS)
    assert len(dataset) == len(expected)
    for example, (scene, label) in zip(examples(dataset), expected, strict=True):
        assert example.name == f"val/{miniatures.WNIDS[label]}/{scene.name}.JPEG"
        assert example.label == label
        assert example.semantic is None
        assert_same_photograph(example.image, scene.image)


def test_image_folder_numbers_classes_alike_in_every_split(tmp_path):
    miniatures.image_folder(tmp_path)
    shutil.rmtree(tmp_path / "imagenet" / "val" / miniatures.WNIDS[0])
    assert [example.label for example in examples(ImageFolder(tmp_path / "imagenet", "val"))] == [1, 1, 2, 2]


def test_image_folder_ignores_what_is_no_image(tmp_path):
    miniatures.image_folder(tmp_path)
    folder = tmp_path / "imagenet" / "val" / miniatures.WNIDS[0]
    (folder / "notes.txt").write_text("not an image")
    (folder / "._ILSVRC2012_val_00000000.JPEG").write_text("left by another operating system")
    assert len(ImageFolder(tmp_path / "imagenet", "val")) == 6


def test_voc(tmp_path):
    scenes = miniatures.voc2012(tmp_path)
    dataset = VocSegmentation(tmp_path / "VOCdevkit" / "VOC2012", "val")
    assert len(dataset.classes) == 21
    assert dataset.classes[15] == "person"
    for example, scene in zip(examples(dataset), scenes, strict=True):
        inside = ~miniatures.voc_outline(scene)
        assert example.name == scene.name
        assert_same_photograph(example.image, scene.image)
        semantic = np.array([0, *scene.categories])[scene.objects]
        np.testing.assert_array_equal(example.semantic, np.where(inside, semantic, VOID))
        np.testing.assert_array_equal(example.instances, scene.masks & inside)
        np.testing.assert_array_equal(example.categories, scene.categories)
        np.testing.assert_array_equal(example.crowd, np.zeros(len(scene.categories), dtype=bool))
    assert len(VocSegmentation(dataset.root, "train")) == 1


def test_coco_instances(tmp_path):
    scenes = miniatures.coco2017(tmp_path)
    dataset = CocoInstances(tmp_path / "coco", "val")
    assert dataset.classes == ("background", "person", "dog", "toothbrush")
    for example, scene in zip(examples(dataset), scenes, strict=True):
        assert example.name == scene.name
        assert example.semantic is None
        np.testing.assert_array_equal(example.instances, scene.masks)
        np.testing.assert_array_equal(example.categories, [{1: 1, 18: 2, 90: 3}[c] for c in scene.categories])
        np.testing.assert_array_equal(example.crowd, np.arange(len(scene.categories)) == 1)
    empty = dataset[1].instances
    assert empty is not None
    assert empty.shape == (0, 113, 97)
    assert_same_photograph(dataset[0].image, scenes[0].image)


@pytest.mark.parametrize("stuff", [True, False])
def test_coco_panoptic(tmp_path, stuff):
    scenes = miniatures.coco2017(tmp_path)
    dataset = CocoPanoptic(tmp_path / "coco", "val", stuff=stuff)
    ids = [0, 1, 18, 90, 155, 187]
    names = ["background", "person", "dog", "toothbrush", "sea", "sky-other-merged"]
    assert list(dataset.classes) == names[: 6 if stuff else 4]
    numbers = [VOID, 1, 2, 3, *((4, 5) if stuff else (0, 0))]
    for example, scene in zip(examples(dataset), scenes, strict=True):
        ground = miniatures.panoptic_ground(scene)
        np.testing.assert_array_equal(example.semantic, np.select([ground == one for one in ids], numbers))
        np.testing.assert_array_equal(example.instances, scene.masks)
        np.testing.assert_array_equal(example.categories, [{1: 1, 18: 2, 90: 3}[c] for c in scene.categories])
        np.testing.assert_array_equal(example.crowd, np.arange(len(scene.categories)) == 1)


def test_coco_kinds_agree(tmp_path):
    """The same objects through polygons and run lengths, and through coloured PNGs."""
    miniatures.coco2017(tmp_path)
    panoptic = CocoPanoptic(tmp_path / "coco")
    for left, right in zip(examples(CocoInstances(tmp_path / "coco")), examples(panoptic), strict=True):
        np.testing.assert_array_equal(left.image, right.image)
        np.testing.assert_array_equal(left.instances, right.instances)
        np.testing.assert_array_equal(left.categories, right.categories)


def test_weizmann_mask_is_resized_by_nearest_neighbour(tmp_path):
    scenes = miniatures.weizmann(tmp_path)
    dataset = WeizmannHorses(tmp_path / "weizmann-horses")
    for example, scene in zip(examples(dataset), scenes, strict=True):
        stored = np.asarray(Image.open(dataset.root / "figure_ground" / f"{scene.name}.jpg"))
        rows, columns = scene.objects.shape
        assert stored.shape == (rows * 3 // 5, columns * 3 // 5)
        # The source pixel under the centre of each target pixel.
        row = ((np.arange(rows) + 0.5) * stored.shape[0] / rows).astype(int)
        column = ((np.arange(columns) + 0.5) * stored.shape[1] / columns).astype(int)
        np.testing.assert_array_equal(example.semantic, stored[row][:, column] >= 128)
        assert (example.semantic == scene.objects).mean() > 0.97


def test_camvid(tmp_path):
    scenes = miniatures.camvid(tmp_path)
    dataset = CamVid(tmp_path / "camvid", "val")
    assert len(dataset.classes) == 11
    for example, scene in zip(examples(dataset), scenes, strict=True):
        expected = np.array([0, *scene.categories])[scene.objects]
        expected[0] = VOID
        np.testing.assert_array_equal(example.semantic, expected)


def test_fingerprint_follows_names_sizes_and_annotations(built, tmp_path):
    reader, root = built
    first = reader(root).fingerprint
    assert len(bytes.fromhex(first)) == 32
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    assert reader(moved).fingerprint == first
    photograph = next(path for path in sorted(moved.rglob("*.[jJ]*[gG]")) if path.parent.parent.name != "train")
    photograph.write_bytes(photograph.read_bytes() + b"\0")
    assert reader(moved).fingerprint != first


def test_fingerprint_sees_a_mask_of_the_same_size(tmp_path):
    miniatures.voc2012(tmp_path)
    root = tmp_path / "VOCdevkit" / "VOC2012"
    first = VocSegmentation(root).fingerprint
    mask = root / "SegmentationClass" / f"{miniatures.VOC_NAMES[0]}.png"
    content = bytearray(mask.read_bytes())
    content[-1] ^= 1
    mask.write_bytes(content)
    assert VocSegmentation(root).fingerprint != first


@pytest.mark.parametrize(
    ("reader", "folder"), [(VocSegmentation, "JPEGImages"), (CocoInstances, "val2017"), (CocoPanoptic, "val2017")]
)
def test_missing_photograph_is_named(tmp_path, reader, folder):
    root = build(reader, tmp_path)
    for path in list((root / folder).iterdir())[:2]:
        path.unlink()
    with pytest.raises(InputError, match=r"\.jpg and 1 more files of this set should be there and do not exist"):
        reader(root)


@pytest.mark.parametrize(
    ("reader", "folder"),
    [
        (VocSegmentation, "SegmentationObject"),
        (WeizmannHorses, "figure_ground"),
        (CamVid, "valannot"),
        (CocoPanoptic, "annotations/panoptic_val2017"),
    ],
)
def test_missing_mask_is_named(tmp_path, reader, folder):
    root = build(reader, tmp_path)
    lost = min((root / folder).iterdir())
    lost.unlink()
    with pytest.raises(InputError, match=lost.name):
        reader(root)


def test_truncated_photograph_is_named(built):
    reader, root = built
    folder = {CocoInstances: "val2017", CocoPanoptic: "val2017", WeizmannHorses: "rgb"}.get(reader, "*")
    photograph = min(
        path for path in root.rglob("*.[jJ]*[gG]") if path.parent.match(folder) and "train" not in str(path)
    )
    photograph.write_bytes(photograph.read_bytes()[:-300])
    with pytest.raises(InputError, match=f"{photograph.name} cannot be read"):
        examples(reader(root))


def test_absent_root_is_named(built):
    reader, root = built
    with pytest.raises(InputError, match="does not exist"):
        reader(root / "elsewhere")


@pytest.mark.parametrize(
    ("reader", "empty"),
    [
        (ImageFolder, lambda root: [shutil.rmtree(path) for path in (root / "val").iterdir()]),
        (WeizmannHorses, lambda root: [path.unlink() for path in (root / "rgb").iterdir()]),
        (CamVid, lambda root: [path.unlink() for path in (root / "val").iterdir()]),
        (VocSegmentation, lambda root: (root / "ImageSets/Segmentation/val.txt").write_text("\n")),
        (
            CocoInstances,
            lambda root: (root / "annotations/instances_val2017.json").write_text(
                '{"images": [], "annotations": [], "categories": []}'
            ),
        ),
    ],
)
def test_empty_split(tmp_path, reader, empty):
    root = build(reader, tmp_path)
    empty(root)
    with pytest.raises(InputError, match=r"(holds|names|lists) no image.*: .*split"):
        reader(root)


@pytest.mark.parametrize("folder", ["SegmentationClass", "SegmentationObject"])
def test_voc_mask_of_another_size(tmp_path, folder):
    miniatures.voc2012(tmp_path)
    root = tmp_path / "VOCdevkit" / "VOC2012"
    path = root / folder / f"{miniatures.VOC_NAMES[0]}.png"
    mask = Image.open(path)
    mask.resize((mask.width - 1, mask.height)).save(path)
    with pytest.raises(InputError, match=rf"{folder}.*\.png is 130×89 pixels but its photograph is 131×89"):
        VocSegmentation(root)[0]


def test_voc_value_that_is_no_class(tmp_path):
    miniatures.voc2012(tmp_path)
    root = tmp_path / "VOCdevkit" / "VOC2012"
    path = root / "SegmentationClass" / f"{miniatures.VOC_NAMES[0]}.png"
    Image.fromarray(np.full((89, 131), 21, dtype=np.uint8)).save(path)
    with pytest.raises(InputError, match="holds the value 21, which is no class"):
        VocSegmentation(root)[0]


def test_voc_object_without_class(tmp_path):
    miniatures.voc2012(tmp_path)
    root = tmp_path / "VOCdevkit" / "VOC2012"
    path = root / "SegmentationClass" / f"{miniatures.VOC_NAMES[0]}.png"
    Image.fromarray(np.zeros((89, 131), dtype=np.uint8)).save(path)
    with pytest.raises(InputError, match=r"SegmentationObject.* has an object where .*SegmentationClass.* no class"):
        VocSegmentation(root)[0]


@pytest.mark.parametrize("reader", [CocoInstances, CocoPanoptic])
def test_coco_photograph_of_another_size(tmp_path, reader):
    miniatures.coco2017(tmp_path)
    path = tmp_path / "coco" / "val2017" / "000000000139.jpg"
    Image.open(path).resize((131, 90)).save(path)
    with pytest.raises(InputError, match=r"000000000139.* is 131×89 pixels but its photograph is 131×90"):
        reader(tmp_path / "coco")[0]


def edit_json(path: Path, change: Callable) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def broken_segmentation(segmentation: object) -> Callable:
    return lambda content: content["annotations"][0].update(segmentation=segmentation)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken_segmentation([]), "annotation 202 is broken .*polygon"),
        (broken_segmentation([[1, 2, 3, 4]]), "annotation 202 is broken .*polygon"),
        (broken_segmentation({"size": [101, 127], "counts": [5]}), "annotation 202 is broken .*add up"),
        (broken_segmentation({"size": [127, 101], "counts": [101 * 127]}), "annotation 202 is broken .*image is"),
        (lambda content: content["annotations"][0].update(image_id=7), "annotates image 7 and does not list it"),
        (lambda content: content["annotations"][0].update(category_id=7), "category 7 and does not list it"),
        (lambda content: content.pop("categories"), r"not a COCO file of instances \(KeyError\('categories'\)\)"),
    ],
)
def test_broken_coco_instances(tmp_path, change, message):
    miniatures.coco2017(tmp_path)
    edit_json(tmp_path / "coco" / "annotations" / "instances_val2017.json", change)
    with pytest.raises(InputError, match=rf"instances_val2017\.json.*{message}"):
        examples(CocoInstances(tmp_path / "coco"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["annotations"].pop(), "does not have one annotation for 000000000139.jpg"),
        (lambda content: content["annotations"][-1]["segments_info"].pop(), "segment .* is not in both"),
        (lambda content: content["annotations"][-1]["segments_info"][0].update(id=5), "segment 5 is not in both"),
    ],
)
def test_broken_coco_panoptic(tmp_path, change, message):
    miniatures.coco2017(tmp_path)
    edit_json(tmp_path / "coco" / "annotations" / "panoptic_val2017.json", change)
    with pytest.raises(InputError, match=message):
        examples(CocoPanoptic(tmp_path / "coco"))


def test_truncated_coco_annotations(tmp_path):
    miniatures.coco2017(tmp_path)
    path = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(InputError, match=r"instances_val2017\.json is not complete JSON .*download"):
        CocoInstances(tmp_path / "coco")
