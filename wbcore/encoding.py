"""A figure → the picture that a notebook keeps of it: a chart in a palette of its colours, photographs as JPEG."""

from base64 import b64encode
from io import BytesIO

from IPython.core.formatters import DisplayFormatter
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats  # imported late, it would choose PNG again
from PIL import Image

COLOURS, REFINEMENTS = 256, 4
"""Colours of a palette, and rounds of k-means that bring them nearer to those of the figure."""


def encode_small(shell: InteractiveShell) -> None:
    """Show figures in a notebook as :func:`encode` has them, because notebooks are kept with their pictures."""
    set_matplotlib_formats()
    assert isinstance(shell.display_formatter, DisplayFormatter)
    shell.display_formatter.mimebundle_formatter.for_type(Figure, _bundle)


def encode(image: Image.Image) -> tuple[str, bytes]:
    """MIME type and bytes of an RGB image: PNG of 256 colours or JPEG, whichever is smaller.

    Lines, letters and maps of patches are nearer to the figure in PNG, and take half the room; photographs take
    several times as much there.
    """
    png, jpeg = BytesIO(), BytesIO()
    image.quantize(COLOURS, kmeans=REFINEMENTS, dither=Image.Dither.NONE).save(png, "png", optimize=True)
    image.save(jpeg, "jpeg", quality=75, optimize=True, progressive=True)
    if len(png.getvalue()) <= len(jpeg.getvalue()):
        return "image/png", png.getvalue()
    return "image/jpeg", jpeg.getvalue()


def _bundle(figure: Figure) -> dict[str, str]:
    drawn = print_figure(figure)
    if not isinstance(drawn, bytes):  # nothing is in it
        return {}
    kind, data = encode(Image.open(BytesIO(drawn)).convert("RGB"))
    return {kind: b64encode(data).decode("ascii")}
