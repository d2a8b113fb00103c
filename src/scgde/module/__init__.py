"""Encoder, generator and heads as one loss: knows tensors, not AnnData."""

from ._gde import GDELoss, GDEModule
from ._perturbation import PerturbationModule, ShiftHead

__all__ = ["GDELoss", "GDEModule", "PerturbationModule", "ShiftHead"]
