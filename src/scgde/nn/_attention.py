from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._errors import require_counts

# Added to weights, so that the logarithm of zero has a value and a derivative: such a cell does not
# exist beside any cell of positive weight.
_TINY = 1e-18


class MeasureAttention(nn.Module):
    r"""Multi-head attention to a weighted measure of cells.

    .. math:: a(q) = \frac{\sum_i w_i e^{q k_i} v_i}{\sum_i w_i e^{q k_i}}

    so that repetition, order and cells of weight zero do not matter. ``log w`` enters as one more
    coordinate of the keys rather than as a mask: then fused kernels, which never hold the matrix
    of queries x cells, apply to the backward pass too, the derivative by ``w`` included.

    Parameters
    ----------
    n_hidden
        Width; divided among the heads.
    n_heads
        Number of heads.

    Raises
    ------
    TypeError, ValueError
        If the width is no multiple of the heads.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> h, w = torch.randn(2, 5, 8), torch.full((2, 5), 1 / 5)
    >>> scgde.nn.MeasureAttention(8, n_heads=2)(h[:, :3], h, w).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, n_hidden: int, n_heads: int = 4):
        super().__init__()
        require_counts(n_heads=n_heads)
        if n_hidden % n_heads:
            raise ValueError(
                f"n_hidden={n_hidden} must be a multiple of n_heads={n_heads}: change n_hidden, or "
                "encoder_kwargs={'n_heads': ...}."
            )
        self.n_heads = n_heads
        self.query = nn.Linear(n_hidden, n_hidden)
        self.key_value = nn.Linear(n_hidden, 2 * n_hidden)
        self.out = nn.Linear(n_hidden, n_hidden)

    def forward(self, queries: Tensor, h: Tensor, w: Tensor) -> Tensor:
        """Let ``queries (B, q, n_hidden)`` attend to cells ``h (B, m, n_hidden)``, ``w (B, m)``."""
        q = self._heads(self.query(queries))
        k, v = (self._heads(part) for part in self.key_value(h).chunk(2, -1))
        scale = q.shape[-1] ** -0.5
        log_w = (w + _TINY).log().to(k.dtype)[:, None, :, None]
        q = torch.cat([q, torch.full_like(q[..., :1], 1 / scale)], -1)
        k = torch.cat([k, log_w.expand(-1, self.n_heads, -1, -1)], -1)
        # Fused kernels want the three equally wide, in a multiple of eight.
        width = 8 * math.ceil(q.shape[-1] / 8)
        q, k, padded = (F.pad(a, (0, width - a.shape[-1])) for a in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, padded, scale=scale)
        return self.out(attended[..., : v.shape[-1]].transpose(1, 2).flatten(2))

    def _heads(self, h: Tensor) -> Tensor:
        return h.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Residual attention of queries to cells, normalised; with a feed-forward part on request.

    Parameters
    ----------
    n_hidden, n_heads
        As in :class:`MeasureAttention`.
    feed_forward
        Whether there is a feed-forward part.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> h, w = torch.randn(2, 5, 8), torch.full((2, 5), 1 / 5)
    >>> scgde.nn.AttentionBlock(8, n_heads=2)(h, h, w).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, n_hidden: int, n_heads: int = 4, feed_forward: bool = True):
        super().__init__()
        self.attention = MeasureAttention(n_hidden, n_heads)
        self.norm = nn.LayerNorm(n_hidden)
        self.feed_forward = None
        if feed_forward:
            self.feed_forward = nn.Sequential(
                nn.Linear(n_hidden, 2 * n_hidden), nn.SiLU(), nn.Linear(2 * n_hidden, n_hidden)
            )
            self.norm_out = nn.LayerNorm(n_hidden)

    def forward(self, queries: Tensor, h: Tensor, w: Tensor, skip: Tensor | None = None) -> Tensor:
        """Update ``queries (B, q, h)`` by cells ``h (B, m, h)``, and by a skip from raw cells."""
        updated = queries + self.attention(queries, h, w)
        updated = self.norm(updated if skip is None else updated + skip)
        if self.feed_forward is None:
            return updated
        return self.norm_out(updated + self.feed_forward(updated))
