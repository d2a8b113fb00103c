from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Cells
from ..nn import AttentionBlock, CellLinear, weighted_mean
from ._base import ENCODERS, Encoder


@ENCODERS.register("induced_attention")
class InducedAttentionEncoder(Encoder):
    """Attention through a few inducing points: time and memory linear in the number of cells.

    Set Transformer (Lee et al. 2019, Eqs. 9 and 10): learned points attend to the cells, the cells
    attend to the points, and so on; then the mean.

    Parameters
    ----------
    n_input, n_latent, n_hidden
        Features of a cell, coordinates of an embedding, width of hidden layers.
    n_blocks
        Blocks, each with its own inducing points.
    n_heads
        Attention heads; ``n_hidden`` must be a multiple.
    n_inducing
        Inducing points of a block.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.InducedAttentionEncoder(n_input=3, n_latent=4, n_hidden=8)
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    accepts_sparse = True

    def __init__(
        self,
        n_input: int,
        n_latent: int,
        n_hidden: int = 128,
        n_blocks: int = 2,
        n_heads: int = 4,
        n_inducing: int = 16,
    ):
        super().__init__()
        self.project = CellLinear(n_input, n_hidden)
        self.points = nn.Parameter(
            torch.randn(n_blocks, n_inducing, n_hidden) / math.sqrt(n_hidden)
        )
        self.read = nn.ModuleList(AttentionBlock(n_hidden, n_heads) for _ in range(n_blocks))
        self.write = nn.ModuleList(AttentionBlock(n_hidden, n_heads) for _ in range(n_blocks))
        self.readout = nn.Linear(n_hidden, n_latent)

    def forward(self, x: Cells, w: Tensor) -> Tensor:
        """Embed sets of cells."""
        h = F.silu(self.project(x))
        n_inducing = self.points.shape[1]
        equal = torch.full((len(h), n_inducing), 1 / n_inducing, device=h.device)
        for points, read, write in zip(self.points, self.read, self.write, strict=True):
            summary = read(points.expand(len(h), -1, -1), h, w)
            h = write(h, summary, equal)
        return self.readout(weighted_mean(h, w))
