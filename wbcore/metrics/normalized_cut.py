"""The normalised cut of a graph of tokens: its second smallest generalised eigenvector, for many images at once.

The graph is the one of TokenCut and MaskCut: ``A = 1`` between tokens whose cosine exceeds ``tau`` and ``EPS``
elsewhere.  With a 0/1 matrix ``B`` it is ``A = EPS + (1 - EPS) B``, so a product with ``A`` is a product with ``B`` and
a sum.  Nothing more is ever asked of the graph: the eigenvector comes from a few such products.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int, Int8
from torch import Tensor

EPS = 1e-5
"""The affinity of two tokens that are not alike; it keeps the graph connected."""

DEGENERATE_GAP = 1e-8
"""Below this distance between the second and the third eigenvalue a cut counts as undefined."""

Graph = Int8[Tensor, "b n n"] | Float32[Tensor, "b n n"]
"""Edges between the tokens of each image, 0 or 1."""

TIE = 1e-8
"""Entries of an eigenvector that differ by less than this part of its peak are equal."""

_BLOCK = 2  # two vectors at a time: a double eigenvalue shows, and one pass over the graph serves both
_MAX_STEPS = 256
_TOLERANCE = 1e-10  # of the eigenvector
_NOISE = 1e-13  # the smallest residual that rounding lets us see
_ROWS = 512  # of the graph, made at a time
_DIGITS, _DIGIT_BITS = 8, 7  # of a fixed-point number in `_neighbour_sums`: 8 digits carry a float64


@dataclass(frozen=True, eq=False)
class Cut:
    """The second smallest solution of ``(D - A) v = λ D v``, one for each graph of a batch.

    ``vector`` has ``vᵀ D v = 1``, and its *peak*, the entry of largest magnitude (the first of equal ones), is
    positive.  ``gap`` is the distance from ``eigenvalue`` to the third smallest one.  ``degenerate`` says that no
    vector is defined: the gap is at most ``DEGENERATE_GAP``, so that many partitions are equally good, or the method
    did not converge.  ``passes`` counts the products with the graph that it took.
    """

    vector: Float[Tensor, "b n"]
    eigenvalue: Float[Tensor, "b"]
    gap: Float[Tensor, "b"]
    degenerate: Bool[Tensor, "b"]
    passes: Int[Tensor, "b"]

    def updated(self, where: Bool[Tensor, "b"] | slice, other: "Cut") -> "Cut":
        """This batch of cuts with those of ``other`` at the places ``where``."""
        result = Cut(*(getattr(self, field.name).clone() for field in fields(self)))
        for field in fields(self):
            getattr(result, field.name)[where] = getattr(other, field.name)
        return result


@contextlib.contextmanager
def _exact_products(device: torch.device) -> Iterator[None]:
    """Matrix products in full float32, whatever the caller allows: a rounded cosine is another graph."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(allowed)


def similarity_graph(features: Float[Tensor, "b n d"], tau: float) -> Graph:
    """The 0/1 matrix of token pairs whose cosine exceeds ``tau``, exactly symmetric.

    A token whose feature is zero has cosine 0 with every token, itself included.  The entries are int8 on the CPU
    and float32 elsewhere, as suits the product that follows.

    Source: CutLER, ``maskcut.py``, affinity matrix (cosine in float32, strict inequality).
    """
    b, n, _ = features.shape
    dtype = torch.int8 if features.device.type == "cpu" else torch.float32
    graph = torch.empty(b, n, n, device=features.device, dtype=dtype)
    with _exact_products(features.device):
        unit = F.normalize(features.float(), dim=-1)
        for start in range(0, n, _ROWS):  # the upper triangle and its mirror: half the work, no one-sided edge
            stop = min(start + _ROWS, n)
            alike = unit[:, start:stop] @ unit[:, start:].mT > tau
            graph[:, start:stop, start:] = alike
            graph[:, stop:, start:stop] = alike[..., stop - start :].mT
    return graph


