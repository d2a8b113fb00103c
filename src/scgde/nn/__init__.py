"""Layers that know no biology."""

from ._attention import AttentionBlock, MeasureAttention
from ._linear import MLP, CellLinear, cell_linear, sparse_product
from ._pool import BlockSlopes, MeanPooledBlock, weighted_mean, weighted_median
from ._random import seeded
from ._stacked import StackedLinear
from ._transform import Standardize, clip, log1p, log_normalize, moments

__all__ = [
    "MLP",
    "AttentionBlock",
    "BlockSlopes",
    "CellLinear",
    "MeanPooledBlock",
    "MeasureAttention",
    "StackedLinear",
    "Standardize",
    "cell_linear",
    "clip",
    "log1p",
    "log_normalize",
    "moments",
    "seeded",
    "sparse_product",
    "weighted_mean",
    "weighted_median",
]
