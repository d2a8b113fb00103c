"""Data sets by name, their preparation, and synthetic populations whose truth is known."""

from ._catalogue import info, list
from ._donors import join_donors
from ._drug_screen import recode_doses
from ._fetch import fetch
from ._larry import prepare_larry
from ._load import load
from ._manifolds import manifold
from ._muller_brown import muller_brown, muller_brown_gradient, muller_brown_potential
from ._perturb_seq import perturbation_strength, recode_perturbations
from ._promoters import expression_bins
from ._recipes import counts_in_x, variable_log_counts
from ._sequences import one_hot_sequences
from ._synthetic import multinomial_populations, normal_populations, poisson_populations
from ._synthetic_digits import digit_populations
from ._synthetic_normals import (
    gaussian_mixture_populations,
    low_rank_populations,
    multivariate_normal_populations,
)
from ._synthetic_perturbations import perturbed_populations

__all__ = [
    "counts_in_x",
    "digit_populations",
    "expression_bins",
    "fetch",
    "gaussian_mixture_populations",
    "info",
    "join_donors",
    "list",
    "load",
    "low_rank_populations",
    "manifold",
    "muller_brown",
    "muller_brown_gradient",
    "muller_brown_potential",
    "multinomial_populations",
    "multivariate_normal_populations",
    "normal_populations",
    "one_hot_sequences",
    "perturbation_strength",
    "perturbed_populations",
    "poisson_populations",
    "prepare_larry",
    "recode_doses",
    "recode_perturbations",
    "variable_log_counts",
]
