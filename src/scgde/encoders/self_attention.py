from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Cells
from ..nn import AttentionBlock, CellLinear, weighted_mean
from ._base import ENCODERS, Encoder


@ENCODERS.register("self_attention")
class SelfAttentionEncoder(Encoder):
    """Residual self-attention among a population's cells, then their mean.

    GDE paper, App. A.1. Time grows with the square of the number of cells, memory linearly.

    Parameters
    ----------
    n_input, n_latent, n_hidden
        Features of a cell, coordinates of an embedding, width of hidden layers.
    n_blocks
        Attention blocks.
    n_heads
        Attention heads; ``n_hidden`` must be a multiple.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.SelfAttentionEncoder(n_input=3, n_latent=4, n_hidden=8)
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    accepts_sparse = True
    feed_forward = False

    def __init__(
        self, n_input: int, n_latent: int, n_hidden: int = 128, n_blocks: int = 2, n_heads: int = 4
    ):
        super().__init__()
        self.project = CellLinear(n_input, n_hidden)
        self.blocks = nn.ModuleList(
            AttentionBlock(n_hidden, n_heads, self.feed_forward) for _ in range(n_blocks)
        )
        self.readout = nn.Linear(n_hidden, n_latent)

    def forward(self, x: Cells, w: Tensor) -> Tensor:
        """Embed sets of cells."""
        h = F.silu(self.project(x))
        for block in self.blocks:
            h = block(h, h, w)
        return self.readout(weighted_mean(h, w))
