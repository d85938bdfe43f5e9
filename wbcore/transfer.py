"""Fine-tuning: a model begins with the weights of one that was trained on other data."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from wbcore.checkpoints import card_path, read_card, read_safetensors
from wbcore.files import sha256, write_bytes
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


def note_start(weights: Path, start: Path) -> None:
    """Write on the card of ``weights`` from which weights the training began."""
    card = read_card(weights)
    begun = {"start": {"name": read_card(start).name, "weights_sha256": sha256(start)}}
    content = json.dumps(asdict(replace(card, training=card.training | begun)), indent=2) + "\n"
    write_bytes(card_path(weights), content.encode())
