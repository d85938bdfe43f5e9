"""Tokens that stop against tokens that all go on: is the time saved that the multiply-accumulates promise?

From the project's root:  OMP_NUM_THREADS=1 python -m benchmarks.token_pass  [--device cuda]

SETR on a ViT as wide as ViT-Ti (192 wide, 12 layers; any other by ``--model``) on images of 1024×2048 and 512×1024
pixels, 8192 and 2048 tokens.  Half or four fifths of the patches stop, at once after layer 3 or bit by bit after
layers 3, 6 and 9.  The dense model and the other take turns, and the whole forward pass counts, probes, gathering and
decoder included.  Last, a batch of eight images that keep different numbers of tokens against the same one by one.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from benchmarks.attention import compare
from wbcore.devices import choose_device
from wbcore.files import DATA, write_bytes
from wbcore.metrics.segmentation_cost import dense_ledger, segmentation_ledger
from wbcore.models.dovit import DoViT, Policy, SegmenterConfig
from wbcore.models.segmenter import AuxiliaryHead
from wbcore.models.zoo import model_config

SIZES = {8192: (1024, 2048), 2048: (512, 1024)}
"""Pixels of an image with so many patches of 16 pixels."""
STOPPED = {
    "50 % after layer 3": (0.5, 0.5, 0.5),
    "80 % after layer 3": (0.8, 0.8, 0.8),
    "17, 33, 50 % after layers 3, 6, 9": (1 / 6, 1 / 3, 1 / 2),
    "27, 53, 80 % after layers 3, 6, 9": (4 / 15, 8 / 15, 4 / 5),
}
"""The share of the patches that have stopped after each decision."""
REPEATS = {8192: 3, 2048: 7}
"""How often the two take turns."""
RAGGED = (0.0, 0.95, 0.2, 0.8, 0.35, 0.65, 0.5, 0.1)
"""The share that stops after layer 3 in each of eight images."""


class ScheduledProbe(AuxiliaryHead):
    """An early probe that does its work and then is sure of a fixed random share of each image's patches."""

    shares: Sequence[float] = ()

    def forward(self, patch_tokens: Float[Tensor, "b p d"]) -> Float[Tensor, "b p c"]:
        logits = 0 * super().forward(patch_tokens)
        logits[..., 0] += 100 * self.sure(patch_tokens.shape[1]).to(logits)
        return logits

    def sure(self, patches: int) -> Bool[Tensor, "b p"]:
        """The same order of the patches each time, so that what has stopped is sure again."""
        order = torch.randperm(patches, generator=torch.Generator().manual_seed(0))
        return torch.stack([order < round(share * patches) for share in self.shares])


def segmenter(name: str, size: tuple[int, int], device: str) -> DoViT:
    """An untrained model whose probes can be told what to stop."""
    torch.manual_seed(0)
    backbone = model_config(name, num_classes=0, image_size=size)
    model = DoViT(SegmenterConfig(backbone, 19, policy=Policy("confidence"))).eval()
    model.probes = torch.nn.ModuleList(ScheduledProbe(backbone.dim, 19) for _ in model.probes)
    return model.to(device)


def schedule(model: DoViT, shares: Sequence[Sequence[float]]) -> None:
    """Stop the share ``shares[decision][image]``."""
    for probe, images in zip(cast(Sequence[ScheduledProbe], model.probes), shares, strict=True):
        probe.shares = images


def forward(model: DoViT, images: Tensor, kind: str) -> tuple[Tensor, list[list[int]]]:
    """The logits, and the tokens that each image had in each layer, under a policy."""
    model.policy = replace(model.policy, kind=kind)
    with torch.inference_mode():
        found = model(images)
    return found.coarse, [list(image) for image in zip(*found.tokens, strict=True)]


def one_image(name: str, size: tuple[int, int], shares: Sequence[float], device: str) -> dict[str, object]:
    """Token-pass against the dense model on one image."""
    model, image = segmenter(name, size, device), torch.randn(1, 3, *size, device=device)
    schedule(model, [[share] for share in shares])
    (tokens,) = forward(model, image, "confidence")[1]
    grid = model.config.backbone.grid
    macs = segmentation_ledger(model.config, grid, tokens).whole.total
    dense = dense_ledger(model.config, grid).whole.total
    measured = compare(
        lambda: forward(model, image, "confidence"),
        lambda: forward(model, image, "dense"),
        device,
        repeats=REPEATS.get(grid[0] * grid[1], 3),
    )
    ratio = dense / macs
    saved = 1 - measured["milliseconds"] / measured["reference_milliseconds"]
    return {
        "tokens": tokens,
        "gmacs": round(macs / 1e9, 2),
        "reference_gmacs": round(dense / 1e9, 2),
        "macs_ratio": round(ratio, 2),
        **measured,
        "speedup_of_macs_ratio": round(measured["speedup"] / ratio, 3),
        "time_saved": round(saved, 3),
        "macs_saved": round(1 - 1 / ratio, 3),
        "time_saved_of_macs_saved": round(saved / (1 - 1 / ratio), 3),
    }


def ragged_batch(name: str, size: tuple[int, int], device: str) -> dict[str, object]:
    """Eight images that keep different numbers of tokens, at once against one by one."""
    model, images = segmenter(name, size, device), torch.randn(len(RAGGED), 3, *size, device=device)

    def at_once() -> Tensor:
        schedule(model, [RAGGED] * 3)
        return forward(model, images, "confidence")[0]

    def one_by_one() -> Tensor:
        alone = []
        for share, image in zip(RAGGED, images, strict=True):
            schedule(model, [[share]] * 3)
            alone.append(forward(model, image[None], "confidence")[0])
        return torch.cat(alone)

    error = (at_once() - one_by_one()).abs().max().item()
    return {**compare(at_once, one_by_one, device, repeats=REPEATS[2048]), "largest_difference": float(f"{error:.1e}")}


def report(name: str, device: str) -> dict[str, object]:
    cases = [(tokens, title) for tokens in SIZES for title in STOPPED]
    found: dict[str, object] = {
        f"{tokens} tokens, {title}": one_image(name, SIZES[tokens], STOPPED[title], device)
        for tokens, title in tqdm(cases, "cases")
    }
    found["2048 tokens, a ragged batch of 8 against one by one"] = ragged_batch(name, SIZES[2048], device)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--out", type=Path, default=DATA / "results" / "benchmarks" / "token_pass.json")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    header = {
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "repeats": REPEATS,
        "model": arguments.model,
    }
    text = json.dumps({**header, **report(arguments.model, device)}, indent=2)
    write_bytes(arguments.out, (text + "\n").encode())
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
