"""MaskCut by dense linear algebra, one image, as the official code states it: slow, and the measure of ours.

Each rule stands where the official code has it (CutLER, ``maskcut.py``), in float64 with the cosine in float32.  The
sign of the eigenvector is LAPACK's unless ``peak_sign`` sets that of its entry of largest magnitude.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import linalg, ndimage

EPS = 1e-5


class DenseRound(NamedTuple):
    """One round: its mask [rows, cols], what was painted before it [n], and the eigenproblem it solved."""

    mask: np.ndarray
    painted: np.ndarray
    vector: np.ndarray
    eigenvalues: np.ndarray  # the second and the third
    seconds: float  # of processor time, in the eigenproblem alone


def affinity(features: np.ndarray, tau: float, *, normalised: bool = True) -> np.ndarray:
    """``A`` of the features [n, d]: 1 where the cosine (or the inner product) exceeds ``tau``, else 1e-5."""
    features = features.astype(np.float32)
    if not normalised:
        return np.where(features @ features.T > tau, 1.0, EPS)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, np.float32(1e-12))
    return np.where(unit @ unit.T > tau, 1.0, EPS)


def second_eigenvector(affinities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues 2 and 3 of ``(D - A) v = λ D v`` and the vector of the second."""
    degrees = np.diag(affinities.sum(axis=1))
    values, vectors = linalg.eigh(degrees - affinities, degrees, subset_by_index=[1, 2])
    return values, vectors[:, 0]


def choose(vector: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The component [rows, cols] that the official rules choose from an eigenvector of the given sign."""
    foreground = vector > vector.mean()
    plane = foreground.reshape(grid)
    corners = int(plane[0, 0]) + int(plane[0, -1]) + int(plane[-1, 0]) + int(plane[-1, -1])
    reverse = True if corners >= 3 else not foreground[np.argmax(np.abs(vector))]
    if reverse:
        plane, vector = ~plane, -vector
    labels = np.empty(grid, np.int32)
    ndimage.label(plane, output=labels)
    return labels == labels.flat[np.argmax(vector)]


def dense_maskcut(
    features: np.ndarray,
    grid: tuple[int, int],
    *,
    tau: float = 0.15,
    num_masks: int = 3,
    peak_sign: int | None = None,
    normalised: bool = True,
) -> Iterator[DenseRound]:
    """The rounds of MaskCut for features [n, d], one at a time, each solved afresh."""
    painted = np.zeros(features.shape[0], bool)
    previous = np.zeros(grid, bool)
    for index in range(num_masks):
        affinities = affinity(features * ~painted[:, None], tau, normalised=normalised)
        start = time.process_time()
        values, vector = second_eigenvector(affinities)
        seconds = time.process_time() - start
        if peak_sign is not None:
            vector = vector * peak_sign * np.sign(vector[np.argmax(np.abs(vector))])
        mask = choose(vector, grid)
        if index:
            overlap = (mask & previous).sum() / (mask | previous).sum()
            if overlap > 0.5 or mask.mean() <= 0.01:
                mask = np.zeros(grid, bool)
        previous = mask
        yield DenseRound(mask & ~painted.reshape(grid), painted, vector, values, seconds)
        painted = painted | mask.ravel()
