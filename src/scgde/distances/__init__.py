"""Distances between sets of cells: ``(x: (B, n, d), y: (B, m, d), wx, wy) -> (B,)``."""

from ._energy import energy_distance
from ._gaussian import bures_wasserstein, gaussian_wasserstein, published_gaussian_wasserstein
from ._knn import knn_divergence
from ._mixture import gmm_wasserstein, mixture_wasserstein
from ._mmd import median_bandwidth, mmd
from ._sinkhorn import sinkhorn_divergence
from ._sliced import sliced_wasserstein
from ._wasserstein import wasserstein

__all__ = [
    "bures_wasserstein",
    "energy_distance",
    "gaussian_wasserstein",
    "gmm_wasserstein",
    "knn_divergence",
    "median_bandwidth",
    "mixture_wasserstein",
    "mmd",
    "published_gaussian_wasserstein",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "wasserstein",
]
