"""Models, batches and records small enough for tests of what stands above them."""

from collections.abc import Sequence

import torch

from wbcore.models import Backbone, BackboneConfig
from wbcore.records import Record

CONFIG = BackboneConfig(image_size=24, patch_size=8, dim=12, depth=2, heads=3, num_classes=5)


class ColourBatches:
    """The label is how bright a noisy image is, so that it can be learned in a few steps."""

    workers = 0

    def __init__(self, *, num_examples: int = 24, seed: int = 0) -> None:
        self.name, self.num_classes, self.num_examples, self.seed = "colours", 5, num_examples, seed
        self.fingerprint = f"{seed:064x}"

    def batch(self, epoch: int, positions: Sequence[int]):
        images, labels = [], []
        for position in positions:
            generator = torch.Generator().manual_seed(1000 * epoch + position)
            label = int(torch.randint(5, (), generator=generator))
            images.append(torch.randint(50 * label, 50 * label + 20, (3, 24, 24), generator=generator))
            labels.append(label)
        return torch.stack(images).to(torch.uint8), torch.tensor(labels)


class Photographs(list):
    """Examples as a data set."""

    name, fingerprint, classes = "noise", 64 * "0", ("any",)


def model(config: BackboneConfig = CONFIG, *, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return Backbone(config)


def record(value: float, *, model: str = "crate", **fields) -> Record:
    known = {"metric": "attention_miou/mass60/layer-1", "data": "cutouts", "low": value - 0.02, "high": value + 0.03}
    return Record(model=model, value=value, **{**known, "n": 7, **fields})
