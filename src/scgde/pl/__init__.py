"""Figures from what models and ``tl`` wrote."""

from ._classification import classification
from ._clonal import clonal_information
from ._comparison import comparison
from ._figures import resampled_cells, training_curve
from ._free_energy_path import free_energy_path
from ._intrinsic_dimension import intrinsic_dimension
from ._invariance import invariance_report
from ._perturbation import perturbation_report, predicted_shift
from ._population_map import population_map
from ._score import density_ridges, score_arrows

__all__ = [
    "classification",
    "clonal_information",
    "comparison",
    "density_ridges",
    "free_energy_path",
    "intrinsic_dimension",
    "invariance_report",
    "perturbation_report",
    "population_map",
    "predicted_shift",
    "resampled_cells",
    "score_arrows",
    "training_curve",
]
