"""What tables and figures call models and data sets."""

import re

from wbcore.records import segmenter_of, step_of

LABELS = {
    "crate": "CRATE",
    "crate_sth": "CRATE-sth",
    "crate_mlp": "CRATE-MLP",
    "crate_mhsa": "CRATE-MHSA",
    "vit": "ViT",
    "vit_tiny_pretrained": "ViT-Ti/16, ImageNet",
    "vit_tiny_pretrained_ttr": "ViT-Ti/16, test-time register",
    "vit_tiny_pretrained_empty": "ViT-Ti/16, empty register",
    "centred_blob": "centred blob",
    "centred_blob_grid14": "centred blob, 14 × 14",
    "random_heads": "random heads",
    "centred_box": "centred box",
    "whole_image": "whole image",
    "untrained_crate": "CRATE, untrained",
    "untrained_vit": "ViT, untrained",
    "crate_tied": "CRATE, tied projection",
    "crate_normalised": "CRATE, normalised skip",
    "crate_scratch": "CRATE, from scratch",
    "vit_scratch": "ViT, from scratch",
}
"""What tables and figures call a model; forest plots have their rows in this order, as the tables have."""

PAPER_LABELS = {
    "crate_tiny": "CRATE-T/8",
    "vit_tiny": "ViT-T/8",
    "crate_small": "CRATE-S/8",
    "crate_base": "CRATE-B/8",
    "vit_small": "ViT-S/8",
    "vit_base": "ViT-B/8",
    "vit_small_dino": "ViT-S/8, DINO",
    "vit_base_dino": "ViT-B/8, DINO",
    "vit_dino": "ViT, DINO",
    "dinov2_giant": "DINOv2 ViT-g/14",
    "dinov2_large": "DINOv2 ViT-L/14",
    "dinov2_small": "DINOv2 ViT-S/14",
    "dinov2_base": "DINOv2 ViT-B/14",
    "deit3": "DeiT-III ViT-B/16",
    "openclip": "OpenCLIP ViT-B/16",
    "dino_small16": "DINO ViT-S/16",
    "dino_small8": "DINO ViT-S/8",
    "dino_base16": "DINO ViT-B/16",
    "dino_resnet50": "DINO ResNet-50",
    "imagenet_resnet50": "ResNet-50, ImageNet",
    "dinov2_reg4_released": "DINOv2 with registers, released",
}
"""The same for models that stand in the papers' tables and have no records here."""

DATA_LABELS = {
    "cutouts": "Cutouts",
    "cutouts_recognition": "Cutouts, names",
    "cutouts_transfer": "Cutouts, new names",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "flowers102": "Flowers-102",
    "pets": "Pets",
    "places205": "Places205",
    "aircraft": "Aircraft",
    "cub200": "CUB",
    "caltech101": "Caltech-101",
    "cars196": "Cars",
    "dtd": "DTD",
    "food101": "Food-101",
    "sun397": "SUN397",
    "imagenet": "ImageNet-1k",
    "imagenette": "Imagenette",
    "weizmann": "Weizmann horses",
    "coco200": "COCO-200",
    "coco200_full": "COCO-200, own size",
    "camvid": "CamVid",
    "camvid_480": "CamVid, 480 × 360",
    "cutouts_stuff": "Cutouts, stuff and things",
    "cityscapes": "Cityscapes",
    "ade20k": "ADE20K",
    "voc2012": "VOC 2012 val",
    "coco2017": "COCO val2017",
}
"""What tables and figures call a data set."""

DECODER_LABELS = {"setr": "SETR", "segmenter": "Segmenter"}

BACKBONE_LABELS = {
    "vit_tiny": "ViT-Ti/16",
    "vit_small": "ViT-S/16",
    "vit_base": "ViT-B/16",
    "vit_large": "ViT-L/16",
    "deit_base": "DeiT-B/16",
    "deit_small": "DeiT-S/16",
    "vit": "ViT, lab",
    "crate": "CRATE, lab",
}
"""What tables and figures call a segmentation model's backbone."""

VARIANT_LABELS = {
    "dense": "dense",
    "dovit": "DoViT",
    "dyvit": "DyViT",
    "tome": "ToMe",
    "nomerge": "DoViT, no merging",
    "nodistil": "DoViT, no distillation",
    "plain": "DoViT, neither",
}

TOKEN_LABELS = {
    "cls": "class token",
    "register": "register",
    "outliers": "outliers",
    "former": "former outliers",
    "normal": "normal",
    "border": "border",
    "corners": "corners",
    "sides": "middles of the sides",
}
"""What tables and figures call a kind of token; ``former`` are patches that were outliers without a register."""

LEFT_OUT = {"": "outliers", "_rand": "random patches", "_edge": "border patches"}
"""What is left out of attention maps, by the ending of a subject's name."""

