"""Decoders for semantic segmentation: patch tokens in, a map of class logits out."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from wbcore.models.backbone import BackboneConfig, Block


class AuxiliaryHead(nn.Module):
    """An early probe: LayerNorm and one 1×1 convolution, which on tokens is a linear map.

    Source: DoViT, section 3.2 ("a fully convolutional layer") and 4.1.2 (a single layer, kernel 1×1).
    Deviates: the official SETR heads have a hidden layer of 256 channels and upsample by four before the confidence is
    averaged back to the tokens.
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, num_classes)

    def forward(self, patch_tokens: Float[Tensor, "b p d"]) -> Float[Tensor, "b p c"]:
        return self.classify(self.norm(patch_tokens))


class SETRNaive(nn.Module):
    """SETR-naive: LayerNorm, 1×1 convolution, batch norm, ReLU, 1×1 convolution, four times bilinear upsampling.

    Source: SETR (Zheng et al., 2021), section 3.2, as mmsegmentation builds it (one hidden layer of 256 channels).
    Deviates: the last convolution comes before the upsampling instead of after it, which is the same map (both are
    linear, and the weights of an interpolation add up to one) at a sixteenth of the cost.
    """

    def __init__(self, dim: int, num_classes: int, *, channels: int = 256) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Linear(dim, channels)
        self.batch_norm = nn.BatchNorm1d(channels)
        self.classify = nn.Linear(channels, num_classes)

    def forward(self, patch_tokens: Float[Tensor, "b p d"], grid: tuple[int, int]) -> Float[Tensor, "b c rows cols"]:
        hidden = self.hidden(self.norm(patch_tokens))
        hidden = F.relu(self.batch_norm(hidden.flatten(0, 1))).view_as(hidden)
        logits = self.classify(hidden).transpose(1, 2).unflatten(-1, grid)
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)


class MaskTransformer(nn.Module):
    """Segmenter's decoder: classes are tokens of their own, and a pixel's logit is their cosine with its patch.

    Source: Segmenter (Strudel et al., 2021), section 3.2, and its official code: two layers, projections without bias,
    LayerNorm over the classes.
    """

    def __init__(self, dim: int, num_classes: int, *, depth: int = 2, dim_head: int = 64) -> None:
        super().__init__()
        config = BackboneConfig(
            dim=dim, depth=depth, heads=max(1, dim // dim_head), attention="mhsa", feedforward="mlp", qkv_bias=True
        )
        self.project = nn.Linear(dim, dim)
        self.class_tokens = nn.Parameter(torch.randn(1, num_classes, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(config, 0.0) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.patch_projection = nn.Linear(dim, dim, bias=False)
        self.class_projection = nn.Linear(dim, dim, bias=False)
        self.mask_norm = nn.LayerNorm(num_classes)
        for linear in (self.patch_projection, self.class_projection):
            nn.init.normal_(linear.weight, std=dim**-0.5)

    def forward(self, patch_tokens: Float[Tensor, "b p d"], grid: tuple[int, int]) -> Float[Tensor, "b c rows cols"]:
        patches = self.project(patch_tokens)
        classes = self.class_tokens.expand(len(patches), -1, -1)
        tokens = torch.cat([patches, classes], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        patches, classes = self.norm(tokens).split([patches.shape[1], classes.shape[1]], dim=1)
        patches = F.normalize(self.patch_projection(patches), dim=-1)
        classes = F.normalize(self.class_projection(classes), dim=-1)
        return self.mask_norm(patches @ classes.mT).transpose(1, 2).unflatten(-1, grid)


DECODERS = {"setr": SETRNaive, "segmenter": MaskTransformer}
