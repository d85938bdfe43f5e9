"""The conditional random field that draws MaskCut's coarse masks along the edges of the photograph (optional)."""

from importlib import import_module

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from wbcore.errors import InputError

_ITERATIONS = 10
_SMOOTHNESS = {"sxy": 3, "compat": 7}
_APPEARANCE = {"sxy": 50, "srgb": 5, "compat": 10}
_MIN_AGREEMENT = 0.5


def refine(
    masks: Bool[np.ndarray, "m rows cols"], image: UInt8[np.ndarray, "h w 3"]
) -> Bool[np.ndarray, "m rows cols"]:
    """Each mask after a dense CRF on the photograph, its holes filled; empty if the CRF turned it into another.

    ``masks`` are at the size of ``image``, as :func:`wbcore.metrics.attention.to_pixels` gives them.  The unary term is
    the softmax of the scores (1 - mask, mask); two Gaussian pairwise terms ask near pixels, and pixels that are
    near and of like colour, for the same label (10 iterations of mean field).  A result whose IoU with its mask is
    below 0.5 is dropped.

    The time goes into the filters of the colour term, and grows with the pixels: officially 480 × 480.  They depend on
    the image alone, so all masks of an image share one field; an empty mask stays empty and is not put through it.
    The widths of the Gaussians are in pixels, whatever the size.

    Source: CutLER, ``crf.py`` and the code around it in ``maskcut.py``; Krähenbühl and Koltun, Efficient Inference in
    Fully Connected CRFs with Gaussian Edge Potentials.
    Raises: InputError if the sizes differ; ImportError, naming the remedy, without the optional package.
    """
    height, width = image.shape[:2]
    if masks.shape[1:] != (height, width):
        raise InputError(
            f"masks are {masks.shape[1:]} but their image is {(height, width)}: upsample the masks to the image"
        )
    try:
        densecrf = import_module("pydensecrf.densecrf")
        unary_from_softmax = import_module("pydensecrf.utils").unary_from_softmax
    except ImportError as error:
        message = "the CRF needs the package pydensecrf2 (and a C++ compiler): pip install -e .[crf]"
        raise ImportError(message) from error

    found = np.zeros_like(masks)
    if not masks.any():
        return found
    field = densecrf.DenseCRF2D(width, height, 2)
    field.addPairwiseGaussian(**_SMOOTHNESS)
    field.addPairwiseBilateral(rgbim=np.ascontiguousarray(image), **_APPEARANCE)
    for place in np.flatnonzero(masks.any(axis=(1, 2))):
        mask = masks[place]
        odds = np.exp(np.stack([~mask, mask]).astype(np.float64))
        field.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(odds / odds.sum(axis=0))))
        background, foreground = np.asarray(field.inference(_ITERATIONS)).reshape(2, height, width)
        refined = ndimage.binary_fill_holes(foreground > background)
        if (refined & mask).sum() >= _MIN_AGREEMENT * (refined | mask).sum():
            found[place] = refined
    return found
