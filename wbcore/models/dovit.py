"""Semantic segmentation with one backbone: dense, with tokens that stop early, or with tokens that merge."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from wbcore.errors import InputError
from wbcore.models.attention import Pattern
from wbcore.models.backbone import Backbone, BackboneConfig
from wbcore.models.segmenter import DECODERS, AuxiliaryHead
from wbcore.models.token_merging import Merged, merge_similar
from wbcore.models.token_pass import Merging, confidence, keep_lowest, keep_mask, merge, split


@dataclass(frozen=True)
class Policy:
    """Which tokens a model processes.

    ``dense``: all.  ``confidence``: those of which an early probe is not sure (DoViT).  ``ratio``: a fixed share that
    a predictor chooses (DynamicViT).  ``merge``: ``merged`` pairs of similar patches become one before each layer but
    the first (ToMe).
    """

    kind: Literal["dense", "confidence", "ratio", "merge"] = "dense"
    threshold: float = 0.985
    """ξ of ``confidence``: a patch stops when its probe is surer."""
    merging: Merging = "code"
    """How what stopped goes into the class token (``confidence``)."""
    same_count: bool = False
    """As many patches in every image of a batch (``confidence``)."""
    keep_ratio: float = 0.7
    """ρ of ``ratio``: after decision i the share ρ^i of the patches goes on."""
    merged: int = 0
    """Pairs merged before each layer (``merge``)."""

    def __post_init__(self) -> None:
        if self.kind not in ("dense", "confidence", "ratio", "merge"):
            raise InputError(f"policy kind {self.kind!r}: choose dense, confidence, ratio or merge")
        if self.merging not in ("none", "printed", "code"):
            raise InputError(f"merging={self.merging!r}: choose none, printed or code")
        for name in ("threshold", "keep_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)}: give a number between 0 and 1")
        if self.merged < 0:
            raise InputError(f"merged={self.merged}: give a number of pairs from 0")


@dataclass(frozen=True)
class SegmenterConfig:
    """Everything that decides a segmentation model: backbone, decoder, where tokens are decided on, and how."""

    backbone: BackboneConfig
    num_classes: int
    decoder: Literal["setr", "segmenter"] = "setr"
    decisions: tuple[int, ...] = (3, 6, 9)
    """After how many layers each decision is made; also where the auxiliary heads are."""
    policy: Policy = dataclasses.field(default_factory=Policy)

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise InputError(f"decoder={self.decoder!r}: choose one of {', '.join(DECODERS)}")
        if self.num_classes < 2:
            raise InputError(f"num_classes={self.num_classes}: segmentation needs 2 or more")
        places = (0, *self.decisions, self.backbone.depth)
        if list(places) != sorted(set(places)):
            raise InputError(
                f"decisions={self.decisions}: give rising numbers from 1 to {self.backbone.depth - 1}, "
                "one less than the layers there are"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SegmenterConfig":
        """The configuration a model card holds.  Raises: InputError if it is not one of a segmentation model."""
        if missing := {"backbone", "policy", "decisions"} - set(values):
            raise InputError(f"the configuration lacks {min(missing)}: it describes a classifier, not a segmenter")
        parts = {
            "backbone": BackboneConfig.from_dict(values["backbone"]),
            "policy": Policy(**values["policy"]),
            "decisions": tuple(values["decisions"]),
        }
        return cls(**{**values, **parts})


@dataclass(frozen=True)
class Segmentation:
    """What a model says of a batch of images."""

    logits: Float[Tensor, "b c h w"]
    """Of every pixel."""
    coarse: Float[Tensor, "b c rows cols"]
    """The decoder's map, before it is brought to the pixels."""
    auxiliary: tuple[Float[Tensor, "b p c"], ...]
    """Early probes, one per decision, where they were asked."""
    keep: tuple[Bool[Tensor, "b p"], ...]
    """Patches that went on after each decision; empty where nothing was decided."""
    tokens: tuple[tuple[int, ...], ...]
    """Tokens that each layer processed of each image, prefix tokens included: ``[layer][image]``."""
    grid: tuple[int, int]