def normalized_cut(graph: Graph, active: Bool[Tensor, "b n"] | None = None) -> Cut:
    """The normalised cut of each graph, by a block Krylov method.

    ``graph`` is symmetric with entries 0 and 1.  A token outside ``active`` has lost its edges, that to itself
    included, but stays in the graph with affinity ``EPS`` to every token.

    The largest eigenvalues ``1 - λ`` of ``D^-½ A D^-½`` below the known first (eigenvector ``D^½ 1``) are found in the
    space spanned by two random vectors and their successive products with that matrix, kept orthonormal in float64.
    It grows until the residual bounds the error of the eigenvector by 1e-10.

    Source: Shi and Malik, Normalized Cuts and Image Segmentation; CutLER, ``maskcut.py`` (``scipy.linalg.eigh``).
    Deviates: iterative where the official code is dense; ``tests/metrics/test_normalized_cut.py`` compares them.
    """
    b, n, _ = graph.shape
    device = graph.device
    present = torch.ones(b, n, device=device, dtype=torch.float64) if active is None else active.double()

    def affinity_sums(values: Float[Tensor, "b k n"]) -> Float[Tensor, "b k n"]:
        edges = present[:, None] * _neighbour_sums(graph, values * present[:, None])
        return EPS * values.sum(-1, keepdim=True) + (1 - EPS) * edges

    with _exact_products(device):
        root_degree = affinity_sums(torch.ones(b, 1, n, device=device, dtype=torch.float64)).sqrt()
        size = min(n, 1 + _MAX_STEPS * _BLOCK)
        basis = torch.empty(b, size, n, device=device, dtype=torch.float64)
        images = torch.empty_like(basis)
        basis[:, :1] = root_degree / root_degree.norm(dim=-1, keepdim=True)
        start = torch.randn(_BLOCK, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        block = start.to(device).expand(b, -1, -1)

        vector = torch.zeros(b, n, device=device, dtype=torch.float64)
        top = torch.zeros(b, 2, device=device, dtype=torch.float64)
        passes = torch.ones(b, device=device, dtype=torch.int64)
        done = torch.zeros(b, device=device, dtype=torch.bool)
        for step, used in enumerate(range(1, size, _BLOCK)):
            end = min(used + _BLOCK, size)
            _append_orthonormal(basis, used, block[:, : end - used])
            block = affinity_sums(basis[:, used:end] / root_degree) / root_degree
            images[:, used:end] = block
            passes += ~done
            if step > 24 and step % 8 and end < size:  # the longer the basis, the dearer the look at it
                continue
            values, vectors, residuals = _largest_ritz_pairs(basis[:, 1:end], images[:, 1:end])
            gap = values[:, :1] - values[:, 1:]
            vector = torch.where(done[:, None], vector, vectors)
            top = torch.where(done[:, None], top, values)
            bound = torch.cat([_TOLERANCE * gap, 0.1 * gap], dim=-1).clamp_min(_NOISE)
            done |= (residuals <= bound).all(-1)
            if done.all():
                break
        gap = top[:, 0] - top[:, 1]
        vector = vector / root_degree[:, 0]
        peak = equals_maximum(vector.abs()).int().argmax(-1, keepdim=True)
        vector = vector * vector.gather(1, peak).sign()
        return Cut(vector, 1 - top[:, 0], gap, (gap <= DEGENERATE_GAP) | ~done, passes)


def equals_maximum(values: Float[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """Which entries are the largest of their row, up to rounding.

    Tokens with the same neighbours have equal entries in an eigenvector, so there is often more than one.
    """
    highest = values.amax(-1, keepdim=True)
    return values >= highest - TIE * highest.abs()


def _neighbour_sums(graph: Graph, values: Float[Tensor, "b k n"]) -> Float[Tensor, "b k n"]:
    """``values @ graph`` with the accuracy of float64, by one product of small integers.

    The values are written in fixed point with ``_DIGITS`` digits of ``_DIGIT_BITS`` bits.  A digit is exact in int8,
    bfloat16 and float32 alike, and a sum of digits in int32 and float32: the result does not depend on the
    order of summation, the number of threads or the device.
    """
    shifts = torch.arange(_DIGITS, device=values.device)[:, None, None] * _DIGIT_BITS
    unit = values.abs().amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    fixed = (values * (2.0 ** (_DIGITS * _DIGIT_BITS - 2) / unit)).round().long()[:, None] >> shifts
    fixed[:, :-1] &= 2**_DIGIT_BITS - 1  # the last digit carries the sign
    digits = fixed.flatten(1, 2).to(graph.dtype)
    if graph.dtype == torch.int8:  # several times faster on a CPU than any other product
        sums = torch.stack([torch.ops.aten._int_mm(edges, rows.T).T for edges, rows in zip(graph, digits, strict=True)])
    else:
        sums = torch.bmm(digits, graph)
    weights = 2.0 ** (shifts - (_DIGITS * _DIGIT_BITS - 2))
    return (sums.double().unflatten(1, (_DIGITS, -1)) * weights).sum(1) * unit


def _append_orthonormal(basis: Float[Tensor, "b m n"], used: int, block: Float[Tensor, "b k n"]) -> None:
    """Write the rows of ``block`` into ``basis`` behind its first ``used`` rows, orthonormal to all before them.

    A row that adds no direction becomes zero and then stands for an eigenvalue 0.  The one sought is never below:
    all eigenvalues sum to the trace, at least 1, and the first alone is 1.
    """
    for row in range(block.shape[1]):
        before = basis[:, : used + row]
        new = block[:, row : row + 1]
        size = new.norm(dim=-1, keepdim=True)
        for _ in range(2):  # a second time, against the rounding errors of the first
            new = new - (new @ before.mT) @ before
        norm = new.norm(dim=-1, keepdim=True)
        basis[:, used + row] = torch.where(norm > 1e-13 * size, new / norm, 0.0)[:, 0]


def _largest_ritz_pairs(
    basis: Float[Tensor, "b m n"], images: Float[Tensor, "b m n"]
) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b n"], Float[Tensor, "b 2"]]:
    """The two largest eigenvalues within ``basis``, the vector of the first, and both residuals."""
    projected = basis @ images.mT
    values, weights = torch.linalg.eigh((projected + projected.mT) / 2)
    values, weights = values[:, -2:].flip(-1), weights[..., -2:].flip(-1).mT
    vectors = weights @ basis
    residuals = (weights @ images - values[..., None] * vectors).norm(dim=-1)
    return values, vectors[:, 0], residuals
