from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class TrainingLoss(NamedTuple):
    """A scalar to minimise, and what it is made of, for the record."""

    loss: Tensor
    terms: dict[str, Tensor]


class TrainableModule(nn.Module):
    """What scvi-tools and the training plan ask of a module."""

    def loss(self, batch: dict) -> TrainingLoss:
        """Return the loss of a batch."""
        raise NotImplementedError

    def on_step(self, step: int) -> None:
        """Prepare for a training step; nothing unless the loss depends on the step."""

    def on_load(self, model: object, **kwargs: object) -> None:
        """Do nothing: a saved module needs no preparation (scvi-tools calls this)."""
