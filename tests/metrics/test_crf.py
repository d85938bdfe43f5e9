"""The optional CRF step: what it does to a coarse mask, and what is said without its package."""

import importlib.util
import sys

import numpy as np
import pytest

from wbcore.errors import InputError
from wbcore.metrics.crf import refine

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("pydensecrf") is None, reason="the optional package pydensecrf2 is absent (extra: crf)"
)


def photograph() -> tuple[np.ndarray, np.ndarray]:
    """A bright rectangle on a dark ground, and its exact mask."""
    truth = np.zeros((61, 83), bool)
    truth[13:43, 17:61] = True
    return np.where(truth[..., None], np.uint8([210, 190, 170]), np.uint8([30, 40, 50])), truth


@needs_package
def test_a_coarse_mask_is_drawn_to_the_edges_of_the_object():
    image, truth = photograph()
    coarse = np.zeros_like(truth)
    coarse[8:48, 16:56] = True
    assert np.array_equal(refine(coarse[None], image)[0], truth)


@needs_package
def test_holes_are_filled():
    image, truth = photograph()
    image[25:31, 30:40] = image[0, 0]
    assert np.array_equal(refine(truth[None], image)[0], truth)


@needs_package
def test_a_mask_that_becomes_another_is_dropped():
    image, truth = photograph()
    sliver = np.zeros_like(truth)
    sliver[20:23, 20:23] = True
    assert not refine(sliver[None], image).any()


@needs_package
def test_an_empty_mask_stays_empty():
    image, truth = photograph()
    assert not refine(np.zeros_like(truth)[None], image).any()
    assert refine(np.zeros((0, *truth.shape), bool), image).shape == (0, *truth.shape)


@needs_package
def test_masks_that_share_a_field_are_as_if_alone():
    image, truth = photograph()
    noise = np.random.default_rng(0).integers(0, 12, size=image.shape, dtype=np.uint8)
    masks = np.zeros((4, *truth.shape), bool)
    masks[0, 8:48, 16:56] = masks[1, 20:23, 20:23] = masks[3, 10:40, 20:65] = True
    alone = np.concatenate([refine(mask[None], image + noise) for mask in masks])
    assert np.array_equal(refine(masks, image + noise), alone)
    assert [mask.any() for mask in alone] == [True, False, False, True]


def test_sizes_must_agree():
    image, truth = photograph()
    with pytest.raises(InputError, match=r"masks are \(61, 82\) but their image is \(61, 83\)"):
        refine(truth[None, :, 1:], image)


def test_without_the_package_the_remedy_is_named(monkeypatch):
    image, truth = photograph()
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(ImportError, match=r"pip install -e \.\[crf\]"):
        refine(truth[None], image)
