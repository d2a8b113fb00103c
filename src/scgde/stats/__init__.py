"""Statistics of noisy embeddings: arrays in, numbers out."""

from ._expected_distances import expected_distances, paired_distances
from ._group_contrasts import ContrastTest, GroupFit, contrast_distances, contrast_test, fit_groups
from ._hotelling import HotellingTest, hotelling_radius, hotelling_test
from ._normal_prior import NormalPrior
from ._permutation import (
    count_arrangements,
    max_t_p_values,
    permutation_p_values,
    permute_within_blocks,
)

__all__ = [
    "ContrastTest",
    "GroupFit",
    "HotellingTest",
    "NormalPrior",
    "contrast_distances",
    "contrast_test",
    "count_arrangements",
    "expected_distances",
    "fit_groups",
    "hotelling_radius",
    "hotelling_test",
    "max_t_p_values",
    "paired_distances",
    "permutation_p_values",
    "permute_within_blocks",
]
