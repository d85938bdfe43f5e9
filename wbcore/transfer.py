"""Fine-tuning: a model begins with the weights of one that was trained on other data."""

from pathlib import Path

from wbcore.checkpoints import read_card, read_safetensors
from wbcore.files import sha256
from wbcore.models.backbone import Backbone
from wbcore.models.loading import load_strictly


def start_from(model: Backbone, weights: Path) -> None:
    """Fill a model from the weights of one with another head: its own head stays, all else must fit.

    Source: CRATE's official ``finetune.py``, which leaves out the head's tensors.  Deviates: there other tensors that
    are missing or superfluous go unnoticed.
    Raises: InputError for a missing or damaged file, or weights of another architecture.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("head.")}
    body = {name: tensor for name, tensor in read_safetensors(weights).items() if not name.startswith("head.")}
    load_strictly(model, body | own, source=str(weights))


def origin(weights: Path) -> dict[str, str]:
    """What the card of a model says of the weights that its training began with.

    Raises: InputError if they have no card.
    """
    return {"name": read_card(weights).name, "weights_sha256": sha256(weights)}
