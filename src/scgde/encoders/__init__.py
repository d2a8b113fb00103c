"""Set encoders: one file each, registered by name in ``ENCODERS``."""

from ._base import ENCODERS, Encoder, PooledEncoder
from .gnn import GNNEncoder
from .mean import MeanEncoder
from .resnet_gnn import ResNetGNNEncoder

__all__ = [
    "ENCODERS",
    "Encoder",
    "GNNEncoder",
    "MeanEncoder",
    "PooledEncoder",
    "ResNetGNNEncoder",
]
