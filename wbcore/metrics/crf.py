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


def refine(mask: Bool[np.ndarray, "rows cols"], image: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "rows cols"]:
    """The mask after a dense CRF on the photograph, its holes filled; empty if the CRF turned it into another.

    ``mask`` is at the size of ``image``, as :func:`wbcore.metrics.attention.to_pixels` gives it.  The unary term is
    the softmax of the scores (1 - mask, mask); two Gaussian pairwise terms ask near pixels, and pixels that are
    near and of like colour, for the same label (10 iterations of mean field).  A result whose IoU with ``mask`` is
    below 0.5 is dropped.

    Source: CutLER, ``crf.py`` and the code around it in ``maskcut.py``; Krähenbühl and Koltun, Efficient Inference in
    Fully Connected CRFs with Gaussian Edge Potentials.
    Raises: InputError if the sizes differ; ImportError, naming the remedy, without the optional package.
    """
    if mask.shape != image.shape[:2]:
        raise InputError(f"mask is {mask.shape} but its image is {image.shape[:2]}: upsample the mask to the image")
    try:
        densecrf = import_module("pydensecrf.densecrf")
        unary_from_softmax = import_module("pydensecrf.utils").unary_from_softmax
    except ImportError as error:
        message = "the CRF needs the package pydensecrf2 (and a C++ compiler): pip install -e .[crf]"
        raise ImportError(message) from error

    height, width = mask.shape
    odds = np.exp(np.stack([~mask, mask]).astype(np.float64))
    field = densecrf.DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(odds / odds.sum(axis=0))))
    field.addPairwiseGaussian(**_SMOOTHNESS)
    field.addPairwiseBilateral(rgbim=np.ascontiguousarray(image), **_APPEARANCE)
    background, foreground = np.asarray(field.inference(_ITERATIONS)).reshape(2, height, width)
    refined = ndimage.binary_fill_holes(foreground > background)
    agrees = (refined & mask).sum() >= _MIN_AGREEMENT * (refined | mask).sum()
    return refined & agrees
