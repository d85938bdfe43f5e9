"""Images sorted into one folder a class, as ImageNet and Imagenette are."""

import os
from collections.abc import Sequence
from pathlib import Path

from wbcore.data.example import Example
from wbcore.data.images import read_image
from wbcore.data.readers.files import fingerprint, is_image_name, require_folder
from wbcore.errors import InputError


class ImageFolder:
    """``root/<split>/<class>/<image>``: the label of an image is the place of its folder in sorted order.

    The classes are the folders of all splits together, so that a number means the same class in each of
    them even if one split lacks a class.  Examples are sorted by class, then by file name.

    Source: torchvision's ImageFolder, whose labels these are.
    Deviates: the classes of all splits count; images directly below a class folder only.
    Raises: InputError if the split does not exist or holds no image.
    """

    def __init__(self, root: Path | str, split: str = "val", *, name: str = "imagefolder") -> None:
        self.name = name
        self.root = Path(root)
        require_folder(self.root / split)
        labels = {folder.name for split_folder in _folders(self.root) for folder in _folders(split_folder)}
        self.classes: Sequence[str] = sorted(labels)
        number = {label: index for index, label in enumerate(self.classes)}
        self._files = [
            (path, number[folder.name])
            for folder in _folders(self.root / split)
            for path in sorted(map(Path, os.scandir(folder)))
            if is_image_name(path.name)
        ]
        if not self._files:
            raise InputError(
                f"folder {self.root / split} holds no image: expected <class>/<image>.jpg, or choose another split"
            )
        self.fingerprint = fingerprint(self.root, self.classes, images=(path for path, _ in self._files))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        path, label = self._files[index]
        return Example(name=path.relative_to(self.root).as_posix(), image=read_image(path), label=label)


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
