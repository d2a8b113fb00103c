"""AnnData and a model or metric in, results in ``.obsm`` and ``.uns`` out."""

from ._cells_needed import cells_needed
from ._classify import classify_populations
from ._clonal_information import clonal_mutual_information
from ._clones import assign_clones
from ._compare import compare_populations
from ._density_ridges import density_ridges
from ._embed import embed_populations
from ._free_energy_path import free_energy_path
from ._geometry import wasserstein_geometry
from ._influence import cell_influence
from ._intrinsic_dimension import intrinsic_dimension
from ._invariance import invariance_report
from ._neighbors import nearest_populations
from ._perturbations import predict_perturbations
from ._score import score_field

__all__ = [
    "assign_clones",
    "cell_influence",
    "cells_needed",
    "classify_populations",
    "clonal_mutual_information",
    "compare_populations",
    "density_ridges",
    "embed_populations",
    "free_energy_path",
    "intrinsic_dimension",
    "invariance_report",
    "nearest_populations",
    "predict_perturbations",
    "score_field",
    "wasserstein_geometry",
]
