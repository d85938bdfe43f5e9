"""One reader for each format of data set, all handing out :class:`wbcore.data.example.Example`."""

from wbcore.data.readers.cifar import Cifar
from wbcore.data.readers.coco import CocoInstances, CocoPanoptic
from wbcore.data.readers.fine_grained import Flowers102, OxfordPets
from wbcore.data.readers.folder import ImageFolder
from wbcore.data.readers.pairs import VocSegmentation, WeizmannHorses
from wbcore.data.readers.scenes import ADE20K, CamVid, Cityscapes

__all__ = [
    "ADE20K",
    "CamVid",
    "Cifar",
    "Cityscapes",
    "CocoInstances",
    "CocoPanoptic",
    "Flowers102",
    "ImageFolder",
    "OxfordPets",
    "VocSegmentation",
    "WeizmannHorses",
]
