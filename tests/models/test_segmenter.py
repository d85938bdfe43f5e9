"""The decoders: their maps by another route, and what they do not look at."""

import pytest
import torch
import torch.nn.functional as F

from wbcore.models.segmenter import DECODERS, AuxiliaryHead, MaskTransformer, SETRNaive

DIM, CLASSES, GRID = 12, 5, (3, 7)


@pytest.fixture
def patches():
    return torch.randn(2, GRID[0] * GRID[1], DIM, generator=torch.Generator().manual_seed(0))


def test_setr_is_convolutions_then_upsampling_then_classes(patches):
    torch.manual_seed(1)
    decoder = SETRNaive(DIM, CLASSES, channels=11).eval()
    maps = decoder.norm(patches).transpose(1, 2).unflatten(-1, GRID)
    hidden = F.conv2d(maps, decoder.hidden.weight[..., None, None], decoder.hidden.bias)
    norm = decoder.batch_norm
    hidden = F.batch_norm(hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()
    large = F.interpolate(hidden, scale_factor=4, mode="bilinear", align_corners=False)
    expected = F.conv2d(large, decoder.classify.weight[..., None, None], decoder.classify.bias)
    torch.testing.assert_close(decoder(patches, GRID), expected, rtol=1e-4, atol=1e-5)


def test_mask_transformer_scores_are_cosines_under_a_norm(patches):
    torch.manual_seed(2)
    decoder = MaskTransformer(DIM, CLASSES, dim_head=4).eval()
    seen = {}
    decoder.mask_norm.register_forward_pre_hook(lambda _, inputs: seen.update(cosines=inputs[0]))
    logits = decoder(patches, GRID)
    assert logits.shape == (2, CLASSES, *GRID)
    assert seen["cosines"].abs().max() <= 1 + 1e-5
    torch.testing.assert_close(logits.mean(dim=1), torch.zeros(2, *GRID), rtol=0, atol=1e-5)  # a norm over classes


@pytest.mark.parametrize("name", DECODERS)
def test_an_image_is_decoded_alone(name, patches):
    torch.manual_seed(3)
    decoder = DECODERS[name](DIM, CLASSES).eval()
    both = decoder(patches, GRID)
    alone = torch.cat([decoder(one[None], GRID) for one in patches])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-5)


def test_a_probe_is_one_linear_map_of_each_token(patches):
    head = AuxiliaryHead(DIM, CLASSES)
    order = torch.randperm(patches.shape[1], generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(head(patches)[:, order], head(patches[:, order]))
    assert sum(p.numel() for p in head.parameters()) == 2 * DIM + (DIM + 1) * CLASSES
