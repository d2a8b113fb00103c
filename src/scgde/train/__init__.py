"""The Lightning training plan and how it is run."""

from ._arguments import require_train_arguments
from ._dpa import DPAFit, fit_dpa, initialize_members, keep_best_starts, level_scores
from ._fit import BestWeights, auto_precision, fit
from ._plan import SetTrainingPlan

__all__ = [
    "BestWeights",
    "DPAFit",
    "SetTrainingPlan",
    "auto_precision",
    "fit",
    "fit_dpa",
    "initialize_members",
    "keep_best_starts",
    "level_scores",
    "require_train_arguments",
]
