from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..data import Cells, Modalities


class ModalLikelihood(nn.Module):
    """A likelihood for each modality, independent given the hidden state.

    The log-probability of a cell is the sum over the modalities that it has: what it lacks says
    nothing. Each modality has its own sizes, composition and dispersions.

    Parameters
    ----------
    likelihoods
        One for each modality, all of the same space.
    modalities
        Columns of cells.
    """

    space: Literal["counts", "real"]

    def __init__(self, likelihoods: Sequence[nn.Module], modalities: Modalities):
        super().__init__()
        self.each, self.modalities = nn.ModuleList(likelihoods), modalities
        self.space = likelihoods[0].space

    def initialize(self, mean: Tensor, var: Tensor, log_library: Tensor) -> None:
        """Start each modality at its moments; ``log_library (M, 2)``."""
        sizes = self.modalities.sizes
        for own, *moments in zip(
            self.each, mean.split(sizes), var.split(sizes), log_library, strict=True
        ):
            own.initialize(*moments)

    def log_prob(self, h: Tensor, x: Cells, library: Tensor | None) -> Tensor:
        """Return the log-probability of each cell, ``(B, m)``, in nats; ``library (B, m, M)``."""
        sizes = [None] * len(self.each) if library is None else library.unbind(-1)
        terms = [
            own.log_prob(h, part, size)
            for own, part, size in zip(self.each, self.modalities.split(x), sizes, strict=True)
        ]
        return (torch.stack(terms, -1) * self.modalities.present(x)).sum(-1)

    def sample(
        self, h: Tensor, library: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """Draw cells ``(B, m, d)`` that have all modalities."""
        sizes = [None] * len(self.each) if library is None else library.unbind(-1)
        return torch.cat(
            [own.sample(h, size, generator) for own, size in zip(self.each, sizes, strict=True)], -1
        )
