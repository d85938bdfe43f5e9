"""What follows attention in a layer: a step of ISTA, an MLP, or a gated MLP."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def ista_step(
    tokens: Float[Tensor, "*b n d"],
    dictionary: Float[Tensor, "d d"],
    *,
    step_size: float,
    sparsity: float,
    nonnegative: bool = True,
) -> Float[Tensor, "*b n d"]:
    """One step of ISTA towards a sparse code of ``tokens`` in ``dictionary``, started at the tokens themselves.

    ``ReLU(z + ηD*(z − Dz) − ηλ)``; without the constraint of non-negativity the threshold is soft and two-sided.
    D* is applied once, to the residual, where the official code applies it to z and to Dz: the same by linearity.

    Source: CRATE, Eq. (7); ``nonnegative=False`` is CRATE-sth of Fig. 13.
    Notation: ``dictionary`` is D acting on column vectors, ``step_size`` is η, ``sparsity`` is λ.
    Deviates: none.
    """
    residual = tokens - F.linear(tokens, dictionary)
    moved = tokens + step_size * F.linear(residual, dictionary.t())
    threshold = step_size * sparsity
    return F.relu(moved - threshold) if nonnegative else F.softshrink(moved, threshold)


class ISTA(nn.Module):
    """A layer's sparsification: LayerNorm, then one ISTA step with a learned dictionary.  There is no residual path.

    Source: CRATE, Eq. (8) and Algorithm 1, lines 16–17.  Initialised as in the official code (Kaiming uniform).
    """

    def __init__(self, dim: int, *, step_size: float, sparsity: float, nonnegative: bool, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.dictionary = nn.Parameter(torch.empty(dim, dim))
        nn.init.kaiming_uniform_(self.dictionary)
        self.step_size, self.sparsity, self.nonnegative = step_size, sparsity, nonnegative

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return ista_step(
            self.norm(tokens),
            self.dictionary,
            step_size=self.step_size,
            sparsity=self.sparsity,
            nonnegative=self.nonnegative,
        )


class QuickGELU(nn.Module):
    """``x · sigmoid(1.702 x)``, the activation of OpenAI's CLIP."""

    def forward(self, tokens: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        return tokens * (1.702 * tokens).sigmoid()


Activation = Literal["gelu", "quick_gelu", "silu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"gelu": nn.GELU, "quick_gelu": QuickGELU, "silu": nn.SiLU}


class MLP(nn.Module):
    """LayerNorm and a two-layer perceptron.  The residual path around it belongs to the block.

    Source: ViT (Dosovitskiy et al., 2021), Eq. (3).
    """

    def __init__(self, dim: int, mlp_dim: int, *, activation: Activation, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.expand = nn.Linear(dim, mlp_dim)
        self.activation = ACTIVATIONS[activation]()
        self.contract = nn.Linear(mlp_dim, dim)
        for linear in (self.expand, self.contract):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def hidden(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n mlp_dim"]:
        """The activation of each of the layer's units, which :meth:`forward` maps back."""
        return self.activation(self.expand(self.norm(tokens)))

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.contract(self.hidden(tokens))


class SwiGLU(MLP):
    """An MLP each of whose units is a product: a linear map, times the activation of another, its gate.

    Source: Shazeer, GLU Variants Improve Transformer (arXiv 2002.05202), Eq. (6), with biases as in DINOv2's ViT-g.
    """

    def __init__(self, dim: int, mlp_dim: int, *, norm_eps: float) -> None:
        super().__init__(dim, mlp_dim, activation="silu", norm_eps=norm_eps)
        self.gate = nn.Linear(dim, mlp_dim)
        nn.init.trunc_normal_(self.gate.weight, std=0.02)
        nn.init.zeros_(self.gate.bias)

    def hidden(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n mlp_dim"]:
        normed = self.norm(tokens)
        return self.activation(self.gate(normed)) * self.expand(normed)
