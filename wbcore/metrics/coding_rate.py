"""How many nats it takes to say what the tokens are: the two rates of CRATE's objective, and the share of non-zeros."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wbcore.errors import InputError


def coding_rate(tokens: Float[Tensor, "*b n d"], *, eps: float = 0.01, normalise: bool = True) -> Float[Tensor, "*b"]:
    """The coding rate ``R = ½ logdet(I + d/(n·eps) Z Zᵀ)`` of each set of ``n`` tokens, in nats per token.

    The determinant is taken on the smaller side, n×n or d×d (Sylvester's identity), in float64 whatever the tokens
    are; the result is float32, or float64 for tokens of that type.  Differentiable.

    Source: CRATE, Eq. (2) (Ma et al., 2007); defaults of CRATE's official ``vis_utils/coding_rate.py``.
    Notation: ``eps`` is what the paper writes ε², as in the official code, so ε = 0.1 here.  The paper calls the
    number bits; the logarithm of both is natural.
    Deviates: ``normalise``, the official code's, gives every token length 1, so that the rate counts directions, not
    lengths; ``normalise=False`` is the paper's formula.  A token of zeros stays zero (NaN in the official code).
    Raises: InputError if ``eps`` is not positive or there is no token.
    """
    if not eps > 0:
        raise InputError(f"eps={eps}: give a squared precision above 0, such as 0.01")
    n, dim = tokens.shape[-2:]
    if n == 0 or dim == 0:
        raise InputError(f"{n} tokens of width {dim} have no coding rate: give at least one of each")
    exact = tokens.double()
    if normalise:
        exact = F.normalize(exact, dim=-1)
    gram = exact @ exact.mT if n <= dim else exact.mT @ exact
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = torch.linalg.cholesky(identity + dim / (n * eps) * gram)
    rate = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # ½ logdet: the factor's own determinant is the root
    return rate.to(torch.promote_types(tokens.dtype, torch.float32))


def subspace_coding_rate(
    projections: Float[Tensor, "b heads n d"], *, eps: float = 0.01, normalise: bool = True
) -> Float[Tensor, "b"]:
    """The coding rate of the tokens against K subspaces, ``R^c(Z | U) = Σₖ R(U*ₖ Z)``, in nats per token.

    ``projections`` are the U*ₖ z of :meth:`wbcore.models.attention.MSSA.projections`.

    Source: CRATE, Eq. (2); official ``vis_utils/coding_rate.py``, which sums over the heads too.
    Deviates: as :func:`coding_rate`.
    """
    return coding_rate(projections, eps=eps, normalise=normalise).sum(-1)


def nonzero_share(tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b"]:
    """The share of entries that are not zero, ``‖Z‖₀ / (n·d)``: what CRATE's figures call sparsity.

    Source: Yu et al., White-Box Transformers via Sparse Rate Reduction (2023), section 3.1.
    """
    return (tokens != 0).flatten(1).float().mean(1)
