"""Layers that know no biology."""

from ._linear import MLP, CellLinear, sparse_product
from ._pool import MeanPooledBlock, weighted_mean
from ._random import seeded
from ._transform import Standardize, clip, log_normalize, moments

__all__ = [
    "MLP",
    "CellLinear",
    "MeanPooledBlock",
    "Standardize",
    "clip",
    "log_normalize",
    "moments",
    "seeded",
    "sparse_product",
    "weighted_mean",
]
