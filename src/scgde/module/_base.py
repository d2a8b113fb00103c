from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class TrainingLoss(NamedTuple):
    """A scalar to minimise, and what it is made of, for the record.

    Attributes
    ----------
    loss
        What is minimised.
    terms
        What it is made of, by name.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> scgde.module.TrainingLoss(torch.tensor(1.0), {"reconstruction": torch.tensor(1.0)}).loss
    tensor(1.)
    """

    loss: Tensor
    terms: dict[str, Tensor]


class TrainableModule(nn.Module):
    """What scvi-tools and the training plan ask of a module.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> class Constant(scgde.module.TrainableModule):
    ...     def loss(self, batch):
    ...         return scgde.module.TrainingLoss(torch.tensor(0.0, requires_grad=True), {})
    >>> Constant().loss({}).loss.item()
    0.0
    """

    def loss(self, batch: dict) -> TrainingLoss:
        """Return the loss of a batch."""
        raise NotImplementedError

    def on_step(self, step: int) -> None:
        """Prepare for a training step; nothing unless the loss depends on the step."""

    def on_load(self, model: object, **kwargs: object) -> None:
        """Do nothing: a saved module needs no preparation (scvi-tools calls this)."""
