"""Networks that read a population's embedding and batch once for each set."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._errors import require_counts


class Condition(nn.Module):
    """What a population's embedding and a cell's batch add to hidden layers.

    The embedding is projected once for each set and broadcast over its cells. Effects of batches
    are relative to their average, which is what an unknown batch (-1) gets.
    """

    def __init__(self, n_latent: int, n_batch: int, width: int):
        super().__init__()
        self.population = nn.Linear(n_latent, width, bias=False)
        self.batch = nn.Embedding(n_batch, width)
        nn.init.zeros_(self.batch.weight)

    def forward(self, z: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return ``(B, 1, width)`` or, with ``batch (B, m)``, ``(B, m, width)``."""
        condition = self.population(z)[:, None]
        if batch is None:
            return condition
        effect = self.batch(batch.clamp_min(0)) - self.batch.weight.mean(0)
        return condition + effect * (batch >= 0)[..., None]


class ConditionedNet(nn.Module):
    """Residual network on cells; a condition scales and shifts every layer.

    Parameters
    ----------
    n_input, n_output, n_hidden
        Coordinates of a cell that come in and go out; width.
    n_latent, n_batch
        As in :class:`Condition`.
    n_layers
        Residual layers.
    timed
        Whether layers also see a time.
    """

    n_frequencies = 16

    def __init__(
        self,
        n_input: int,
        n_output: int,
        n_latent: int,
        n_hidden: int,
        *,
        n_batch: int = 1,
        n_layers: int = 3,
        timed: bool = False,
    ):
        super().__init__()
        require_counts(n_layers=n_layers)
        self.condition = Condition(n_latent, n_batch, 2 * n_layers * n_hidden)
        self.read = nn.Linear(n_input, n_hidden)
        self.layers = nn.ModuleList(nn.Linear(n_hidden, n_hidden) for _ in range(n_layers))
        self.add = nn.ModuleList(nn.Linear(n_hidden, n_hidden) for _ in range(n_layers))
        self.out = nn.Linear(n_hidden, n_output)
        self.time = nn.Linear(2 * self.n_frequencies, n_layers * n_hidden) if timed else None

    def forward(self, x: Tensor, condition: Tensor, t: Tensor | None = None) -> Tensor:
        """Map cells ``x (B, m, n_input)``.

        Parameters
        ----------
        x
            Cells.
        condition
            From ``self.condition``: ``(B, 1 or m, width)``.
        t
            Time in [0, 1] of each cell, ``(B, m)`` or anything that broadcasts to it.
        """
        h = self.read(x)
        n = len(self.layers)
        scales, shifts = condition.chunk(2, -1)
        shifts = shifts.chunk(n, -1)
        if t is not None:
            times = self.time(self._fourier(t)).chunk(n, -1)
            shifts = [a + b for a, b in zip(shifts, times, strict=True)]
        for layer, add, scale, shift in zip(
            self.layers, self.add, scales.chunk(n, -1), shifts, strict=True
        ):
            h = h + add(F.silu(torch.addcmul(shift, layer(h), 1 + scale)))
        return self.out(F.silu(h))

    def _fourier(self, t: Tensor) -> Tensor:
        octaves = torch.arange(self.n_frequencies, device=t.device, dtype=t.dtype)
        angle = t[..., None] * (math.pi * 2 ** (octaves / 2))
        return torch.cat([angle.sin(), angle.cos()], -1)
