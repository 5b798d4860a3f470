"""Compare ways of transferring a pretrained network to your own images."""

__version__ = "0.1.0"
