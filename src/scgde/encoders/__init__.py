"""Set encoders: one file each, registered by name in ``ENCODERS``."""

from ._base import ENCODERS, Encoder, PooledEncoder
from ._influence import Tape, influence, linear_map, pooled_influence
from .gnn import GNNEncoder
from .induced_attention import InducedAttentionEncoder
from .kernel_mean import KernelMeanEncoder
from .mean import MeanEncoder
from .median_gnn import MedianGNNEncoder
from .pca_mean import PCAMeanEncoder
from .resnet_gnn import ResNetGNNEncoder
from .resnet_transformer import ResNetTransformerEncoder
from .self_attention import SelfAttentionEncoder
from .wormhole import WormholeEncoder

__all__ = [
    "ENCODERS",
    "Encoder",
    "GNNEncoder",
    "InducedAttentionEncoder",
    "KernelMeanEncoder",
    "MeanEncoder",
    "MedianGNNEncoder",
    "PCAMeanEncoder",
    "PooledEncoder",
    "ResNetGNNEncoder",
    "ResNetTransformerEncoder",
    "SelfAttentionEncoder",
    "Tape",
    "WormholeEncoder",
    "influence",
    "linear_map",
    "pooled_influence",
]
