"""MaskCut against the dense official way, side by side in one run: time, and whether every cut is the same.

From the project's root:  OMP_NUM_THREADS=1 python -m benchmarks.maskcut  [--weights vit_tiny.pth --images folder]
On an accelerator, several images at a time:  python -m benchmarks.maskcut --device cuda --batch 16

On a CPU seconds are processor time, which other programs on the machine do not lengthen much; with one thread they are
the seconds of an idle machine.  ``OMP_NUM_THREADS`` binds both ways alike.  The dense way is always on the CPU.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import scipy
import torch
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from benchmarks.reference.dense_maskcut import DenseRound, affinity, dense_maskcut, second_eigenvector
from benchmarks.reference.features import PretrainedKeys, TrainedCrate, blobs, random_network
from wbcore.data import cutouts
from wbcore.files import DATA, sha256, write_bytes
from wbcore.metrics.maskcut import Round, maskcut_batch, maskcut_rounds
from wbcore.metrics.normalized_cut import normalized_cut, similarity_graph

Grid = tuple[int, int]
# Grid → how many cases of each kind: blobs, a random network's features, the project's CRATE's, a pretrained ViT's.
COUNTS: dict[Grid, tuple[int, int, int, int]] = {
    (60, 60): (1, 1, 2, 1),
    (30, 30): (12, 8, 12, 10),
    (23, 37): (8, 6, 6, 6),
}
NOISES = (0.3, 0.8, 1.5, 2.5)
SIGN_LIMIT = 1000  # tokens: up to here the dense run is repeated with the other sign


@dataclass
class Result:
    """What one image gave.  A speed-up is the time of the dense way over ours."""

    source: str
    grid: Grid
    cut_speedups: list[float]
    maskcut_speedup: float
    seconds: float
    dense_seconds: float
    passes: list[int] = field(default_factory=list)
    cuts: int = 0  # not degenerate, and so comparable
    same_cuts: int = 0
    degenerate: int = 0
    masks: str = "same"  # or "tie" (its first other mask is one of several as extreme) or "different"
    sign_matters: bool | None = None  # whether the official masks change with the sign of the eigenvectors


def cases(weights: Path | None, images: Path | None) -> Iterator[tuple[str, Grid, Tensor]]:
    """The features to cut, each with the name of its source and its grid."""
    crate, pictures = TrainedCrate(), cutouts.photographs()
    keys = PretrainedKeys(weights) if weights else None
    photographs = sorted(images.rglob("*.jpg")) if images else []
    for grid, (num_blobs, num_random, num_crate, num_pretrained) in COUNTS.items():
        for seed in range(num_blobs):
            yield "blobs", grid, blobs(seed, grid, noise=NOISES[seed % len(NOISES)])
        for seed in range(num_random):
            yield "random network", grid, random_network(seed, grid)
        for picture in pictures[:num_crate]:
            yield "trained CRATE", grid, crate(picture.image, grid)
        if keys and photographs:
            for photograph in photographs[:: max(1, len(photographs) // num_pretrained)][:num_pretrained]:
                yield "pretrained ViT-Ti/16", grid, keys(photograph, grid)


def seconds(work: Callable[[], object], device: str) -> float:
    """How long ``work`` takes: processor time on a CPU, time by the clock on an accelerator."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.accelerator.synchronize()
    start = time.perf_counter()
    work()
    torch.accelerator.synchronize()
    return time.perf_counter() - start


def compare(source: str, grid: Grid, tokens: Tensor, device: str) -> list[Result]:
    """Both ways on a batch of images [b, n, d]; ours is timed before and after each round of dense solutions.

    Our seconds are those of the batch over its size.
    """
    arrays, count = tokens.numpy(), len(tokens)
    tokens = tokens.to(device)
    graph = similarity_graph(tokens, 0.15)
    rounds = list(maskcut_rounds(tokens, grid))  # also the warm-up
    whole = partial(maskcut_batch, tokens, grid)
    times = [seconds(whole, device)]
    streams = [dense_maskcut(array, grid, peak_sign=1) for array in arrays]
    dense: list[list[DenseRound]] = [[] for _ in arrays]
    dense_seconds = [0.0] * count
    cut_seconds = []
    for _ in rounds:
        for index, stream in enumerate(streams):
            start = time.process_time()
            dense[index].append(next(stream))
            dense_seconds[index] += time.process_time() - start
        active = torch.from_numpy(np.stack([~found[-1].painted for found in dense])).to(device)
        cut = partial(normalized_cut, graph, active)
        cut_seconds.append(statistics.mean(seconds(cut, device) for _ in range(2)) / count)
        times.append(seconds(whole, device))
    ours = statistics.mean(times) / count
    results = []
    for index, array in enumerate(arrays):
        speedups = [found.seconds / own for found, own in zip(dense[index], cut_seconds, strict=True)]
        result = Result(source, grid, speedups, dense_seconds[index] / ours, ours, dense_seconds[index])
        check(result, array, rounds, dense[index], index)
        results.append(result)
    return results


