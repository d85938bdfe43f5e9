"""An executable companion to three papers on what vision transformers see."""

__version__ = "0.1.0"
