"""Miniature trees in exactly the folder formats of the real data sets, and the truth they were written from.

Each builder takes a folder, writes a tree below it as the original archives unpack, and returns the scenes in
the order in which a reader has to hand them out.  Photographs are JPEGs of quality 95, so that a reader's
image is near the scene's, not equal to it; masks are exact.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

VOID = 255
SIZES = ((89, 131), (113, 97), (101, 127))
"""Rows and columns of the scenes: primes, so that no transposed axis can pass."""
VOC_NAMES = ("2007_000033", "2008_001439", "2011_003145")
CITYSCAPES_NAMES = ("frankfurt_000000_000294", "frankfurt_000001_007973", "munster_000000_000019")
WNIDS = ("n01440764", "n02102040", "n03000684")
COCO_CATEGORIES = (
    {"supercategory": "person", "isthing": 1, "id": 1, "name": "person"},
    {"supercategory": "animal", "isthing": 1, "id": 18, "name": "dog"},
    {"supercategory": "furniture", "isthing": 1, "id": 90, "name": "toothbrush"},
    {"supercategory": "water", "isthing": 0, "id": 155, "name": "sea"},
    {"supercategory": "sky", "isthing": 0, "id": 187, "name": "sky-other-merged"},
)
STUFF_IDS = (155, 187)


@dataclass(frozen=True, eq=False)
class Scene:
    """A photograph; ``objects`` has 0 for no object and k for the k-th, whose category is ``categories[k-1]``."""

    name: str
    image: np.ndarray
    objects: np.ndarray
    categories: tuple[int, ...]

    @property
    def masks(self) -> np.ndarray:
        """One boolean mask for each object."""
        return self.objects == np.arange(1, len(self.categories) + 1)[:, None, None]


def scene(index: int, categories: tuple[int, ...], *, name: str) -> Scene:
    """Bright rectangles of one colour each on a dim, textured ground."""
    rows, columns = SIZES[index % len(SIZES)]
    generator = np.random.default_rng(index)
    image = generator.integers(40, 90, (rows, columns, 3)).astype(np.uint8)
    objects = np.zeros((rows, columns), dtype=np.uint8)
    width = columns // max(len(categories), 1)
    for number in range(1, len(categories) + 1):
        top, left = 11 + 3 * number, (number - 1) * width + 7
        box = np.s_[top : top + rows // 2, left : left + width - 13]
        objects[box] = number
        image[box] = generator.integers(120, 250, 3)
    return Scene(name, image, objects, categories)


def voc2012(root: Path) -> list[Scene]:
    """``root/VOCdevkit/VOC2012``: val has three images, train one; the outline of every object is void."""
    home = root / "VOCdevkit" / "VOC2012"
    scenes = [scene(0, (15, 12), name=VOC_NAMES[0]), scene(1, (8,), name=VOC_NAMES[1])]
    scenes.append(scene(2, (15, 15, 13), name=VOC_NAMES[2]))
    palette = _voc_palette()
    for one in scenes:
        _save(one.image, home / "JPEGImages" / f"{one.name}.jpg")
        outline = _outline(one.objects)
        semantic = np.array([0, *one.categories], dtype=np.uint8)[one.objects]
        for kind, mask in (("Class", semantic), ("Object", one.objects)):
            painted = Image.fromarray(np.where(outline, VOID, mask).astype(np.uint8))
            painted.putpalette(palette)
            _save(painted, home / f"Segmentation{kind}" / f"{one.name}.png")
    lists = home / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    names = [f"{one.name}\n" for one in scenes]
    for split, chosen in (("train", names[:1]), ("val", names), ("trainval", names)):
        (lists / f"{split}.txt").write_text("".join(chosen))
    return scenes


def voc_outline(one: Scene) -> np.ndarray:
    """Where the miniature VOC masks are void."""
    return _outline(one.objects)


def coco2017(root: Path) -> list[Scene]:
    """``root/coco``: val2017 with instances and panoptic annotations.

    The first object of a scene is a polygon; the second, if there is one, a crowd as plain run lengths; the third
    compressed run lengths.  The second scene has no object, and its photograph is grey.  In the panoptic
    masks the upper half of the ground is sky, the lower half sea, and the last row is not annotated.
    """
    home = root / "coco"
    (home / "annotations" / "panoptic_val2017").mkdir(parents=True)
    scenes = [
        scene(0, (1, 18), name="000000000139"),
        scene(1, (), name="000000000285"),
        scene(2, (18, 1, 90), name="000000581781"),
    ]
    images, instances, panoptic = [], [], []
    for place, one in enumerate(scenes):
        photograph = Image.fromarray(one.image)
        _save(photograph if one.categories else photograph.convert("L"), home / "val2017" / f"{one.name}.jpg")
        rows, columns = one.objects.shape
        number = int(one.name)
        images.append({"file_name": f"{one.name}.jpg", "height": rows, "width": columns, "id": number})
        instances += [_instance(one, k, image_id=number, annotation_id=100 * place + k) for k in range(len(one.masks))]
        panoptic.append(_panoptic(one, home / "annotations" / "panoptic_val2017", image_id=number))
    # The real files are in no order that a reader could rely on.
    things = [{k: v for k, v in one.items() if k != "isthing"} for one in COCO_CATEGORIES if one["isthing"]]
    for kind, annotations, categories in (
        ("instances", instances, things),
        ("panoptic", panoptic, list(COCO_CATEGORIES)),
    ):
        content = {"info": {}, "licenses": [], "images": images[::-1], "annotations": annotations[::-1]}
        text = json.dumps(content | {"categories": categories})
        (home / "annotations" / f"{kind}_val2017.json").write_text(text)
    return scenes


def panoptic_ground(one: Scene) -> np.ndarray:
    """The category ids of the miniature panoptic masks, 0 where nothing is annotated."""
    categories = np.array([0, *one.categories])[one.objects]
    half = one.objects.shape[0] // 2
    categories[:half][one.objects[:half] == 0] = STUFF_IDS[1]
    categories[half:][one.objects[half:] == 0] = STUFF_IDS[0]
    categories[-1] = 0
    return categories


def image_folder(root: Path, *, name: str = "imagenet") -> list[tuple[Scene, int]]:
    """``root/<name>/{train,val}/<wnid>/*.JPEG``: three classes; the val scenes with their labels."""
    examples = []
    for label, wnid in enumerate(WNIDS):
        for place in range(2):
            one = scene(2 * label + place, (label + 1,), name=f"ILSVRC2012_val_{2 * label + place:08}")
            _save(one.image, root / name / "val" / wnid / f"{one.name}.JPEG")
            _save(one.image, root / name / "train" / wnid / f"{wnid}_{place}.JPEG")
            examples.append((one, label))
    return examples


def weizmann(root: Path) -> list[Scene]:
    """``root/weizmann-horses/{rgb,figure_ground}``: masks are JPEGs of another size than the photographs."""
    home = root / "weizmann-horses"
    scenes = [scene(index, (1,), name=f"horse{index + 1:03}") for index in range(3)]
    for one in scenes:
        _save(one.image, home / "rgb" / f"{one.name}.jpg")
        mask = Image.fromarray(one.objects * np.uint8(255))
        smaller = mask.resize((mask.width * 3 // 5, mask.height * 3 // 5), Image.Resampling.NEAREST)
        _save(smaller, home / "figure_ground" / f"{one.name}.jpg")
    return scenes


def camvid(root: Path) -> list[Scene]:
    """``root/camvid/{val,valannot}``: the ground is the sky, class 0, and the first row void, 11."""
    home = root / "camvid"
    scenes = [scene(index, (8, 3), name=f"0016E5_0795{index}") for index in range(2)]
    for one in scenes:
        _save(one.image, home / "val" / f"{one.name}.jpg")
        mask = np.array([0, *one.categories], dtype=np.uint8)[one.objects]
        mask[0] = 11
        _save(mask, home / "valannot" / f"{one.name}.png")
    return scenes


def cityscapes(root: Path) -> list[Scene]:
    """``root/cityscapes``: val has two cities; the ground is road, 7, and the rows are the ids 0 … 33 in turn."""
    home = root / "cityscapes"
    scenes = [scene(index, (26, 24), name=name) for index, name in enumerate(CITYSCAPES_NAMES)]
    for one in scenes:
        city = one.name.split("_")[0]
        _save(one.image, home / "leftImg8bit" / "val" / city / f"{one.name}_leftImg8bit.png")
        folder = home / "gtFine" / "val" / city
        _save(cityscapes_ids(one), folder / f"{one.name}_gtFine_labelIds.png")
        _save(one.objects, folder / f"{one.name}_gtFine_instanceIds.png")
    return scenes


def cityscapes_ids(one: Scene) -> np.ndarray:
    """The label ids of a miniature mask: the first column has all of them, from above."""
    ids = np.array([7, *one.categories], dtype=np.uint8)[one.objects]
    ids[:34, 0] = np.arange(34)
    return ids


def ade20k(root: Path) -> list[Scene]:
    """``root/ADEChallengeData2016``: validation has three images, training one; the ground is not annotated, 0."""
    home = root / "ADEChallengeData2016"
    scenes = [scene(index, (1, 150, 13), name=f"ADE_val_{index + 1:08}") for index in range(3)]
    for folder, chosen in (("validation", scenes), ("training", scenes[:1])):
        for one in chosen:
            _save(one.image, home / "images" / folder / f"{one.name}.jpg")
            mask = np.array([0, *one.categories], dtype=np.uint8)[one.objects]
            _save(mask, home / "annotations" / folder / f"{one.name}.png")
    return scenes


def _instance(one: Scene, place: int, *, image_id: int, annotation_id: int) -> dict[str, object]:
    mask = one.masks[place]
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, bottom, left, right = (int(edge) for edge in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    if place == 0:
        segmentation: object = [[left, top, right, top, right, bottom, left, bottom]]
    elif place == 1:
        segmentation = {"size": list(mask.shape), "counts": _run_lengths(mask)}
    else:
        counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        segmentation = {"size": list(mask.shape), "counts": counts if isinstance(counts, str) else counts.decode()}
    return {
        "segmentation": segmentation,
        "area": int(mask.sum()),
        "iscrowd": int(place == 1),
        "image_id": image_id,
        "bbox": [left, top, right - left, bottom - top],
        "category_id": one.categories[place],
        "id": annotation_id,
    }


def _run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's plain run lengths: column by column, beginning with the number of zeros."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    return np.diff(np.array([0, *([0] if flat[0] else []), *edges, flat.size])).tolist()


def _panoptic(one: Scene, folder: Path, *, image_id: int) -> dict[str, object]:
    ground = panoptic_ground(one)
    ids = np.zeros(one.objects.shape, dtype=np.int64)
    segments = []
    for place, mask in enumerate([*one.masks, *(ground == stuff for stuff in STUFF_IDS)]):
        category = [*one.categories, *STUFF_IDS][place]
        # Larger than 256², so that all three channels count.
        number = 3226956 + 70001 * place
        ids[mask] = number
        crowd = int(place == 1 and category not in STUFF_IDS)
        segments.append({"id": number, "category_id": category, "iscrowd": crowd, "area": int(mask.sum())})
    channels = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=2)
    _save(channels.astype(np.uint8), folder / f"{one.name}.png")
    return {"segments_info": segments, "file_name": f"{one.name}.png", "image_id": image_id}


def _outline(objects: np.ndarray) -> np.ndarray:
    """The pixels of objects that touch something else above, below, left or right."""
    padded = np.pad(objects, 1)
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (objects > 0) & np.any([neighbour != objects for neighbour in neighbours], axis=0)


def _voc_palette() -> list[int]:
    """VOC's colours: bits 0, 3 and 6 of the number lead red, 1, 4 and 7 green, 2, 5 and 8 blue."""
    return [
        sum(((number >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
        for number in range(256)
        for channel in range(3)
    ]


def _save(image: Image.Image | np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, quality=95)