class TokenPredictor(nn.Module):
    """Scores tokens by themselves and by the mean of all that are left: log-probability that a token goes on.

    Source: DynamicViT (Rao et al., 2021), Eqs. (1) to (4).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.score = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2)
        )

    def forward(self, patch_tokens: Float[Tensor, "b p d"], keep: Bool[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        local, others = self.embed(patch_tokens).chunk(2, dim=-1)
        weights = keep.to(others.dtype)
        mean = torch.einsum("b p d, b p -> b d", others, weights) / weights.sum(dim=1, keepdim=True).clamp(min=1)
        joined = torch.cat([local, mean[:, None].expand_as(others)], dim=-1)
        return self.score(joined).log_softmax(dim=-1)[..., 0]


class DoViT(nn.Module):
    """A backbone with early probes, a policy of which tokens go on, and a decoder.

    ``policy`` may be set anew at any time: with ``dense`` every model is its dense counterpart.  Tokens that stopped
    wait as they are and are back in their places for every probe and for the decoder.  Images of any size from one
    patch up are padded at the right and at the bottom with the mean colour, and the result is cut back.

    Source: DoViT, section 3.  ``ratio``: "DyViT/ρ", which the paper names and does not describe.
    Deviates: ``ratio`` chooses its tokens by rank in training too, where DynamicViT masks by Gumbel noise, and lets the
    gradient into the predictor straight through; what is trained is then what is run.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config, self.policy = config, config.policy
        dim = config.backbone.dim
        self.backbone = Backbone(dataclasses.replace(config.backbone, num_classes=0))
        self.probes = nn.ModuleList(AuxiliaryHead(dim, config.num_classes) for _ in config.decisions)
        predicts = config.policy.kind == "ratio"
        self.predictors = nn.ModuleList(TokenPredictor(dim) for _ in config.decisions if predicts)
        self.decoder = DECODERS[config.decoder](dim, config.num_classes)

    def normalise(self, images: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """8-bit images as the backbone's weights expect them."""
        return self.backbone.normalise(images)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Segmentation:
        """Segment a batch.  Raises: InputError if an image is smaller than a patch."""
        height, width = images.shape[-2:]
        patch = self.config.backbone.patch_size
        if min(height, width) < patch:
            raise InputError(f"images of {height}×{width} pixels are smaller than a patch of {patch}: enlarge them")
        padded = F.pad(images, (0, -width % patch, 0, -height % patch))
        layout = self.backbone.layout(padded)
        tokens = self.backbone.embed(padded)
        encode = self._merge_tokens if self.policy.kind == "merge" else self._pass_tokens
        tokens, auxiliary, keep, counts = encode(tokens)
        coarse = self.decoder(self.backbone.norm(layout.patches(tokens)), layout.grid)
        size = (padded.shape[-2], padded.shape[-1])
        full = coarse.to(torch.promote_types(coarse.dtype, torch.float32))
        logits = F.interpolate(full, size, mode="bilinear", align_corners=False)[..., :height, :width]
        return Segmentation(logits, coarse, tuple(auxiliary), tuple(keep), tuple(counts), layout.grid)

    def _pass_tokens(
        self, tokens: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b n d"], list[Tensor], list[Tensor], list[tuple[int, ...]]]:
        """All layers, with tokens that stop; the last are as many as the first."""
        prefix = self.config.backbone.num_prefix
        blocks, decisions = self.backbone.blocks, self.config.decisions
        auxiliary, keeps, counts = [], [], []
        keep = torch.ones_like(tokens[:, prefix:, 0], dtype=torch.bool)
        whole = (tokens.shape[1],) * len(tokens)
        for stage, (first, last) in enumerate(zip((0, *decisions), (*decisions, len(blocks)), strict=True)):
            going_on = None
            if stage:
                tokens, keep, logits = self._decide(stage - 1, tokens, keep)
                if logits is not None:
                    auxiliary.append(logits)
                if self.policy.kind != "dense":
                    keeps.append(keep)
                    going_on = split(keep, num_prefix=prefix)
            if going_on is None or going_on.is_whole:
                counts += [whole] * (last - first)
                for block in blocks[first:last]:
                    tokens = block(tokens)
            else:
                counts += [going_on.lengths] * (last - first)
                packed = going_on.gather(tokens)
                for block in blocks[first:last]:
                    packed = block(packed, Pattern(lengths=going_on.lengths))
                tokens = going_on.scatter(packed, tokens)
        return tokens, auxiliary, keeps, counts

    def _decide(
        self, stage: int, tokens: Float[Tensor, "b n d"], keep: Bool[Tensor, "b p"]
    ) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b p"], Float[Tensor, "b p c"] | None]:
        """The tokens with what stopped merged into the class token, which patches go on, and what the probe said."""
        policy, prefix = self.policy, self.config.backbone.num_prefix
        patches = tokens[:, prefix:]
        asked = self.training or policy.kind == "confidence"
        logits = self.probes[stage](patches) if asked else None
        if policy.kind == "confidence" and logits is not None:
            sure = confidence(logits.detach())
            keep = keep_mask(sure, keep, threshold=policy.threshold, same_count=policy.same_count)
            merged = merge(tokens[:, 0], patches, keep, rule=policy.merging)
            tokens = torch.cat([merged[:, None], tokens[:, 1:]], dim=1)
        elif policy.kind == "ratio":
            score = self.predictors[stage](patches, keep)
            count = max(1, round(policy.keep_ratio ** (stage + 1) * patches.shape[1]))
            keep = keep_lowest((-score.detach()).masked_fill(~keep, torch.inf), count)
            if self.training:
                gate = 1 + (score.exp() - score.exp().detach())[..., None]
                tokens = torch.cat([tokens[:, :prefix], patches * gate], dim=1)
        return tokens, keep, logits

    def _merge_tokens(
        self, tokens: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b n d"], list[Tensor], list[Tensor], list[tuple[int, ...]]]:
        """All layers, with tokens that merge; what merged is given back to its places at the end."""
        state, counts, auxiliary = Merged.whole(tokens), [], []
        for number, block in enumerate(self.backbone.blocks):
            if self.training and number in self.config.decisions:
                probe = self.probes[self.config.decisions.index(number)]
                auxiliary.append(probe(state.restore()[:, self.config.backbone.num_prefix :]))
            if number:
                keys = block.tap("keys", state.tokens)
                state = merge_similar(state, keys, count=self.policy.merged, num_prefix=self.config.backbone.num_prefix)
            counts.append((state.tokens.shape[1],) * len(tokens))
            state = dataclasses.replace(state, tokens=block(state.tokens, Pattern(sizes=state.sizes)))
        return state.restore(), auxiliary, [], counts


def slide(
    model: DoViT, images: Float[Tensor, "b c h w"], *, crop: tuple[int, int], stride: tuple[int, int]
) -> Float[Tensor, "b k h w"]:
    """Pixel logits of images larger than what a model was trained on: the mean over overlapping windows.

    ``crop`` and ``stride`` are (rows, columns) in pixels.  Windows at the right and lower border are moved inwards.

    Source: mmsegmentation's slide inference.
    Raises: InputError if a stride is not between 1 and its crop.
    """
    if any(not 1 <= step <= side for step, side in zip(stride, crop, strict=True)):
        raise InputError(f"stride={stride} with crop={crop}: give strides from 1 to the crop, so that windows meet")
    rows, cols = images.shape[-2:]
    total = images.new_zeros(len(images), model.config.num_classes, rows, cols)
    counts = images.new_zeros(rows, cols)
    for top in _starts(rows, crop[0], stride[0]):
        for left in _starts(cols, crop[1], stride[1]):
            window = (..., slice(top, top + crop[0]), slice(left, left + crop[1]))
            total[window] += model(images[window]).logits
            counts[window] += 1
    return total / counts


def _starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows of ``crop`` begin, so that they cover ``length``."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(number * stride, length - crop), 0) for number in range(count)]
