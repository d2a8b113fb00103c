"""Figures from what models and ``tl`` wrote."""

from ._figures import population_map, resampled_cells, training_curve

__all__ = ["population_map", "resampled_cells", "training_curve"]
