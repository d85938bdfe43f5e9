"""The one backbone: CRATE, its ablations and ViT are rows of a table of options, not classes of their own."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from wbcore._compat import import_timm
from wbcore.errors import InputError
from wbcore.models.attention import EVERYONE, MHSA, MSSA, Pattern
from wbcore.models.feedforward import ACTIVATIONS, ISTA, MLP, Activation, SwiGLU
from wbcore.models.layers import (
    ConvPatchEmbedding,
    LayerScale,
    NormalisedPatchEmbedding,
    resize_position_embedding,
)
from wbcore.tokens import TokenLayout, grid_of

DropPath = import_timm().layers.DropPath

TAPS = (
    "tokens",
    "tokens_after_attention",
    "cls_attention",
    "prefix_attention",
    "projections",
    "queries",
    "keys",
    "values",
    "segmentation_feature",
)
MAX_REGISTERS = 16


@dataclass(frozen=True)
class BackboneConfig:
    """Everything that decides a backbone's shape and computation.

    The three options of the ablation are ``attention`` × ``feedforward`` × ``skip``; the last says what the
    attention's result is added to, the tokens (official CRATE code, ViT) or the normalised tokens (CRATE, Algorithm 1).
    ``output_projection`` concerns MSSA only: a free linear map (official code) or U itself (Eq. 5).
    The remaining options are what released checkpoints need.  Sizes are in pixels.
    """

    image_size: int | tuple[int, int] = 224
    patch_size: int = 16
    in_channels: int = 3
    num_classes: int = 1000
    dim: int = 384
    depth: int = 12
    heads: int = 6
    dim_head: int | None = None
    """Width of a head; ``None`` is ``dim // heads``."""
    attention: Literal["mssa", "mhsa"] = "mssa"
    feedforward: Literal["ista", "ista_soft", "mlp", "swiglu"] = "ista"
    skip: Literal["raw", "normalised"] = "raw"
    output_projection: Literal["free", "tied"] = "free"
    step_size: float = 0.1
    sparsity: float = 0.1
    mlp_ratio: float = 4.0
    """Units of an MLP or a gated MLP over ``dim``."""
    activation: Activation = "gelu"
    num_registers: int = 0
    patch_embedding: Literal["plain", "normalised"] = "normalised"
    patch_bias: bool = True
    qkv_bias: bool = False
    pre_norm: bool = False
    """LayerNorm before the first layer (CLIP)."""
    layer_scale: float | None = None
    position_embedding: Literal["with_class", "patches_only"] = "with_class"
    position_std: float = 1.0
    """Standard deviation of the initial position embedding and class token: 1 in CRATE's code, 0.02 in ViT's."""
    head_dim: int | None = None
    """Width of a first linear layer of the head (the official demo's two-layer head); ``None`` is one layer."""
    norm_eps: float = 1e-5
    drop_path: float = 0.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of each colour channel, of images in [0, 1], that the weights were trained with (ImageNet's)."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        self._require("attention", ("mssa", "mhsa"))
        self._require("feedforward", ("ista", "ista_soft", "mlp", "swiglu"))
        self._require("skip", ("raw", "normalised"))
        self._require("output_projection", ("free", "tied"))
        self._require("patch_embedding", ("plain", "normalised"))
        self._require("position_embedding", ("with_class", "patches_only"))
        self._require("activation", tuple(ACTIVATIONS))
        for name in ("patch_size", "in_channels", "dim", "depth", "heads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: give a whole number from 1")
        if self.dim_head is None and self.dim % self.heads:
            raise InputError(f"dim={self.dim} is not divisible by heads={self.heads}: change one or set dim_head")
        if not 0 <= self.num_registers <= MAX_REGISTERS:
            raise InputError(f"num_registers={self.num_registers}: give a number from 0 to {MAX_REGISTERS}")
        if self.output_projection == "tied" and self.attention != "mssa":
            raise InputError("output_projection='tied' needs attention='mssa': only MSSA has subspaces to tie it to")
        grid_of(self.size, self.patch_size)

    def _require(self, name: str, allowed: Sequence[str]) -> None:
        if getattr(self, name) not in allowed:
            raise InputError(f"{name}={getattr(self, name)!r}: choose one of {', '.join(allowed)}")

    @property
    def size(self) -> tuple[int, int]:
        """Native image size (height, width)."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def grid(self) -> tuple[int, int]:
        """Native patch grid (rows, cols)."""
        return grid_of(self.size, self.patch_size)

    @property
    def inner_dim(self) -> int:
        """Width of all heads together."""
        return self.heads * (self.dim_head or self.dim // self.heads)

    @property
    def num_prefix(self) -> int:
        return 1 + self.num_registers

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BackboneConfig":
        """The configuration a model card holds.  Raises: InputError for a field that does not exist."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise InputError(f"unknown configuration field {unknown[0]!r}: known are {', '.join(sorted(known))}")
        fields: dict[str, Any] = {  # JSON brings tuples back as lists
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**fields)


class Block(nn.Module):
    """One layer: attention on normalised tokens, then ISTA (no residual) or MLP (residual).

    Source: CRATE, Eq. (8) and Algorithm 1, lines 14–17; ViT, Eqs. (2) and (3).
    Deviates: the default skip carries the raw tokens, as in CRATE's official code; Algorithm 1 has the normalised ones.
    """

    def __init__(self, config: BackboneConfig, drop_path: float) -> None:
        super().__init__()
        dim, dim_head = config.dim, config.inner_dim // config.heads
        self.skip = config.skip
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        if config.attention == "mssa":
            self.attention = MSSA(dim, config.heads, dim_head, tied=config.output_projection == "tied")
        else:
            self.attention = MHSA(dim, config.heads, dim_head, qkv_bias=config.qkv_bias)
        self.residual = config.feedforward in ("mlp", "swiglu")
        mlp_dim = round(dim * config.mlp_ratio)
        if config.feedforward == "mlp":
            self.feedforward = MLP(dim, mlp_dim, activation=config.activation, norm_eps=config.norm_eps)
        elif config.feedforward == "swiglu":
            self.feedforward = SwiGLU(dim, mlp_dim, norm_eps=config.norm_eps)
        else:
            self.feedforward = ISTA(
                dim,
                step_size=config.step_size,
                sparsity=config.sparsity,
                nonnegative=config.feedforward == "ista",
                norm_eps=config.norm_eps,
            )
        scales = [nn.Identity() if config.layer_scale is None else LayerScale(dim, config.layer_scale) for _ in "ab"]
        self.scale_attention, self.scale_feedforward = scales
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def after_attention(self, tokens: Float[Tensor, "b n d"], pattern: Pattern = EVERYONE) -> Float[Tensor, "b n d"]:
        """The layer's first half, ``Z^{ℓ+1/2}``: attention and skip."""
        normed = self.norm(tokens)
        carried = tokens if self.skip == "raw" else normed
        return carried + self.drop_path(self.scale_attention(self.attention(normed, pattern)))

    def forward(self, tokens: Float[Tensor, "b n d"], pattern: Pattern = EVERYONE) -> Float[Tensor, "b n d"]:
        tokens = self.after_attention(tokens, pattern)
        if self.residual:
            return tokens + self.drop_path(self.scale_feedforward(self.feedforward(tokens)))
        return self.feedforward(tokens)

    def tap(self, name: str, tokens: Float[Tensor, "b n d"], num_prefix: int = 1) -> Tensor:
        """The value called ``name`` that this layer computes from its input ``tokens``; the first are no patches."""
        if name == "tokens_after_attention":
            return self.after_attention(tokens)
        normed = self.norm(tokens)
        if name == "cls_attention":
            return self.attention.cls_attention(normed)
        if name == "prefix_attention":
            return self.attention.prefix_attention(normed, num_prefix)
        return getattr(self.attention, name)(normed).transpose(1, 2).flatten(2)


class Backbone(nn.Module):
    """A vision transformer described by a :class:`BackboneConfig`.

    Images are ``[b, c, height, width]``, as :meth:`normalise` makes them; tokens ``[b, n, dim]`` with the class
    token first, then registers, then patches row by row.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        embedding = NormalisedPatchEmbedding if config.patch_embedding == "normalised" else ConvPatchEmbedding
        self.patch_embedding = embedding(config.in_channels, dim, config.patch_size, bias=config.patch_bias)
        positions = config.grid[0] * config.grid[1] + (config.position_embedding == "with_class")
        self.class_token = nn.Parameter(torch.randn(1, 1, dim) * config.position_std)
        self.position = nn.Parameter(torch.randn(1, positions, dim) * config.position_std)
        # Registers: Darcet et al., "Vision Transformers Need Registers", section 2.3; official initial scale.
        self.registers = nn.Parameter(torch.randn(1, config.num_registers, dim) * 1e-6)
        self.pre_norm = nn.LayerNorm(dim, eps=config.norm_eps) if config.pre_norm else nn.Identity()
        rates = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        # The cast tells the type checker what a ModuleList does not: what is in it.
        self.blocks = cast(Sequence[Block], nn.ModuleList(Block(config, rate) for rate in rates))
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.head = self._make_head()

    def _make_head(self) -> nn.Module:
        config = self.config
        if not config.num_classes:
            return nn.Identity()
        if config.head_dim is None:
            return nn.Linear(config.dim, config.num_classes)
        return nn.Sequential(nn.Linear(config.dim, config.head_dim), nn.Linear(config.head_dim, config.num_classes))

    def normalise(self, images: UInt8[Tensor, "b c height width"]) -> Float[Tensor, "b c height width"]:
        """8-bit images as this model's weights expect them."""
        mean, std = (
            torch.tensor(values, device=images.device)[:, None, None] for values in (self.config.mean, self.config.std)
        )
        return (images.float() / 255 - mean) / std

    def forward(self, images: Float[Tensor, "b c height width"]) -> Float[Tensor, "b k"]:
        """Class logits ``[b, num_classes]`` (the normalised class token where there is no head)."""
        return self.classify(self.tokens(images))

    def tokens(self, images: Float[Tensor, "b c height width"]) -> Float[Tensor, "b n d"]:
        """The tokens after the last layer, before the final LayerNorm."""
        tokens = self.embed(images)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def classify(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b k"]:
        """Logits from the tokens after the last layer: final LayerNorm and head on the class token."""
        return self.head(self.norm(tokens[:, 0]))

    def layout(self, images: Shaped[Tensor, "b c height width"]) -> TokenLayout:
        """The layout of the tokens of ``images``.  Raises: InputError if a side is not a multiple of the patch."""
        height, width = images.shape[-2:]
        return TokenLayout(self.config.num_prefix, grid_of((height, width), self.config.patch_size))

    def embed(self, images: Float[Tensor, "b c height width"]) -> Float[Tensor, "b n d"]:
        """The tokens that enter the first layer."""
        grid = self.layout(images).grid
        patches = self.patch_embedding(images)
        prefix, position = self.class_token, self.position
        if self.config.position_embedding == "with_class":
            prefix, position = prefix + position[:, :1], position[:, 1:]
        patches = patches + resize_position_embedding(position, self.config.grid, grid)
        batch = len(images)
        return self.pre_norm(
            torch.cat([prefix.expand(batch, -1, -1), self.registers.expand(batch, -1, -1), patches], dim=1)
        )

    def tap(self, images: Float[Tensor, "b c height width"], name: str, layer: int = -1) -> Tensor:
        """One intermediate value; see :meth:`taps`."""
        return self.taps(images, {name: (layer,)})[name][layer]

    def taps(
        self, images: Float[Tensor, "b c height width"], wanted: Mapping[str, Sequence[int]]
    ) -> dict[str, dict[int, Tensor]]:
        """Intermediate values by name and layer; nothing else is kept, and no layer after the last wanted one is run.

        ``wanted`` maps a name to layers (0-based; negative ones count from the last).  Names and shapes:

        - ``tokens`` ``[b, n, dim]``: after the layer.
        - ``tokens_after_attention`` ``[b, n, dim]``: half way through it, before ISTA or MLP.
        - ``cls_attention`` ``[b, heads, n]``: the class token's attention row of each head.
        - ``prefix_attention`` ``[b, heads, 1 + num_registers, n]``: its row and those of the registers.
        - ``projections`` (MSSA), ``queries``, ``keys``, ``values`` ``[b, n, heads·dim_head]``: heads concatenated.
        - ``segmentation_feature`` ``[b, n, heads·dim_head]``: what MaskCut and PCA read; projections or keys.

        ``n`` counts prefix tokens too; :meth:`layout` separates them.
        Raises: InputError for a name or a layer this model does not have.
        """
        depth = len(self.blocks)
        requests = [(name, layer, self._layer_index(layer)) for name, layers in wanted.items() for layer in layers]
        source = {name: self._tap_source(name) for name in wanted}
        found: dict[str, dict[int, Tensor]] = {name: {} for name in wanted}
        tokens = self.embed(images)
        for index in range(depth):
            here = [request for request in requests if request[2] == index]
            for name, layer, _ in here:
                if name != "tokens":
                    found[name][layer] = self.blocks[index].tap(source[name], tokens, self.config.num_prefix)
            later = [request for request in requests if request[2] > index]
            if not later and not any(name == "tokens" for name, _, _ in here):
                break
            tokens = self.blocks[index](tokens)
            for name, layer, _ in here:
                if name == "tokens":
                    found[name][layer] = tokens
        return found

    def _layer_index(self, layer: int) -> int:
        depth = len(self.blocks)
        if not -depth <= layer < depth:
            raise InputError(f"layer {layer} does not exist: choose one of 0 to {depth - 1} (or -{depth} to -1)")
        return layer % depth

    def _tap_source(self, name: str) -> str:
        attention = self.blocks[0].attention
        known = [tap for tap in TAPS if tap != "projections" or isinstance(attention, MSSA)]
        if name not in known:
            raise InputError(f"no tap {name!r} in {self.config.attention.upper()}: choose one of {', '.join(known)}")
        return attention.segmentation_feature if name == "segmentation_feature" else name
