"""Arrays in, numbers out: no model, no AnnData."""

from ._mutual_information import MutualInformation, mutual_information
from ._perturbation import perturbation_report
from ._perturbation_baselines import perturbation_baselines
from ._perturbation_split import PerturbationSplit, ShiftPrediction
from ._perturbation_summary import perturbation_summary
from ._resampling import resampling_report
from ._scores import classification_scores, regression_scores, scores_with_intervals

__all__ = [
    "MutualInformation",
    "PerturbationSplit",
    "ShiftPrediction",
    "classification_scores",
    "mutual_information",
    "perturbation_baselines",
    "perturbation_report",
    "perturbation_summary",
    "regression_scores",
    "resampling_report",
    "scores_with_intervals",
]
