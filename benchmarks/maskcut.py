"""MaskCut against the dense official way, side by side in one run: time, and whether every cut is the same.

From the project's root:  OMP_NUM_THREADS=1 python -m benchmarks.maskcut  [--weights vit_tiny.pth --images folder]

Seconds are processor time, which other programs on the machine do not lengthen much; with one thread they are the
seconds of an idle machine.  ``OMP_NUM_THREADS`` binds both ways alike.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.reference.dense_maskcut import DenseRound, affinity, dense_maskcut, second_eigenvector
from benchmarks.reference.features import PretrainedKeys, blobs, random_network
from wbcore.files import DATA, sha256, write_bytes
from wbcore.metrics.maskcut import maskcut, maskcut_rounds
from wbcore.metrics.normalized_cut import normalized_cut, similarity_graph

Grid = tuple[int, int]
# Grid → how many cases of each kind: blobs, a random network's features, a pretrained transformer's.
COUNTS: dict[Grid, tuple[int, int, int]] = {(30, 30): (12, 8, 20), (23, 37): (8, 6, 6), (60, 60): (1, 1, 3)}
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
    passes: list[int]
    cuts: int  # not degenerate, and so comparable
    same_cuts: int
    degenerate: int
    masks: str  # "same", "tie" (equally extreme entries in several components) or "different"
    sign_matters: bool | None  # whether the official masks change with the sign of the eigenvectors


def cases(weights: Path | None, images: Path | None) -> Iterator[tuple[str, Grid, Tensor]]:
    """The features to cut, each with the name of its source and its grid."""
    keys = PretrainedKeys(weights) if weights else None
    photographs = sorted(images.rglob("*.jpg")) if images else []
    for grid, (num_blobs, num_random, num_pretrained) in COUNTS.items():
        for seed in range(num_blobs):
            yield "blobs", grid, blobs(seed, grid, noise=NOISES[seed % len(NOISES)])
        for seed in range(num_random):
            yield "random network", grid, random_network(seed, grid)
        if keys and photographs:
            for photograph in photographs[:: max(1, len(photographs) // num_pretrained)][:num_pretrained]:
                yield "pretrained ViT-Ti/16", grid, keys(photograph, grid)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(source: str, grid: Grid, tokens: Tensor) -> Result:
    """Both ways on one image; ours is timed before and after each dense round, which takes far longer."""
    array = tokens.numpy()
    graph = similarity_graph(tokens[None], 0.15)
    rounds = list(maskcut_rounds(tokens[None], grid))  # also the warm-up
    whole = partial(maskcut, tokens, grid)
    times, dense_seconds, dense, speedups = [seconds(whole)], 0.0, [], []
    stream = dense_maskcut(array, grid, peak_sign=1)
    for _ in rounds:
        start = time.process_time()
        dense.append(next(stream))
        dense_seconds += time.process_time() - start
        cut = partial(normalized_cut, graph, torch.from_numpy(~dense[-1].painted)[None])
        speedups.append(dense[-1].seconds / statistics.mean(seconds(cut) for _ in range(2)))
        times.append(seconds(whole))
    result = Result(
        source, grid, speedups, dense_seconds / statistics.mean(times), statistics.mean(times), dense_seconds,
        [], 0, 0, 0, "same", None,
    )  # fmt: skip
    painted = np.zeros(len(array), bool)
    for index, (found, reference) in enumerate(zip(rounds, dense, strict=True)):
        mask, vector = found.mask[0].numpy(), found.cut.vector[0].numpy()
        if index == 0 or rounds[index - 1].mask.any():  # else the same problem as before
            result.passes.append(int(found.cut.passes))
            result.degenerate += bool(found.cut.degenerate)
            if not found.cut.degenerate:
                result.cuts += 1
                result.same_cuts += same_cut(vector, expected_vector(array, painted, reference))
        if result.masks == "same" and not np.array_equal(mask, reference.mask):
            result.masks = "tie" if tied(vector, mask, reference.mask) else "different"
        painted = painted | mask.ravel()
    if len(array) <= SIGN_LIMIT:
        other = dense_maskcut(array, grid, peak_sign=-1)
        result.sign_matters = any(not np.array_equal(a.mask, b.mask) for a, b in zip(dense, other, strict=True))
    return result


def expected_vector(array: np.ndarray, painted: np.ndarray, reference: DenseRound) -> np.ndarray:
    """The dense solution of our problem, solved again where the two ways had parted before."""
    if np.array_equal(painted, reference.painted):
        return reference.vector
    return second_eigenvector(affinity(array * ~painted[:, None], 0.15))[1]


def same_cut(ours: np.ndarray, reference: np.ndarray) -> bool:
    """Whether two eigenvectors part the tokens alike, whichever side is which."""
    a, b = ours > ours.mean(), reference > reference.mean()
    return np.array_equal(a, b) or np.array_equal(a, ~b)


def tied(vector: np.ndarray, *masks: np.ndarray) -> bool:
    """Whether the eigenvector is equally extreme in both masks, so that rounding chose between them."""
    inside = [vector[mask.ravel()] for mask in masks]
    if not all(len(entries) for entries in inside):
        return False
    tolerance = 1e-8 * np.abs(vector).max()
    return any(abs(extreme(inside[0]) - extreme(inside[1])) <= tolerance for extreme in (np.max, np.min))


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
    parser.add_argument("--out", type=Path, default=DATA / "results" / "benchmarks" / "maskcut.json")
    arguments = parser.parse_args()
    if (arguments.weights is None) != (arguments.images is None):
        parser.error("--weights and --images belong together")

    header = {
        "device": "cpu",
        "seconds": "processor time",
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "scipy": scipy.__version__, "numpy": np.__version__},
        "weights": sha256(arguments.weights) if arguments.weights else None,
    }
    results, text = [], ""
    for case in tqdm(cases(arguments.weights, arguments.images), "images", sum(map(sum, COUNTS.values()))):
        results.append(compare(*case))
        text = json.dumps(header | report(results), indent=2)
        write_bytes(arguments.out, text.encode() + b"\n")  # after each, so that an interrupted run is not lost
    print(text)


if __name__ == "__main__":
    main()
