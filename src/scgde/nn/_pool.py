from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def weighted_mean(h: Tensor, w: Tensor) -> Tensor:
    """Return the mean of each set under its weights: ``(B, m, h), (B, m) -> (B, h)``."""
    return torch.bmm(w[:, None].to(h.dtype), h)[:, 0]


def weighted_median(h: Tensor, w: Tensor) -> Tensor:
    """Return the median of each set and coordinate: ``(B, m, h), (B, m) -> (B, h)``.

    Where half of the weight lies on either side of a gap, the middle of the gap: the usual median
    of an even number of cells.
    """
    values, order = h.sort(1)
    # In half precision the weights of a hundred cells would not add up to one.
    below = (
        w.to(torch.promote_types(h.dtype, torch.float32))[..., None]
        .expand_as(h)
        .gather(1, order)
        .cumsum(1)
    )
    # Sums of equal weights reach one half only up to rounding.
    lower, upper = (
        (below < 0.5 + margin).sum(1, keepdim=True).clamp_max(h.shape[1] - 1)
        for margin in (-1e-5, 1e-5)
    )
    return 0.5 * (values.gather(1, lower) + values.gather(1, upper))[:, 0]


class MeanPooledBlock(nn.Module):
    """Residual block whose cells see their population's weighted mean.

    The pooled vector enters through its own linear map and is added to every cell, which equals
    concatenating it to every cell and costs a third.
    """

    def __init__(self, n_hidden: int, residual: bool = True):
        super().__init__()
        self.residual = residual
        self.cell = nn.Linear(n_hidden, n_hidden)
        self.pool = nn.Linear(n_hidden, n_hidden, bias=False)
        self.out = nn.Linear(n_hidden, n_hidden)
        self.norm = nn.LayerNorm(n_hidden)

    def forward(self, h: Tensor, pooled: Tensor, skip: Tensor | None = None) -> Tensor:
        """Update cells ``h (B, m, h)`` given ``pooled (B, h)`` and a skip from the raw cells."""
        update = self.out(F.silu(self.cell(h) + self.pool(pooled)[:, None]))
        if self.residual:
            update = update + h
        if skip is not None:
            update = update + skip
        return self.norm(update)
