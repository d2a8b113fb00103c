"""Statistics of noisy embeddings: arrays in, numbers out."""

from ._expected_distances import expected_distances, paired_distances
from ._normal_prior import NormalPrior

__all__ = ["NormalPrior", "expected_distances", "paired_distances"]
