"""The Lightning training plan and how it is run."""

from ._fit import BestWeights, auto_precision, fit
from ._plan import SetTrainingPlan

__all__ = ["BestWeights", "SetTrainingPlan", "auto_precision", "fit"]
