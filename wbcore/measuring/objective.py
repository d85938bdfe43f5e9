"""CRATE's objective inside a CRATE: what each half of each layer does to that from which it was derived."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from wbcore.errors import InputError
from wbcore.labels import label
from wbcore.losses import lasso, sparse_rate_reduction
from wbcore.metrics.coding_rate import nonzero_share, subspace_coding_rate
from wbcore.metrics.intervals import Interval, paired_difference
from wbcore.models.attention import MSSA
from wbcore.models.backbone import Backbone, Block
from wbcore.models.feedforward import ISTA

BATCH = 16

Values = Float[np.ndarray, "layers images"]
Tokens = Float[Tensor, "b n d"]
Images = Sequence[UInt8[Tensor, "c h w"]]
"""8-bit images of one size."""


@dataclass(frozen=True, eq=False)
class ObjectiveByLayer:
    """One number for each layer and image, ``[layers, images]``; rates in nats, all tokens counted.

    ``Z`` enters the layer, ``Z′`` stands between MSSA and ISTA, ``Z″`` leaves it.  All three are measured against the
    layer's *own* subspaces U, as its attention reads them: through its LayerNorm.  Everything but the share of
    non-zeros is to be made small.
    """

    compression_before: Values
    """``R^c(Z | U)``: what the official code plots."""
    compression_after: Values
    """``R^c(Z′ | U)``: what MSSA has made of it."""
    nonzeros: Values
    """Share of entries of ``Z″`` that are not zero."""
    objective_before: Values
    """``R^c(Z | U) + λ‖Z‖₀ − R(Z)``, Eq. (2) with its sign changed."""
    objective_after: Values
    """The same of ``Z″``."""
    lasso_input: Values
    """The LASSO at the point from which ISTA starts, ``Y = LN(Z′)``, which has negative entries: no feasible code."""
    lasso_feasible: Values
    """The LASSO at the nearest feasible code, ``max(Y, 0)``."""
    lasso_after: Values
    """The LASSO at ISTA's result ``Z″``."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """How far MSSA goes down the exact gradient of R^c: cosines with ``−∇R^c``, ``[layers, images]``.

    1 is the steepest way down, 0 neither down nor up, below 0 is uphill.
    """

    trained: Values
    """Of what the layer's attention adds to the tokens."""
    tied: Values
    """Of MSSA with U on its way back too, as Eq. (5) writes it."""
    series: Values
    """``α‖UₖZ‖²`` with α = d/(n·eps), of the largest head: the series that the derivation cuts off needs it below 1."""


def objective_by_layer(
    model: Backbone, images: Images, *, eps: float = 0.01, normalise: bool = True
) -> ObjectiveByLayer:
    """CRATE's objective before, between and after the two halves of every layer.

    Source: CRATE, Eqs. (2), (6) and (7); official ``vis_utils/crate_hook.py`` for what is measured and where.
    Notation: ``eps`` and ``normalise`` as in :func:`wbcore.metrics.coding_rate.coding_rate`; λ is the model's own.
    Raises: InputError if the model has no MSSA or no ISTA.
    """
    sparsity = model.config.sparsity

    def measure(block: Block, before: Tokens, between: Tokens, after: Tokens) -> dict[str, Tensor]:
        attention, ista = _halves(block)

        def projections(tokens: Tokens) -> Float[Tensor, "b h n p"]:
            return attention.projections(block.norm(tokens))

        def compression(tokens: Tokens) -> Float[Tensor, "b"]:
            return subspace_coding_rate(projections(tokens), eps=eps, normalise=normalise)

        def objective(tokens: Tokens) -> Float[Tensor, "b"]:
            return -sparse_rate_reduction(tokens, projections(tokens), sparsity=sparsity, eps=eps, normalise=normalise)

        target = ista.norm(between)
        return {
            "compression_before": compression(before),
            "compression_after": compression(between),
            "nonzeros": nonzero_share(after),
            "objective_before": objective(before),
            "objective_after": objective(after),
            **{
                f"lasso_{name}": lasso(code, target, ista.dictionary, sparsity=sparsity)
                for name, code in (("input", target), ("feasible", target.relu()), ("after", after))
            },
        }

    return ObjectiveByLayer(**_by_layer(model, images, measure))


def alignment_by_layer(model: Backbone, images: Images, *, eps: float = 0.01, normalise: bool = True) -> Alignment:
    """The direction of every MSSA against the exact gradient of R^c, by automatic differentiation.

    The gradient is with respect to the normalised tokens that attention reads.
    Source: CRATE, Eqs. (5) and (6).  Raises: InputError if the model has no MSSA or no ISTA.
    """

    def measure(block: Block, before: Tokens, _between: Tokens, _after: Tokens) -> dict[str, Tensor]:
        attention, _ = _halves(block)
        tokens = block.norm(before)
        downhill = -rate_gradient(attention, tokens, eps=eps, normalise=normalise).flatten(1)
        projected = attention.projections(tokens)
        n, dim = projected.shape[-2:]
        return {
            "trained": F.cosine_similarity(block.scale_attention(attention(tokens)).flatten(1), downhill),
            "tied": F.cosine_similarity(tied_to_subspaces(attention)(tokens).flatten(1), downhill),
            "series": dim / (n * eps) * torch.linalg.matrix_norm(projected, 2).square().amax(1),
        }

    return Alignment(**_by_layer(model, images, measure))


