"""Arrays in, numbers out: no model, no AnnData."""

from ._mutual_information import MutualInformation, mutual_information
from ._resampling import resampling_report
from ._scores import classification_scores, regression_scores, scores_with_intervals

__all__ = [
    "MutualInformation",
    "classification_scores",
    "mutual_information",
    "regression_scores",
    "resampling_report",
    "scores_with_intervals",
]
