"""One reader for each format of data set, all handing out :class:`wbcore.data.example.Example`."""

from wbcore.data.readers.coco import CocoInstances, CocoPanoptic
from wbcore.data.readers.folder import ImageFolder
from wbcore.data.readers.pairs import CamVid, VocSegmentation, WeizmannHorses

__all__ = ["CamVid", "CocoInstances", "CocoPanoptic", "ImageFolder", "VocSegmentation", "WeizmannHorses"]
