"""The two profiles: which weights, which data, how many images.  The only file that tells them apart."""

from wbcore.errors import InputError
from wbcore.evaluate import Measurement
from wbcore.measuring.segmentation import SegmentationPlan, View
from wbcore.profile import Profile

# Registers, as far as such weights were released: not those of the paper's Tables 2 and 3.
_RELEASED = (
    "vit_base_patch16_224.dino",
    *(
        f"vit_{size}_patch14_{registers}dinov2.lvd142m"
        for size in ("small", "base", "large", "giant")
        for registers in ("", "reg4_")
    ),
    "deit3_base_patch16_224.fb_in22k_ft_in1k",
    "vit_base_patch16_clip_224.laion2b",
)
_NAMED = {
    **dict.fromkeys(("imagenet", "places205"), ("train", "val")),
    **dict.fromkeys(("aircraft", "cifar10", "cifar100", "cub200", "caltech101", "cars196", "dtd"), ("train", "test")),
    "flowers102": ("train+val", "test"),
    "food101": ("train", "test"),
    "pets": ("trainval", "test"),
    "sun397": ("train", "test"),
}
"""Data sets of names: the splits to fit to and to score on."""
_SEGMENTERS = tuple(
    f"{decoder}_{backbone}_{variant}"
    for decoder in ("setr", "segmenter")
    for backbone in ("vit_large", "vit_base", "vit_small", "deit_base", "deit_small")
    for variant in ("dense", "dyvit70", "dovit")
)

PROFILES: dict[str, Profile] = {
    "lab": Profile(
        name="lab",
        model_names="{variant}_lab_patch8_72",
        weights="weights",
        needs_data_root=False,
        attention=Measurement("cutouts", "segmentation", 72, 100),
        maskcut=Measurement("cutouts", "segmentation", 72, 100),
        figure_size=144,
        fine_tuned={"crate": "crate_lab_patch8_72", "vit": "vit_lab_patch8_72"},
        transfers=(Measurement("cutouts", "transfer", 72, 500),),
        # Street models stand on ImageNet's weights and on CamVid, neither of which is shipped: recorded only.
        segmentations={
            "street": SegmentationPlan("camvid", "test", (), View(180)),
            "scenes": SegmentationPlan(
                "cutouts_stuff",
                "segmentation",
                ("setr_crate_dense", "setr_crate_dovit", "setr_crate_dyvit"),
                limit=60,
                pictured_at=0.8,
            ),
        },
        probed={
            "boxes": (
                Measurement("cutouts", "train", 72, 32, seed=2),
                Measurement("cutouts", "segmentation", 72, 48),
            ),
            "names": (
                Measurement("cutouts", "transfer_train", 72, 330, seed=2),
                Measurement("cutouts", "transfer", 72, 120),
            ),
            "pixels": (
                Measurement("cutouts", "train", 72, 40, seed=2),
                Measurement("cutouts", "segmentation", 72, 40),
            ),
        },
        patches=(Measurement("cutouts", "train", 72, 24, seed=2), Measurement("cutouts", "segmentation", 72, 24)),
        one_token=(
            (Measurement("cutouts", "transfer_train", 72, 330, seed=2), Measurement("cutouts", "transfer", 72, 66)),
        ),
    ),
    # CRATE, appendix C.1: VOC 2012 val at 224 px, COCO val2017 through MaskCut's 480 px.
    "paper": Profile(
        name="paper",
        model_names="{variant}_small_patch8_224",
        weights="weights",
        needs_data_root=True,
        attention=Measurement("voc2012", "val", 224),
        maskcut=Measurement("coco2017", "val", 480),
        figure_size=224,
        # Appendix C.2; every photograph is resized to a square of 224 px, as in the official code.
        fine_tuned={
            model: f"{model}_patch8_224"
            for model in ("crate_tiny", "crate_small", "crate_base", "vit_tiny", "vit_base")
        },
        transfers=(
            Measurement("imagenet", "val", 224),
            *(Measurement(data, "test", 224) for data in ("cifar10", "cifar100", "flowers102", "pets")),
        ),
        # DoViT, section 4.1, and the official configurations' sliding windows.
        segmentations={
            "street": SegmentationPlan("cityscapes", "val", _SEGMENTERS, View(window=(768, 512))),
            "scenes": SegmentationPlan("ade20k", "val", _SEGMENTERS, View(512, window=(512, 341))),
        },
        released=_RELEASED,
        # Linear maps are fitted at once, so to fewer images than the paper's; VOC 2007 and COCO20k have no reader here.
        probed={
            "boxes": (Measurement("voc2012", "train", 224, 100), Measurement("voc2012", "val", 224)),
            "names": (Measurement("imagenet", "train", 224, 20_000), Measurement("imagenet", "val", 224)),
            "pixels": (Measurement("ade20k", "train", 224, 100), Measurement("ade20k", "val", 224, 500)),
        },
        patches=(Measurement("voc2012", "train", 224, 100), Measurement("voc2012", "val", 224, 500)),
        # Registers, Table 1, without VOC 2007, whose photographs have several names each; at most so many to fit to.
        one_token=tuple(
            (Measurement(data, fit, 224, 20_000), Measurement(data, score, 224, 10_000))
            for data, (fit, score) in _NAMED.items()
        ),
    ),
}


def profile(name: str) -> Profile:
    """A profile by name.  Raises: InputError for an unknown one."""
    if name not in PROFILES:
        raise InputError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
