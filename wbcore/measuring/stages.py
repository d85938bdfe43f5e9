"""What one image becomes inside each layer of a CRATE: the tokens between its halves, and the objective's numbers."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from wbcore.measuring.objective import objective_by_layer
from wbcore.metrics.coding_rate import nonzero_share
from wbcore.models.backbone import Backbone
from wbcore.models.feedforward import ISTA

Tokens = Float[np.ndarray, "n d"]


@dataclass(frozen=True, eq=False)
class LayerStages:
    """One layer's work on one image; rates in nats, all tokens counted.

    ``Z`` enters the layer, ``Z′`` stands between MSSA and ISTA, ``Z″`` leaves it.
    """

    layer: int
    """Counts from 1."""
    before: Tokens
    """``Z``."""
    between: Tokens
    """``Z′``."""
    after: Tokens
    """``Z″``."""
    attention: Float[np.ndarray, "heads rows cols"]
    """The class token's attention over the patches, in each of MSSA's subspaces."""
    dictionary: Float[np.ndarray, "d d"]
    """``D`` of ISTA."""
    nonzeros: tuple[float, float, float]
    """Share of entries of ``Z``, ``Z′`` and ``Z″`` that are not zero."""
    rate: tuple[float, float]
    """``R^c(Z | U)`` and ``R^c(Z′ | U)``, as :class:`wbcore.measuring.objective.ObjectiveByLayer` takes them."""
    lasso: tuple[float, float]
    """ISTA's LASSO where its step starts, at ``Y = LN(Z′)``, and at its result."""
    lasso_feasible: float
    """The LASSO at ``max(Y, 0)``, the nearest feasible code."""

    @property
    def width(self) -> int:
        """Width of a subspace, where the heads share the tokens' width."""
        return self.before.shape[1] // len(self.attention)


def layer_stages(model: Backbone, image: UInt8[Tensor, "c h w"]) -> list[LayerStages]:
    """Every layer's work on one image, first layer first.

    Source: CRATE, Fig. 2 (right), Eqs. (5) to (8).
    Raises: InputError if the model has no MSSA or no ISTA, or the image's sides are not multiples of its patches.
    """
    numbers = objective_by_layer(model, [image])
    layers = range(model.config.depth)
    layout = model.layout(image[None])
    with torch.no_grad():
        shown = model.normalise(image[None].to(model.position.device)).to(model.position.dtype)
        taps = model.taps(shown, dict.fromkeys(("tokens", "tokens_after_attention", "cls_attention"), layers))
        before = model.embed(shown)
    found = []
    for layer, block in enumerate(model.blocks):
        assert isinstance(block.feedforward, ISTA)  # objective_by_layer has seen to it
        tokens = before, taps["tokens_after_attention"][layer], taps["tokens"][layer]
        first, second, third = (float(nonzero_share(one)) for one in tokens)
        before_array, between_array, after_array = (one[0].float().cpu().numpy() for one in tokens)
        attention = layout.to_grid(layout.patches(taps["cls_attention"][layer][0], dim=-1))
        found.append(
            LayerStages(
                layer=layer + 1,
                before=before_array,
                between=between_array,
                after=after_array,
                attention=attention.float().cpu().numpy(),
                dictionary=block.feedforward.dictionary.detach().float().cpu().numpy(),
                nonzeros=(first, second, third),
                rate=(float(numbers.compression_before[layer, 0]), float(numbers.compression_after[layer, 0])),
                lasso=(float(numbers.lasso_input[layer, 0]), float(numbers.lasso_after[layer, 0])),
                lasso_feasible=float(numbers.lasso_feasible[layer, 0]),
            )
        )
        before = tokens[2]
    return found


def by_use(stages: LayerStages) -> LayerStages:
    """The same layer with its channels in another order: those that most tokens of ``Z″`` use come first.

    The order is one for all tokens and for both sides of the dictionary, so nothing but places changes.
    """
    order = np.argsort(-(stages.after != 0).sum(axis=0), kind="stable")
    return replace(
        stages,
        before=stages.before[:, order],
        between=stages.between[:, order],
        after=stages.after[:, order],
        dictionary=stages.dictionary[np.ix_(order, order)],
    )