LOST_LABELS = {
    "stock": "as published",
    **{facet: facet for facet in ("keys", "queries", "values", "projections")},
}
"""What LOST was given of a model, where it was not chosen."""


_RELEASED = re.compile(
    r"(vit|deit3)_(?P<size>tiny|small|base|large|giant)_patch(?P<patch>\d+)_(?P<registers>reg4_)?"
    r"(?P<family>dinov2|clip|224)?[^.]*\.(?P<tag>\w+)"
)
_SIZES = {"tiny": "Ti", "small": "S", "base": "B", "large": "L", "giant": "g"}


def released_label(name: str) -> str | None:
    """What a released network is called that timm knows by ``name``; None for other names."""
    found = _RELEASED.fullmatch(name)
    if found is None:
        return None
    families = {"dinov2": "DINOv2 ", "clip": "CLIP "}
    family = families.get(found["family"], "DINO " if found["tag"] == "dino" else "")
    family = "DeiT-III " if name.startswith("deit3") else family
    registers = ", 4 registers" if found["registers"] else ""
    return f"{family}ViT-{_SIZES[found['size']]}/{found['patch']}{registers}"


def label(model: str) -> str:
    """A subject's name in tables and figures: ``crate_layer3`` is "CRATE, layer 3"."""
    if noise := re.fullmatch(r"(.+)_sigma(\d+)_share(\d+)", model):
        return f"{label(noise[1])}, σ = {noise[2]} on {noise[3]} %"
    if segmenter := segmenter_of(model):
        setting = f"{variant_label(segmenter.variant, segmenter.setting)}"
        return f"{DECODER_LABELS[segmenter.decoder]}, {backbone_label(segmenter.backbone)}, {setting}"
    if large := re.fullmatch(r"(.+)_gpu(_imagenette|)(?:_cutouts|)", model):
        return f"{label(large[1])}, 12 layers" + (", trained on Imagenette" if large[2] else "")
    if model.endswith("_imagenette"):
        return f"{label(model.removesuffix('_imagenette'))}, trained on Imagenette"
    if one := re.fullmatch(r"(.+)_(register|patches)(\d*)", model):
        return f"{label(one[1])}: {one[2]} {one[3]}".rstrip()
    if model not in LABELS and (tokens := re.fullmatch(rf"(.+)_({'|'.join(TOKEN_LABELS)})", model)):
        return f"{label(tokens[1])}: {TOKEN_LABELS[tokens[2]]}"
    if given := re.fullmatch(rf"(.+)_({'|'.join(LOST_LABELS)})", model):
        return f"{label(given[1])}: {LOST_LABELS[given[2]]}"
    if registers := re.fullmatch(r"(.+)_reg(\d+)", model):
        number = int(registers[2])
        return f"{label(registers[1])}, {number} register{'s' if number > 1 else ''}"
    if left_out := re.fullmatch(r"(.+)_clean(_rand|_edge|)", model):
        return f"{label(left_out[1])}, {LEFT_OUT[left_out[2]]} left out"
    if setting := re.fullmatch(r"(.+)_(tau|dot|masks|size|crf|negative)(\d*)", model):
        return f"{label(setting[1])}, {maskcut_label(setting[2], setting[3])}"
    if released := released_label(model):
        return released
    name, step, number = step_of(model)
    return f"{label(name)}, {step} {number}" if step else (LABELS | PAPER_LABELS).get(name, name)


def maskcut_label(setting: str, number: str = "") -> str:
    """How MaskCut was run, where not as in Table 1: ``tau``, ``5`` is "τ = 0.05"."""
    if setting in ("tau", "dot"):
        return ("inner products, " if setting == "dot" else "") + f"τ = {int(number) / 100:g}"
    if setting == "masks":
        return f"{number} mask{'' if number == '1' else 's'}"
    return {
        "negative": "negative peak",
        "size": f"{number} px",
        "crf": f"CRF at {number} px" if number else "CRF",
    }[setting]


def backbone_label(backbone: str) -> str:
    return BACKBONE_LABELS.get(backbone, backbone)


def variant_label(variant: str, setting: str = "") -> str:
    """How tokens are saved, and with what: ``dovit`` with ``xi950`` is "DoViT, ξ = 0.95"."""
    name = VARIANT_LABELS.get(variant, variant)
    if threshold := re.fullmatch(r"xi(\d+)", setting):
        return f"{name}, ξ = {int(threshold[1]) / 1000:g}"
    if variant == "dyvit" and setting.isdecimal():
        return f"{name}/{int(setting) / 100:g}"
    if variant == "tome" and setting.isdecimal():
        return f"{name}, {setting} % merged"
    return "DoViT, not trained for it" if setting == "untuned" else name


def class_label(name: str) -> str:
    """What tables and figures call a class: ``toy_sport`` is "toy sport"."""
    return name.replace("_", " ")


def data_label(data: str) -> str:
    return DATA_LABELS.get(data, data)
