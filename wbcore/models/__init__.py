"""One backbone and the table of its named forms."""

from wbcore.models.backbone import Backbone, BackboneConfig
from wbcore.models.zoo import create_model, list_models, model_config

__all__ = ["Backbone", "BackboneConfig", "create_model", "list_models", "model_config"]
