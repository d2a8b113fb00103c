"""Encoder, generator and heads as one loss: knows tensors, not AnnData."""

from ._gde import GDELoss, GDEModule

__all__ = ["GDELoss", "GDEModule"]
