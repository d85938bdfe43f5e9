"""Objectives: what CRATE's layers were derived from."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wbcore.errors import InputError
from wbcore.metrics.coding_rate import coding_rate, subspace_coding_rate


def sparse_rate_reduction(
    tokens: Float[Tensor, "b n dim"],
    projections: Float[Tensor, "b heads n d"],
    *,
    sparsity: float = 0.1,
    norm: Literal["l0", "l1"] = "l0",
    eps: float = 0.01,
    normalise: bool = True,
) -> Float[Tensor, "b"]:
    """The sparse rate reduction of each image, ``R(Z) − λ‖Z‖₀ − R^c(Z | U)``, which CRATE maximises.

    As a loss, take its negative.

    ``norm="l1"`` puts the sum of magnitudes in the place of the count of non-zeros, whose gradient is zero; R and
    R^c are differentiable either way.

    Source: CRATE, Eq. (2).  Notation: ``sparsity`` is λ, ``projections`` are U*ₖZ, ``eps`` is ε².
    Deviates: the rates have the defaults of :func:`wbcore.metrics.coding_rate.coding_rate` (unit tokens);
    ``normalise=False`` is the equation.  The paper gives no value of λ for it; 0.1 is that of its ISTA steps.
    Raises: InputError for another norm.
    """
    if norm not in ("l0", "l1"):
        raise InputError(f"norm={norm!r}: choose l0 (the equation) or l1 (its differentiable stand-in)")
    size = (tokens != 0).to(tokens.dtype) if norm == "l0" else tokens.abs()
    rate = coding_rate(tokens, eps=eps, normalise=normalise)
    compression = subspace_coding_rate(projections, eps=eps, normalise=normalise)
    return rate - sparsity * size.sum(dim=(-2, -1)) - compression


def lasso(
    code: Float[Tensor, "*b n d"],
    target: Float[Tensor, "*b n dim"],
    dictionary: Float[Tensor, "dim d"],
    *,
    sparsity: float,
) -> Float[Tensor, "*b"]:
    """The LASSO of a set of tokens, ``½‖Y − DZ‖² + λ‖Z‖₁``, summed over the tokens.

    What :func:`wbcore.models.feedforward.ista_step` takes a step on.  The constraint Z ≥ 0 is the caller's to keep.

    Source: Yu et al., White-Box Transformers via Sparse Rate Reduction (2023), section 2.4; CRATE, above Eq. (7).
    Notation: ``code`` is Z, ``target`` is Y = Z^{ℓ+1/2}, ``dictionary`` is D on column vectors, ``sparsity`` is λ.
    """
    residual = target - F.linear(code, dictionary)
    return torch.sum(residual.square() / 2, dim=(-2, -1)) + sparsity * code.abs().sum(dim=(-2, -1))
