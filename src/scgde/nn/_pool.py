from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def weighted_mean(h: Tensor, w: Tensor) -> Tensor:
    """Return the mean of each set under its weights: ``(B, m, h), (B, m) -> (B, h)``.

    Parameters
    ----------
    h
        Values of each cell, ``(B, m, h)``.
    w
        Weights ``(B, m)`` that sum to one.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> scgde.nn.weighted_mean(torch.tensor([[[0.0], [4.0]]]), torch.tensor([[0.75, 0.25]]))
    tensor([[1.]])
    """
    return torch.bmm(w[:, None].to(h.dtype), h)[:, 0]


def weighted_median(h: Tensor, w: Tensor) -> Tensor:
    """Return the median of each set and coordinate: ``(B, m, h), (B, m) -> (B, h)``.

    Where half of the weight lies on either side of a gap, the middle of the gap: the usual median
    of an even number of cells.

    Parameters
    ----------
    h
        Values of each cell, ``(B, m, h)``.
    w
        Weights ``(B, m)`` that sum to one.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> values = torch.tensor([[[0.0], [1.0], [9.0]]])
    >>> scgde.nn.weighted_median(values, torch.full((1, 3), 1 / 3))
    tensor([[1.]])
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


class BlockSlopes(NamedTuple):
    r"""What the derivative of a :class:`MeanPooledBlock` by its inputs is made of.

    With :math:`u` before the layer norm, :math:`n` normalised and :math:`\sigma` its scale,

    .. math:: du = W S (C\,dh + V\,dp) + dh, \quad
        dh' = \Gamma \tfrac{1}{\sigma} (I - \tfrac{1}{h} 1 1^T - \tfrac{1}{h} n n^T)\,du

    Attributes
    ----------
    slope
        Diagonal of S, the slope of the activation, ``(B, m, h)``.
    normal
        n, ``(B, m, h)``.
    scale
        One over sigma, ``(B, m)``.
    output
        The cells after the block, ``(B, m, h)``.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> h, w = torch.randn(2, 5, 8), torch.full((2, 5), 1 / 5)
    >>> slopes = scgde.nn.MeanPooledBlock(8).slopes(h, scgde.nn.weighted_mean(h, w))
    >>> slopes.slope.shape, slopes.scale.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 5]))
    """

    slope: Tensor  # diagonal of S, the slope of the activation, (B, m, h)
    normal: Tensor  # n, (B, m, h)
    scale: Tensor  # 1 / sigma, (B, m)
    output: Tensor  # the cells after the block, (B, m, h)


class MeanPooledBlock(nn.Module):
    """Residual block whose cells see their population's weighted mean.

    The pooled vector enters through its own linear map and is added to every cell, which equals
    concatenating it to every cell and costs a third.

    Parameters
    ----------
    n_hidden
        Width.
    residual
        Whether what comes in is added to what goes out.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> h, w = torch.randn(2, 5, 8), torch.full((2, 5), 1 / 5)
    >>> block = scgde.nn.MeanPooledBlock(8)
    >>> block(h, scgde.nn.weighted_mean(h, w)).shape
    torch.Size([2, 5, 8])
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
        return self.norm(self._update(h, pooled, skip)[1])

    def slopes(self, h: Tensor, pooled: Tensor, skip: Tensor | None = None) -> BlockSlopes:
        """Return the block's derivative for every cell; arguments as in ``forward``."""
        inner, update = self._update(h, pooled, skip)
        centred = update - update.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + self.norm.eps).rsqrt()
        gate = inner.sigmoid()
        return BlockSlopes(
            gate * (1 + inner * (1 - gate)), centred * scale, scale[..., 0], self.norm(update)
        )

    def _update(self, h: Tensor, pooled: Tensor, skip: Tensor | None) -> tuple[Tensor, Tensor]:
        inner = self.cell(h) + self.pool(pooled)[:, None]
        update = self.out(F.silu(inner))
        if self.residual:
            update = update + h
        if skip is not None:
            update = update + skip
        return inner, update
