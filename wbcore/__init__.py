"""An executable companion to three papers on what vision transformers see.

``wbcore.create_model`` and ``wbcore.list_models`` are the front door; everything else has its module.  Importing this
package loads neither torch nor timm: both come with the first model.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbcore.models import create_model, list_models

__version__ = "0.1.0"
__all__ = ["create_model", "list_models"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from wbcore import models

        return getattr(models, name)
    raise AttributeError(f"module 'wbcore' has no attribute {name!r}")
