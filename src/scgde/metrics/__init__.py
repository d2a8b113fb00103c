"""Arrays in, numbers out: no model, no AnnData."""

from ._information_sweep import information_sweep
from ._mutual_information import MutualInformation, mutual_information
from ._perturbation import perturbation_report
from ._perturbation_baselines import perturbation_baselines
from ._perturbation_split import PerturbationSplit, ShiftPrediction
from ._perturbation_summary import perturbation_summary
from ._resampling import resampling_report
from ._retrieval import retrieval_auc
from ._scores import classification_scores, regression_scores, scores_with_intervals

__all__ = [
    "MutualInformation",
    "PerturbationSplit",
    "ShiftPrediction",
    "classification_scores",
    "information_sweep",
    "mutual_information",
    "perturbation_baselines",
    "perturbation_report",
    "perturbation_summary",
    "regression_scores",
    "resampling_report",
    "retrieval_auc",
    "scores_with_intervals",
]