def check(result: Result, array: np.ndarray, rounds: list[Round], dense: list[DenseRound], index: int) -> None:
    """Count in ``result`` where the rounds of image ``index`` agree with the dense ones."""
    painted = np.zeros(len(array), bool)
    fresh = True  # whether the problem is another than the round before
    for found, reference in zip(rounds, dense, strict=True):
        mask, vector = found.mask[index].cpu().numpy(), found.cut.vector[index].cpu().numpy()
        degenerate = bool(found.cut.degenerate[index])
        if fresh:
            result.passes.append(int(found.cut.passes[index]))
            result.degenerate += degenerate
            if not degenerate:
                result.cuts += 1
                result.same_cuts += same_cut(vector, expected_vector(array, painted, reference))
        if result.masks == "same" and not np.array_equal(mask, reference.mask):
            result.masks = "tie" if tied(vector, found.foreground[index].cpu().numpy()) else "different"
        painted = painted | mask.ravel()
        fresh = mask.any()
    if len(array) <= SIGN_LIMIT:
        other = dense_maskcut(array, result.grid, peak_sign=-1)
        result.sign_matters = any(not np.array_equal(a.mask, b.mask) for a, b in zip(dense, other, strict=True))


def expected_vector(array: np.ndarray, painted: np.ndarray, reference: DenseRound) -> np.ndarray:
    """The dense solution of our problem, solved again where the two ways had parted before."""
    if np.array_equal(painted, reference.painted):
        return reference.vector
    return second_eigenvector(affinity(array * ~painted[:, None], 0.15))[1]


def same_cut(ours: np.ndarray, reference: np.ndarray) -> bool:
    """Whether two eigenvectors part the tokens alike, whichever side is which."""
    a, b = ours > ours.mean(), reference > reference.mean()
    return np.array_equal(a, b) or np.array_equal(a, ~b)


def tied(vector: np.ndarray, foreground: np.ndarray) -> bool:
    """Whether several components of the foreground [rows, cols] hold its extreme entry, so that rounding chooses."""
    inside = foreground.ravel()
    entries = vector if vector[inside].mean() > vector.mean() else -vector
    seeds = inside & (entries >= entries[inside].max() - 1e-8 * np.abs(vector).max())
    labels = np.empty(foreground.shape, np.int32)
    ndimage.label(foreground, output=labels)
    return len(np.unique(labels.ravel()[seeds])) > 1


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, quartiles and extremes."""
    levels = np.quantile(list(values), [0.5, 0, 0.25, 0.75, 1]).round(1).tolist()
    return dict(zip(["median", "min", "q25", "q75", "max"], levels, strict=True))


def summary(results: list[Result]) -> dict:
    """One row of the report: speed and agreement over several images."""
    signs = [result.sign_matters for result in results if result.sign_matters is not None]
    kinds = [result.masks for result in results]
    return {
        "images": len(results),
        "eigenproblem_speedup": spread(ratio for result in results for ratio in result.cut_speedups),
        "maskcut_speedup": spread(result.maskcut_speedup for result in results),
        "milliseconds": spread(1000 * result.seconds for result in results),
        "dense_milliseconds": spread(1000 * result.dense_seconds for result in results),
        "passes": spread(count for result in results for count in result.passes),
        "cuts": sum(result.cuts for result in results),
        "same_cuts": sum(result.same_cuts for result in results),
        "degenerate_cuts": sum(result.degenerate for result in results),
        "mask_stacks": {kind: kinds.count(kind) for kind in ("same", "tie", "different")},
        "official_result_depends_on_sign": {"images": sum(signs), "of": len(signs)},
    }


def report(results: list[Result]) -> dict:
    """A summary for each grid, each source on each grid, and all."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        grid = f"{result.grid[0]}x{result.grid[1]}"
        for name in (grid, f"{grid}, {result.source}", "all"):
            groups.setdefault(name, []).append(result)
    return {name: summary(group) for name, group in sorted(groups.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="timm's vit_tiny_patch16_224, as a state dict")
    parser.add_argument("--images", type=Path, help="a folder with photographs (*.jpg, at any depth)")
    parser.add_argument("--device", default="cpu", help="where ours runs")
    parser.add_argument("--batch", type=int, default=1, help="images of one kind that ours takes at a time")
    parser.add_argument("--out", type=Path, default=DATA / "results" / "benchmarks" / "maskcut.json")
    arguments = parser.parse_args()
    if (arguments.weights is None) != (arguments.images is None):
        parser.error("--weights and --images belong together")

    header = {
        "device": arguments.device,
        "batch": arguments.batch,
        "seconds": "processor time" if arguments.device == "cpu" else "time by the clock",
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "scipy": scipy.__version__, "numpy": np.__version__},
        "weights": sha256(arguments.weights) if arguments.weights else None,
    }
    results, text = [], ""
    everything = tqdm(cases(arguments.weights, arguments.images), "images", sum(map(sum, COUNTS.values())))
    for (source, grid), group in itertools.groupby(everything, key=lambda case: case[:2]):
        for batch in torch.stack([tokens for *_, tokens in group]).split(arguments.batch):
            results += compare(source, grid, batch, arguments.device)
            text = json.dumps(header | report(results), indent=2)
            write_bytes(arguments.out, text.encode() + b"\n")  # after each, so that an interrupted run is not lost
    print(text)


if __name__ == "__main__":
    main()
