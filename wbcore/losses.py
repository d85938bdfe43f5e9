"""Objectives: what CRATE's layers were derived from, and what DoViT is trained on."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from wbcore.data.example import VOID
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


def pixel_cross_entropy(
    logits: Float[Tensor, "b c h w"], labels: UInt8[Tensor, "b h w"], *, ignore: int = VOID
) -> Float[Tensor, ""]:
    """Cross-entropy, the mean over all pixels whose class is known; 0 where none is.

    Source: DoViT, Eq. (9).
    Raises: InputError if a label is neither a class nor ``ignore``.
    """
    targets = labels.long()
    known = targets != ignore
    if known.any() and int(targets[known].max()) >= logits.shape[1]:
        raise InputError(f"label {int(targets[known].max())} among {logits.shape[1]} classes: recode it, or ignore it")
    total = F.cross_entropy(logits.float(), targets, ignore_index=ignore, reduction="sum")
    return total / known.sum().clamp(min=1)


def auxiliary_cross_entropy(
    probes: Sequence[Float[Tensor, "b p c"]],
    labels: UInt8[Tensor, "b h w"],
    *,
    grid: tuple[int, int],
    patch_size: int,
    ignore: int = VOID,
) -> Float[Tensor, ""]:
    """The sum over all early probes of their cross-entropy, each upsampled to the pixels.

    Images whose sides are no multiples of the patch were padded; what was upsampled is cut back.

    Source: DoViT, Eq. (10); U is bilinear.
    """
    height, width = labels.shape[-2:]
    size = (grid[0] * patch_size, grid[1] * patch_size)
    total = torch.zeros((), device=labels.device)
    for logits in probes:
        maps = logits.float().transpose(1, 2).unflatten(-1, grid)
        pixels = F.interpolate(maps, size, mode="bilinear", align_corners=False)[..., :height, :width]
        total = total + pixel_cross_entropy(pixels, labels, ignore=ignore)
    return total


Direction = Literal["printed", "code"]


def self_distillation(
    student: Float[Tensor, "b c h w"], teacher: Float[Tensor, "b c h w"], *, direction: Direction = "printed"
) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence between the classes that student and teacher see at each place, its mean.

    ``printed`` is KL(student ‖ teacher), ``code`` is KL(teacher ‖ student).  The teacher gets no gradient.

    Source: DoViT, Eq. (11), and the official code, which also adds 0.5 times the squared distance of the last features.
    Raises: InputError for another direction.
    """
    if direction not in ("printed", "code"):
        raise InputError(f"direction={direction!r}: choose printed or code")
    ours, theirs = student.float().log_softmax(dim=1), teacher.detach().float().log_softmax(dim=1)
    of, to = (ours, theirs) if direction == "printed" else (theirs, ours)
    return (of.exp() * (of - to)).sum(dim=1).mean()
