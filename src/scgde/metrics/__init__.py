"""Arrays in, numbers out: no model, no AnnData."""

from ._dimension_calibration import calibrated_dimensions
from ._dimension_consensus import DimensionConsensus, dimension_consensus
from ._dimension_crt import RandomizationTest, conditional_randomization_test
from ._dimension_dpa import DimensionProfile, dimension_profile, levels_above_null
from ._dimension_subsampling import SubsampledEstimate, subsampled_estimate
from ._extraneous import extraneous_latents
from ._information_sweep import information_sweep
from ._levelset import LevelSets, level_sets, levelset_alignment, levelset_cosine
from ._local_dimension import local_dimension
from ._mutual_information import MutualInformation, mutual_information
from ._paths import PathDistances, best_component, latent_path, path_distances
from ._perturbation import perturbation_report
from ._perturbation_baselines import perturbation_baselines
from ._perturbation_split import PerturbationSplit, ShiftPrediction
from ._perturbation_summary import perturbation_summary
from ._resampling import resampling_report
from ._retrieval import retrieval_auc
from ._scores import classification_scores, regression_scores, scores_with_intervals

__all__ = [
    "DimensionConsensus",
    "DimensionProfile",
    "LevelSets",
    "MutualInformation",
    "PathDistances",
    "PerturbationSplit",
    "RandomizationTest",
    "ShiftPrediction",
    "SubsampledEstimate",
    "best_component",
    "calibrated_dimensions",
    "classification_scores",
    "conditional_randomization_test",
    "dimension_consensus",
    "dimension_profile",
    "extraneous_latents",
    "information_sweep",
    "latent_path",
    "level_sets",
    "levels_above_null",
    "levelset_alignment",
    "levelset_cosine",
    "local_dimension",
    "mutual_information",
    "path_distances",
    "perturbation_baselines",
    "perturbation_report",
    "perturbation_summary",
    "regression_scores",
    "resampling_report",
    "retrieval_auc",
    "scores_with_intervals",
    "subsampled_estimate",
]
