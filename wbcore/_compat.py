"""One trap of the environment: torchvision beside a torch that was built for the CPU alone.

torchvision's wheel on the package index is compiled for CUDA.  Beside a CPU build of torch its compiled library
cannot be loaded; torchvision tolerates that, but then registers shape functions for two operators that nobody
declared, and ``import torchvision``, hence ``import timm``, fails with "operator torchvision::nms does not exist".
Declaring the two operators is enough for everything except calling them.
"""

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # the operators vanish with the object that declared them


def declare_torchvision_operators() -> bool:
    """Declare the operators that torchvision expects, if its own library cannot; say whether that was needed.

    Does nothing on a CUDA or ROCm build of torch, where torchvision's library loads, nor a second time.
    """
    if _declared or torch.version.cuda or torch.version.hip or _torchvision_loads():
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
    return True


def _torchvision_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for compiled in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


def import_timm() -> ModuleType:
    """timm, whichever build of torch it meets.  The first import of timm in a process must be this one."""
    declare_torchvision_operators()
    with warnings.catch_warnings():
        # In a notebook one of timm's dependencies looks for widgets to draw progress bars with; none are wanted.
        warnings.filterwarnings("ignore", message="IProgress not found")
        import timm

    return timm
