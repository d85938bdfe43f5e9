"""What tables and figures call models."""

import pytest

from wbcore.labels import label
from wbcore.profiles import profile


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_base_patch16_224.dino", "DINO ViT-B/16"),
        ("vit_giant_patch14_reg4_dinov2.lvd142m", "DINOv2 ViT-g/14, 4 registers"),
        ("vit_small_patch14_dinov2.lvd142m", "DINOv2 ViT-S/14"),
        ("deit3_base_patch16_224.fb_in22k_ft_in1k", "DeiT-III ViT-B/16"),
        ("vit_base_patch16_clip_224.laion2b", "CLIP ViT-B/16"),
        ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "ViT-Ti/16"),
        ("vit_reg16", "ViT, 16 registers"),
        ("crate_mhsa_reg1", "CRATE-MHSA, 1 register"),
        ("vit_tiny_pretrained_ttr_register1", "ViT-Ti/16, test-time register: register 1"),
        ("crate_reg4_register", "CRATE, 4 registers: register"),
        ("crate_reg4_cls", "CRATE, 4 registers: class token"),
        ("vit_reg4_patches", "ViT, 4 registers: patches"),
        ("crate_layer3", "CRATE, layer 3"),
        ("vit_tiny_pretrained_ttr_stock", "ViT-Ti/16, test-time register: as published"),
        ("crate_reg4_projections", "CRATE, 4 registers: projections"),
        ("crate_gpu_imagenette", "CRATE, 12 layers, trained on Imagenette"),
        ("crate_mhsa_gpu_cutouts", "CRATE-MHSA, 12 layers"),
        ("deit3_reg4", "DeiT-III ViT-B/16, 4 registers"),
    ],
)
def test_label(name, expected):
    assert label(name) == expected


def test_every_released_network_has_a_name_of_its_own():
    names = [label(name) for name in profile("paper").released]
    assert len(set(names)) == len(names)
    assert not set(names) & set(profile("paper").released)
