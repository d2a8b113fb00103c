"""Data sets by name, and synthetic populations whose truth is known."""

from ._load import info, list_datasets, load
from ._manifolds import manifold
from ._muller_brown import muller_brown, muller_brown_gradient, muller_brown_potential
from ._synthetic import multinomial_populations, normal_populations, poisson_populations
from ._synthetic_digits import digit_populations
from ._synthetic_normals import (
    gaussian_mixture_populations,
    low_rank_populations,
    multivariate_normal_populations,
)
from ._synthetic_perturbations import perturbed_populations

__all__ = [
    "digit_populations",
    "gaussian_mixture_populations",
    "info",
    "list_datasets",
    "load",
    "low_rank_populations",
    "manifold",
    "muller_brown",
    "muller_brown_gradient",
    "muller_brown_potential",
    "multinomial_populations",
    "multivariate_normal_populations",
    "normal_populations",
    "perturbed_populations",
    "poisson_populations",
]
