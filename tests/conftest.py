"""What all tests share: one thread, so that results do not depend on the machine and test processes do not compete."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import matplotlib as mpl
import pytest
import torch

if TYPE_CHECKING:
    from tests.tiny import Photographs
    from wbcore.models import Backbone

mpl.use("Agg")
torch.set_num_threads(1)


@pytest.fixture
def closed_figures() -> Iterator[None]:
    """Figures end with the test."""
    from matplotlib import pyplot as plt

    yield
    plt.close("all")


@pytest.fixture
def book_style(closed_figures: None) -> Iterator[None]:  # noqa: ARG001
    """Figures in the book's style, which ends with the test, as they do."""
    from wbcore import plots

    with mpl.rc_context():
        plots.use_style()
        yield


@pytest.fixture
def rectangle_photographs() -> "Photographs":
    """Photographs of several sizes, whose objects are bright rectangles."""
    from tests.rectangles import rectangles

    return rectangles()


@pytest.fixture
def planted_model() -> "Backbone":
    """A model for images of 18 pixels whose outlier tokens are planted."""
    from tests.planted import CONFIG, planted

    return planted(replace(CONFIG, image_size=18))