def tied_to_subspaces(attention: MSSA) -> MSSA:
    """The same attention with U itself for its output projection, as CRATE's Eq. (5) has it."""
    tied = copy.deepcopy(attention)
    tied.output = None
    return tied


def rate_gradient(attention: MSSA, tokens: Tokens, *, eps: float = 0.01, normalise: bool = True) -> Tokens:
    """``∇_Z R^c(Z | U)`` for the subspaces of an MSSA, exactly."""
    with torch.enable_grad():
        leaf = tokens.detach().requires_grad_()
        rate = subspace_coding_rate(attention.projections(leaf), eps=eps, normalise=normalise)
        return torch.autograd.grad(rate.sum(), leaf)[0]


def as_initialised(model: Backbone, seed: int) -> Backbone:
    """The model before its training, if ``seed`` is that of its card: same configuration, parameters drawn anew."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(model.config).eval()


def step_bounds(model: Backbone) -> Float[np.ndarray, "layers"]:
    """``η‖D‖²`` of every layer: up to 1 (even below 2), a step of ISTA from a feasible code cannot raise its LASSO.

    Source: Beck and Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm (2009), section 1.
    Raises: InputError if the model has no MSSA or no ISTA.
    """
    steps = [_halves(block)[1] for block in model.blocks]
    with torch.no_grad():
        norms = [torch.linalg.matrix_norm(step.dictionary.double(), 2).item() for step in steps]
    return np.array([step.step_size * norm**2 for step, norm in zip(steps, norms, strict=True)])


def verdict(difference: Interval) -> Literal["downhill", "uphill", "undecided"]:
    """What the 95 % interval of a difference (after minus before) says: undecided where it holds zero or is none."""
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return "undecided"
    return "downhill" if difference.high < 0 else "uphill"


def descent_table(steps: Mapping[str, tuple[Values, Values]]) -> pd.DataFrame:
    """(before, after) by title → by layer: both means, the paired difference with its 95 % interval, and a verdict.

    A title is a model's name or words of your own.
    """
    columns: dict[tuple[str, str], list[str]] = {}
    for title, (before, after) in steps.items():
        changes = [paired_difference(new, old) for new, old in zip(after, before, strict=True)]
        columns[label(title), "before"] = [f"{row.mean():.1f}" for row in before]
        columns[label(title), "after"] = [f"{row.mean():.1f}" for row in after]
        columns[label(title), "change"] = [_change(change) for change in changes]
        columns[label(title), "verdict"] = [verdict(change) for change in changes]
    return layer_table(columns)


def layer_table(columns: Mapping[tuple[str, str], Sequence[str]]) -> pd.DataFrame:
    """Cells by layer, which count from 1; a column's name is a pair of group and name."""
    depth = len(next(iter(columns.values())))
    return pd.DataFrame(dict(columns), index=pd.Index(range(1, depth + 1), name="layer"))


def _change(change: Interval) -> str:
    if change.low is None or change.high is None:
        return f"{change.value:+.1f}"
    return f"{change.value:+.1f} [{change.low:+.1f},\N{NO-BREAK SPACE}{change.high:+.1f}]"


def _halves(block: Block) -> tuple[MSSA, ISTA]:
    attention, feedforward = block.attention, block.feedforward
    if not isinstance(attention, MSSA) or not isinstance(feedforward, ISTA):
        raise InputError(
            "only a model with attention='mssa' and feedforward='ista' or 'ista_soft' has this objective: take a CRATE"
        )
    return attention, feedforward


def _by_layer(
    model: Backbone,
    images: Images,
    measure: Callable[[Block, Tokens, Tokens, Tokens], dict[str, Float[Tensor, "b"]]],
) -> dict[str, Values]:
    """``measure`` of every layer and image, from the tokens before, in the middle of and after the layer."""
    model = model.eval()
    layers = range(model.config.depth)
    found: dict[str, list[list[Tensor]]] = {}
    for first in range(0, len(images), BATCH):
        batch = torch.stack(list(images[first : first + BATCH]))
        with torch.no_grad():
            shown = model.normalise(batch.to(model.position.device)).to(model.position.dtype)
            taps = model.taps(shown, {"tokens": layers, "tokens_after_attention": layers})
            before = model.embed(shown)
            measured: dict[str, list[Tensor]] = {}
            for layer, block in enumerate(model.blocks):
                after = taps["tokens"][layer]
                for name, values in measure(block, before, taps["tokens_after_attention"][layer], after).items():
                    measured.setdefault(name, []).append(values.double().cpu())
                before = after
        for name, values in measured.items():
            found.setdefault(name, []).append(values)
    return {
        name: np.concatenate([torch.stack(values).numpy() for values in batches], axis=1)
        for name, batches in found.items()
    }
