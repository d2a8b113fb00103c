"""Networks and the loss that ties them: know tensors, not AnnData."""

from ._base import TrainableModule, TrainingLoss
from ._dpa import DPAModule
from ._gde import GDEModule
from ._perturbation import PerturbationModule, ShiftHead
from ._regularized_ae import RegularizedAEModule

__all__ = [
    "DPAModule",
    "GDEModule",
    "PerturbationModule",
    "RegularizedAEModule",
    "ShiftHead",
    "TrainableModule",
    "TrainingLoss",
]
