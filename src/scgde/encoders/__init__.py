"""Set encoders: one file each, registered by name in ``ENCODERS``."""

from ._base import ENCODERS, BlockEncoder, Embedded, Encoder, PooledEncoder
from ._embedded_influence import embedded_influence
from ._influence import influence, linear_map, pooled_influence, sensitivities
from ._jacobians import mean_jacobians
from ._modal import ModalEncoder
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
    "BlockEncoder",
    "Embedded",
    "Encoder",
    "GNNEncoder",
    "InducedAttentionEncoder",
    "KernelMeanEncoder",
    "MeanEncoder",
    "MedianGNNEncoder",
    "ModalEncoder",
    "PCAMeanEncoder",
    "PooledEncoder",
    "ResNetGNNEncoder",
    "ResNetTransformerEncoder",
    "SelfAttentionEncoder",
    "WormholeEncoder",
    "embedded_influence",
    "influence",
    "linear_map",
    "mean_jacobians",
    "pooled_influence",
    "sensitivities",
]
