"""Statistics of noisy embeddings: arrays in, numbers out."""

from ._bootstrap_radius import bootstrap_radius
from ._bootstrap_test import bootstrap_test
from ._cell_covariance import completed_noise, pooled_cell_covariance
from ._combination_regression import CombinationRegression
from ._conformal import (
    LabelPValues,
    Novelty,
    conformal_p_values,
    knn_label_p_values,
    knn_novelty,
)
from ._errors_in_variables import NoisyLogisticRegression, NoisyRidge
from ._expected_distances import expected_distances, paired_distances
from ._group_contrasts import ContrastTest, GroupFit, contrast_distances, contrast_test, fit_groups
from ._hotelling import HotellingTest, hotelling_radius, hotelling_test
from ._kernel_energy import KernelEnergy, likely_bandwidth
from ._leave_one_out import leave_one_out_distances
from ._normal_prior import NormalPrior
from ._permutation import (
    count_arrangements,
    max_t_p_values,
    permutation_p_values,
    permute_within_blocks,
)
from ._sample_size import (
    cells_for_ellipsoid,
    cells_for_power,
    donors_for_power,
    ellipsoid_size,
    hotelling_power,
)
from ._string_method import StringPath, arc_length, evenly_spaced, string_method

__all__ = [
    "CombinationRegression",
    "ContrastTest",
    "GroupFit",
    "HotellingTest",
    "KernelEnergy",
    "LabelPValues",
    "NoisyLogisticRegression",
    "NoisyRidge",
    "NormalPrior",
    "Novelty",
    "StringPath",
    "arc_length",
    "bootstrap_radius",
    "bootstrap_test",
    "cells_for_ellipsoid",
    "cells_for_power",
    "completed_noise",
    "conformal_p_values",
    "contrast_distances",
    "contrast_test",
    "count_arrangements",
    "donors_for_power",
    "ellipsoid_size",
    "evenly_spaced",
    "expected_distances",
    "fit_groups",
    "hotelling_power",
    "hotelling_radius",
    "hotelling_test",
    "knn_label_p_values",
    "knn_novelty",
    "leave_one_out_distances",
    "likely_bandwidth",
    "max_t_p_values",
    "paired_distances",
    "permutation_p_values",
    "permute_within_blocks",
    "pooled_cell_covariance",
    "string_method",
]
