"""The normalised cut of a graph of tokens: its second smallest generalised eigenvector, for many images at once.

The graph is the one of TokenCut and MaskCut: ``A = 1`` between tokens whose cosine exceeds ``tau`` and ``EPS``
elsewhere.  With a 0/1 matrix ``B`` it is ``A = EPS + (1 - EPS) B``, so a product with ``A`` is a product with ``B`` and
a sum.  Nothing more is ever asked of the graph: the eigenvector comes from a few such products.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

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

Affinity = Literal["cosine", "dot"]
"""What is compared with the threshold: cosines, or inner products of features as long as they are."""

TIE = 1e-8
"""Entries of an eigenvector that differ by less than this part of its peak are equal."""

_BLOCK = 2  # two vectors at a time: a double eigenvalue shows, and one pass over the graph serves both
_MAX_STEPS = 256
_TOLERANCE = 1e-10  # of the eigenvector
_NOISE = 1e-13  # the smallest residual that rounding lets us see
_ROWS = 256  # of the graph, made at a time
_FIXED_BITS = 62  # of a fixed-point number in `_neighbour_sums`
_HALF_DIGITS = 0x0080808080808080  # added, it makes the low seven bytes of a number digits that begin at -128


@dataclass(frozen=True, eq=False)
class Cut:
    """The second smallest solution of ``(D - A) v = λ D v``, one for each graph of a batch.

    ``vector`` has ``vᵀ D v = 1``, and its *peak*, the entry of largest magnitude (the first of equal ones), is
    positive.  ``gap`` is the distance from ``eigenvalue`` to the third smallest one.  ``degenerate`` says that no
    vector is defined: the gap is at most ``DEGENERATE_GAP``, so that many partitions are equally good, or the method
    did not converge (then ``eigenvalue`` and ``gap`` are NaN and ``vector`` is zero).  ``passes`` counts the products
    with the graph that it took.
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


def similarity_graph(features: Float[Tensor, "b n d"], tau: float, *, affinity: Affinity = "cosine") -> Graph:
    """The 0/1 matrix of token pairs whose affinity exceeds ``tau``, exactly symmetric.

    A token whose feature is zero has cosine and inner product 0 with every token, itself included.  The entries are
    int8 on the CPU and float32 elsewhere, as suits the product that follows.

    Source: CutLER, ``maskcut.py``, affinity matrix (cosine in float32, strict inequality); ``"dot"`` is CRATE,
    appendix B.4: inner products summed over heads, which are those of all heads' features in one row.
    """
    b, n, _ = features.shape
    dtype = torch.int8 if features.device.type == "cpu" else torch.float32
    graph = torch.empty(b, n, n, device=features.device, dtype=dtype)
    with _exact_products(features.device):
        tokens = F.normalize(features.float(), dim=-1) if affinity == "cosine" else features.float()
        for start in range(0, n, _ROWS):  # the upper triangle and its mirror: half the work, no one-sided edge
            stop = min(start + _ROWS, n)
            torch.gt(tokens[:, start:stop] @ tokens[:, start:].mT, tau, out=graph[:, start:stop, start:])
            graph[:, stop:, start:stop] = graph[:, start:stop, stop:].mT
    return graph


