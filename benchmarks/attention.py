"""Attention without its matrix against attention with it, side by side in one run: time and memory.

From the project's root:  OMP_NUM_THREADS=1 python -m benchmarks.attention  [--device cuda]

One MSSA layer as wide as CRATE-S (384 wide, 6 heads): forward, training step, the class token's row of the map, and
a training step of the whole ``vit_small_patch8_224`` against timm's.  The two ways take turns; a speed-up is the median
of the reference's seconds over the median of ours, with the spread of the single ratios.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from wbcore._compat import import_timm
from wbcore.devices import choose_device
from wbcore.files import DATA, write_bytes
from wbcore.models import create_model
from wbcore.models.attention import MSSA

DIM, HEADS = 384, 6
SHAPES = {785: 4, 3601: 1}
"""Tokens of 224 and 480 px at patch 8, and images at a time."""
REPEATS = 9


class MaterialisedMSSA(MSSA):
    """The same layer as the official code computes it: the whole map of every head, then its product."""

    def attention_map(self, projected: Tensor) -> Tensor:
        return (projected @ projected.transpose(-1, -2) * self.scale).softmax(dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        projected = self.projections(tokens)
        mixed = self.attention_map(projected) @ projected
        assert self.output is not None
        return self.output(mixed.transpose(1, 2).flatten(2))


def layers(device: str) -> tuple[MSSA, MaterialisedMSSA]:
    """Ours and the reference with the same weights."""
    torch.manual_seed(0)
    ours = MSSA(DIM, HEADS, DIM // HEADS, tied=False).to(device)
    reference = MaterialisedMSSA(DIM, HEADS, DIM // HEADS, tied=False).to(device)
    reference.load_state_dict(ours.state_dict())
    return ours, reference


def forward(layer: nn.Module, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        return layer(tokens)


def step(layer: nn.Module, tokens: Tensor) -> Tensor:
    layer.zero_grad()
    result = layer(tokens)
    result.square().mean().backward()
    return result.detach()


def class_row(layer: MSSA, tokens: Tensor) -> Tensor:
    """The class token's attention: ours from its query alone, the reference's out of the whole map."""
    with torch.inference_mode():
        if isinstance(layer, MaterialisedMSSA):
            return layer.attention_map(layer.projections(tokens))[:, :, 0]
        return layer.cls_attention(tokens)


WORK: dict[str, Callable[..., Tensor]] = {"forward": forward, "training step": step, "class token's row": class_row}


def seconds(work: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def compare(
    ours: Callable[[], object], reference: Callable[[], object], device: str, *, repeats: int = REPEATS
) -> dict[str, float]:
    """The two in turn, after one warm-up each."""
    pairs = [(seconds(ours, device), seconds(reference, device)) for _ in range(1 + repeats)][1:]
    ratios = np.array([slow / fast for fast, slow in pairs])
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "speedup": round(theirs / mine, 2),
        "min": round(float(ratios.min()), 2),
        "max": round(float(ratios.max()), 2),
        "milliseconds": round(1000 * mine, 1),
        "reference_milliseconds": round(1000 * theirs, 1),
    }


def peak_mebibytes(name: str, tokens: int, ours: bool, device: str) -> float:
    """How much a process of its own grows by one run: on a CPU its largest resident size, on a GPU what torch took."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grow, (name, tokens, ours, device))


def _grow(name: str, tokens: int, ours: bool, device: str) -> float:
    layer = layers(device)[0 if ours else 1]
    work = WORK[name]
    work(layer, torch.randn(1, 17, DIM, device=device))  # what torch itself needs, before the measurement
    images = torch.randn(SHAPES[tokens], tokens, DIM, device=device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work(layer, images)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the largest resident size begins anew
    before = _resident("VmHWM")
    work(layer, images)
    return (_resident("VmHWM") - before) / 2**10


def _resident(name: str) -> int:
    """A size of this process in KiB, as Linux counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def whole_models(device: str) -> dict[str, float]:
    """A training step of our ViT-S/8 against timm's: the same shapes, four images of 224 px."""
    timm = import_timm()
    images, labels = torch.randn(4, 3, 224, 224, device=device), torch.arange(4, device=device)
    models = (
        create_model("vit_small_patch8_224", num_classes=1000).to(device).train(),
        timm.create_model("vit_small_patch8_224", num_classes=1000).to(device).train(),
    )

    def training_step(model: nn.Module) -> Callable[[], None]:
        def work() -> None:
            model.zero_grad()
            F.cross_entropy(model(images), labels).backward()

        return work

    ours, reference = map(training_step, models)
    return compare(ours, reference, device)


def report(device: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for tokens, batch in tqdm(SHAPES.items(), "tokens"):
        torch.manual_seed(1)
        images = torch.randn(batch, tokens, DIM, device=device)
        ours, reference = layers(device)
        for name, work in WORK.items():
            error = (work(ours, images) - work(reference, images)).abs().max().item()
            memory = [peak_mebibytes(name, tokens, mine, device) for mine in (True, False)]
            found[f"{name}, {tokens} tokens, batch {batch}"] = {
                **compare(partial(work, ours, images), partial(work, reference, images), device),
                "largest_difference": float(f"{error:.1e}"),
                "peak_mebibytes": round(memory[0], 1),
                "reference_peak_mebibytes": round(memory[1], 1),
            }
    found["training step of ViT-S/8 against timm's, 785 tokens, batch 4"] = whole_models(device)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=DATA / "results" / "benchmarks" / "attention.json")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    header = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__, "repeats": REPEATS}
    text = json.dumps({**header, **report(device)}, indent=2)
    write_bytes(arguments.out, (text + "\n").encode())
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
