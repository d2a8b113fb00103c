"""Arrays in, numbers out: no model, no AnnData."""

from ._extraneous import extraneous_latents
from ._information_sweep import information_sweep
from ._levelset import LevelSets, level_sets, levelset_alignment, levelset_cosine
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
    "LevelSets",
    "MutualInformation",
    "PathDistances",
    "PerturbationSplit",
    "ShiftPrediction",
    "best_component",
    "classification_scores",
    "extraneous_latents",
    "information_sweep",
    "latent_path",
    "level_sets",
    "levelset_alignment",
    "levelset_cosine",
    "mutual_information",
    "path_distances",
    "perturbation_baselines",
    "perturbation_report",
    "perturbation_summary",
    "regression_scores",
    "resampling_report",
    "retrieval_auc",
    "scores_with_intervals",
]