def normalized_cut(graph: Graph, active: Bool[Tensor, "b n"] | None = None) -> Cut:
    """The normalised cut of each graph, by a block Krylov method.

    ``graph`` is symmetric with entries 0 and 1.  A token outside ``active`` has lost its edges, that to itself
    included, but stays in the graph with affinity ``EPS`` to every token.

    The largest eigenvalues ``1 - λ`` of ``D^-½ A D^-½`` below the known first (eigenvector ``D^½ 1``) are found in the
    space spanned by the products of two random vectors with that matrix and the successive products of these, kept
    orthonormal in float64.  The first pass over the graph gives the degrees too.  The space grows until the residual,
    read from the next block (Lanczos), bounds the error of the eigenvector by 1e-10.

    Source: Shi and Malik, Normalized Cuts and Image Segmentation; CutLER, ``maskcut.py`` (``scipy.linalg.eigh``).
    Deviates: iterative where the official code is dense; ``tests/metrics/test_normalized_cut.py`` compares them.
    """
    b, n, _ = graph.shape
    new = partial(torch.empty, device=graph.device, dtype=torch.float64)
    present = new(b, 1, n).fill_(1) if active is None else active[:, None].double()

    def affinity_sums(values: Float[Tensor, "b k n"]) -> Float[Tensor, "b k n"]:
        edges = present * _neighbour_sums(graph, values * present)
        return EPS * values.sum(-1, keepdim=True) + (1 - EPS) * edges

    with _exact_products(graph.device):
        start = torch.randn(_BLOCK, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        ones_and_start = torch.cat([torch.ones_like(start[:1]), start]).to(graph.device)
        degree, block = affinity_sums(ones_and_start.expand(b, -1, -1)).split([1, _BLOCK], dim=1)
        root_degree = degree.sqrt()
        size = 1 + _BLOCK * (min(n, _MAX_STEPS) + 1)
        basis = new(b, size, n)
        basis[:, :1] = root_degree / root_degree.norm(dim=-1, keepdim=True)
        _append_orthonormal(basis, 1, block / root_degree)

        projected = new(b, size, size)  # of which only the lower triangle is written and read
        vector, top = new(b, n).fill_(0), new(b, 2).fill_(torch.nan)
        passes = torch.ones(b, device=graph.device, dtype=torch.int64)
        done = torch.zeros(b, device=graph.device, dtype=torch.bool)
        for step, used in enumerate(range(1, size - _BLOCK, _BLOCK)):
            end = used + _BLOCK
            block = affinity_sums(basis[:, used:end] / root_degree) / root_degree
            _append_orthonormal(basis, end, block)
            projected[:, used:end, : end + _BLOCK] = block @ basis[:, : end + _BLOCK].mT
            passes += ~done
            if step > 24 and step % 8:  # the larger the basis, the dearer the look at it
                continue
            values, weights = torch.linalg.eigh(projected[:, 1:end, 1:end])
            values, weights = values[:, -2:].flip(-1), weights[..., -2:].flip(-1)
            residuals = (projected[:, used:end, end : end + _BLOCK].mT @ weights[:, -_BLOCK:]).norm(dim=-2)
            gap = values[:, :1] - values[:, 1:]
            bound = torch.cat([_TOLERANCE * gap, 0.1 * gap], dim=-1).clamp_min(_NOISE)
            found = ~done & (residuals <= bound).all(-1)
            if found.any():
                vector[found] = (weights[found, None, :, 0] @ basis[found, 1:end])[:, 0]
                top[found] = values[found]
                done |= found
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
    """``graph @ values``, for each row of ``values``, with the accuracy of float64, by one product of small integers.

    The values are written in fixed point to the base 256, with digits from -128 to 127: the bytes of an integer.  A
    digit is exact in int8 and float32 alike, and a sum of digits in int32 and float32: it depends neither on the order
    of summation nor on the device.
    """
    unit = values.abs().amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    fixed = (values.mT / unit * 2.0**_FIXED_BITS).round().long().contiguous()
    digits = ((fixed + _HALF_DIGITS) ^ _HALF_DIGITS).view(torch.int8)  # the last digit carries the sign
    if graph.dtype == torch.int8:  # several times faster on a CPU than any other product
        sums = torch.stack(
            [torch.ops.aten._int_mm(edges, columns) for edges, columns in zip(graph, digits, strict=True)]
        )
    else:
        sums = torch.bmm(graph, digits.to(graph.dtype))
    weights = 256.0 ** torch.arange(8, device=values.device, dtype=torch.float64) / 2.0**_FIXED_BITS
    return (sums.double().unflatten(-1, (-1, 8)) @ weights).mT * unit


def _append_orthonormal(basis: Float[Tensor, "b m n"], used: int, block: Float[Tensor, "b k n"]) -> None:
    """Write the rows of ``block`` into ``basis`` behind its first ``used`` rows, orthonormal to all before them.

    The images of the last rows have components, but for rounding errors, along the last two blocks alone: these are
    taken out first, and of what remains then those along all rows.
    A row that adds no direction becomes zero and then stands for an eigenvalue 0.  The one sought is never below:
    all eigenvalues sum to the trace, at least 1, and the first alone is 1.
    """
    near = max(0, used - 2 * _BLOCK)
    for row in range(block.shape[1]):
        image = new = block[:, row : row + 1]
        for first in (near, 0):
            before = basis[:, first : used + row]
            new = new - (new @ before.mT) @ before
        norm = new.norm(dim=-1, keepdim=True)
        basis[:, used + row] = torch.where(norm > 1e-13 * image.norm(dim=-1, keepdim=True), new / norm, 0.0)[:, 0]
