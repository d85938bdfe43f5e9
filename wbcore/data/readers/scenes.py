"""Scenes with the class of every pixel in one PNG each: CamVid, Cityscapes and ADE20K."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from wbcore.data.example import VOID, Example
from wbcore.data.images import read_image
from wbcore.data.readers.files import fingerprint, list_images, read_semantic, require_folder
from wbcore.errors import InputError

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CITYSCAPES_IDS = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
"""The label ids that are classes, in the order of their train ids; there are 34 ids, 0 … 33."""
ADE20K_CLASSES = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet", "sidewalk",
    "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water", "painting", "sofa",
    "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk", "rock", "wardrobe", "lamp",
    "bathtub", "railing", "cushion", "base", "box", "column", "signboard", "chest of drawers", "counter", "sand",
    "sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path", "stairs", "runway", "case", "pool table",
    "pillow", "screen door", "stairway", "river", "bridge", "bookcase", "blind", "coffee table", "toilet", "flower",
    "book", "hill", "bench", "countertop", "stove", "palm", "kitchen island", "computer", "swivel chair", "boat", "bar",
    "arcade machine", "hovel", "bus", "towel", "light", "truck", "tower", "chandelier", "awning", "streetlight",
    "booth", "television receiver", "airplane", "dirt track", "apparel", "pole", "land", "bannister", "escalator",
    "ottoman", "bottle", "buffet", "poster", "stage", "van", "ship", "fountain", "conveyer belt", "canopy", "washer",
    "plaything", "swimming pool", "stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven",
    "ball", "food", "step", "tank", "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher",
    "screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan", "pier",
    "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator", "glass", "clock", "flag",
)  # fmt: skip


class _Scenes:
    """Photographs, each with a file of numbers; ``numbers[v]`` is the class that value v of a file stands for."""

    classes: Sequence[str]
    numbers: ClassVar[Sequence[int]]

    def __init__(self, root: Path, files: Sequence[tuple[Path, Path]], *, name: str) -> None:
        self.name, self.root, self._files = name, root, files
        images, masks = zip(*files, strict=True)
        self.fingerprint = fingerprint(root, self.classes, images=images, annotations=masks)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        path, mask = self._files[index]
        image = read_image(path)
        semantic = read_semantic(mask, numbers=self.numbers, size=image.shape[:2])
        return Example(name=path.stem, image=image, semantic=semantic)


class CamVid(_Scenes):
    """CamVid at 480×360 with 11 classes: ``root/<split>`` and ``root/<split>annot``.

    There is no background: class 0 is the sky.  The annotation's twelfth value is ``VOID``.

    Source: the files of the SegNet tutorial.
    Raises: InputError if files are missing or the split is empty; on access, if an image or a mask cannot be
    read, sizes differ, or a value is no class.
    """

    classes = CAMVID_CLASSES
    numbers = (*range(len(CAMVID_CLASSES)), VOID)

    def __init__(self, root: Path | str, split: str = "val", *, name: str = "camvid") -> None:
        root = Path(root)
        images = list_images(root / split)
        super().__init__(root, [(path, root / f"{split}annot" / f"{path.stem}.png") for path in images], name=name)


class Cityscapes(_Scenes):
    """Cityscapes, fine annotations: ``root/leftImg8bit/<split>/<city>`` and ``root/gtFine/<split>/<city>``.

    The masks are those of label ids (``*_gtFine_labelIds.png``); the 19 ids that take part in the evaluation become
    their train ids, road being class 0, and all others ``VOID``.

    Source: cityscapesScripts, helpers/labels.py, which mmsegmentation follows.
    Raises: InputError if files are missing or the split is empty; on access, if an image or a mask cannot be
    read, sizes differ, or a value is no label id.
    """

    classes = tuple(CITYSCAPES_IDS)
    numbers = tuple([*CITYSCAPES_IDS.values()].index(v) if v in CITYSCAPES_IDS.values() else VOID for v in range(34))

    def __init__(self, root: Path | str, split: str = "val", *, name: str = "cityscapes") -> None:
        root = Path(root)
        folder = require_folder(root / "leftImg8bit" / split)
        files = []
        for city in sorted(path for path in folder.iterdir() if path.is_dir()):
            for path in list_images(city):
                mask = path.name.replace("_leftImg8bit", "_gtFine_labelIds")
                files.append((path, root / "gtFine" / split / city.name / mask))
        if not files:
            raise InputError(f"folder {folder} holds no image: unpack the data set again, or choose another split")
        super().__init__(root, files, name=name)


class ADE20K(_Scenes):
    """ADE20K's scene parsing challenge, 150 classes: ``root/images/<folder>`` and ``root/annotations/<folder>``.

    The splits ``train`` and ``val`` lie in the folders training and validation.  Value 0 of a mask is ``VOID``, and
    1 … 150 are the classes 0 … 149.

    Source: the challenge's own files; mmsegmentation's ``reduce_zero_label``, and its short names of the classes.
    Raises: InputError if files are missing or the split is empty or unknown; on access, if an image or a mask cannot
    be read, sizes differ, or a value is no class.
    """

    classes = ADE20K_CLASSES
    numbers = (VOID, *range(len(ADE20K_CLASSES)))

    def __init__(self, root: Path | str, split: str = "val", *, name: str = "ade20k") -> None:
        root = Path(root)
        folders = {"train": "training", "val": "validation"}
        if split not in folders:
            raise InputError(f"ADE20K has no split {split!r}: its splits are train and val")
        images = list_images(root / "images" / folders[split])
        masks = root / "annotations" / folders[split]
        super().__init__(root, [(path, masks / f"{path.stem}.png") for path in images], name=name)
