"""How many parameters a backbone has, by part, in closed form.

:mod:`wbcore.models.counting` counts the same parts on the model itself.
"""

from wbcore.metrics.shapes import BackboneShape, BlockShape, classifier_widths, feedforward_dim, weights


def parameters_by_part(shape: BackboneShape) -> dict[str, int]:
    """The number of parameters of each part of a backbone, position embedding at the native grid.

    ``embedding`` holds the class token, registers and the patch embedding with its own norms, ``norms`` those of the
    layers, the ones before the first and after the last, and LayerScale.
    Source: CRATE, Eqs. (5), (7) and (11) with appendix A; ViT (Dosovitskiy et al., 2021), Eqs. (1) to (4).
    """
    dim, patch_dim = shape.dim, shape.in_channels * shape.patch_size**2
    embedding = shape.num_prefix * dim + patch_dim * dim + shape.patch_bias * dim
    if shape.patch_embedding == "normalised":
        embedding += norm_parameters(patch_dim) + norm_parameters(dim)
    positions = shape.grid[0] * shape.grid[1] + (shape.position_embedding == "with_class")
    layers = {part: shape.depth * number for part, number in block_parameters(shape).items()}
    return {
        "embedding": embedding,
        "position": positions * dim,
        **layers,
        "norms": layers["norms"] + (1 + shape.pre_norm) * norm_parameters(dim),
        "head": linear_parameters(*classifier_widths(shape)),
    }


def backbone_parameters(shape: BackboneShape) -> int:
    """The number of parameters of a backbone without its classification head."""
    return sum(number for part, number in parameters_by_part(shape).items() if part != "head")


def block_parameters(shape: BlockShape) -> dict[str, int]:
    """The number of parameters of each part of one layer."""
    dim, inner = shape.dim, shape.inner_dim
    attention = dim * inner if shape.attention == "mssa" else 3 * (dim * inner + shape.qkv_bias * inner)  # U, or Q K V
    if shape.output_projection == "free":
        attention += linear_parameters(inner, dim)
    feedforward = dim**2  # D
    if shape.feedforward in ("mlp", "swiglu"):
        feedforward = linear_parameters(dim, feedforward_dim(shape), dim)
    if shape.feedforward == "swiglu":
        feedforward += linear_parameters(dim, feedforward_dim(shape))
    scales = 0 if shape.layer_scale is None else 2 * dim
    return {"attention": attention, "feedforward": feedforward, "norms": 2 * norm_parameters(dim) + scales}


def linear_parameters(*widths: int) -> int:
    """Weights and biases of linear maps from one width to the next."""
    return weights(*widths) + sum(widths[1:])


def norm_parameters(dim: int) -> int:
    """Scale and shift of a LayerNorm or batch norm."""
    return 2 * dim
