from __future__ import annotations

import torch
from torch import Tensor, nn

from .._errors import require_positive
from ._networks import ConditionedNet


class GuidedField(nn.Module):
    """A field over cells and time, given a population; sometimes, in training, not given it.

    With ``context_dropout`` above zero the embedding of a set is replaced, with that probability,
    by one learned vector that stands for "any population" (classifier-free guidance, Ho & Salimans
    2022). Then samples can be pushed away from the average population.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch, n_layers
        As in :class:`ConditionedNet`.
    context_dropout
        Share of training sets that do not see their embedding.
    """

    def __init__(
        self,
        n_output: int,
        n_latent: int,
        n_hidden: int,
        *,
        n_batch: int,
        n_layers: int,
        context_dropout: float,
    ):
        super().__init__()
        if not 0 <= context_dropout < 1:
            raise ValueError(f"context_dropout={context_dropout!r} must be in [0, 1).")
        self.context_dropout = context_dropout
        self.net = ConditionedNet(
            n_output, n_output, n_latent, n_hidden, n_batch=n_batch, n_layers=n_layers, timed=True
        )
        self.any_population = nn.Parameter(torch.zeros(n_latent), context_dropout > 0)

    def forward(self, x: Tensor, t: Tensor, z: Tensor, batch: Tensor | None) -> Tensor:
        """Return the field at training cells ``x (B, m, d)`` and times ``t (B, m)``."""
        if self.training and self.context_dropout > 0:
            dropped = torch.rand(len(z), 1, device=z.device) < self.context_dropout
            z = torch.where(dropped, self.any_population, z)
        return self.net(x, self.net.condition(z, batch), t)

    def given(self, z: Tensor, batch: Tensor | None, guidance_scale: float):
        """Return the field of populations as a function of cells and one time, to sample with.

        Parameters
        ----------
        z
            Embeddings ``(B, n_latent)``.
        batch
            Batch of each cell, ``(B, n_cells)``.
        guidance_scale
            1: the population's own field. Above 1: as much further from "any population".
        """
        require_positive(guidance_scale=guidance_scale)
        if guidance_scale != 1 and self.context_dropout == 0:
            raise ValueError(
                f"guidance_scale={guidance_scale!r} needs a model that was trained with "
                "generator_kwargs={'context_dropout': ...} above zero."
            )
        own = self.net.condition(z, batch)
        anyone = None
        if guidance_scale != 1:
            anyone = self.net.condition(self.any_population.expand(len(z), -1), batch)

        def field(x: Tensor, t: float) -> Tensor:
            time = torch.full((1, 1), t, device=x.device)
            value = self.net(x, own, time)
            if anyone is None:
                return value
            other = self.net(x, anyone, time)
            return other + guidance_scale * (value - other)

        return field
