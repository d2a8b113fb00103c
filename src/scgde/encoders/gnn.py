from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Cells
from ..nn import CellLinear, MeanPooledBlock
from ._base import ENCODERS, BlockEncoder


@ENCODERS.register("gnn")
class GNNEncoder(BlockEncoder):
    """Mean-pooled deep sets: message passing on the complete graph of a population's cells.

    GDE paper, App. A.1.2. Each layer gives every cell the population's mean.

    Parameters
    ----------
    n_input, n_latent, n_hidden
        Features of a cell, coordinates of an embedding, width of hidden layers.
    n_blocks
        Layers in which cells see their population.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.GNNEncoder(n_input=3, n_latent=4, n_hidden=8)
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    def __init__(self, n_input: int, n_latent: int, n_hidden: int = 128, n_blocks: int = 2):
        super().__init__()
        self.n_updates = n_blocks
        self.project = CellLinear(n_input, n_hidden)
        self.blocks = nn.ModuleList(
            MeanPooledBlock(n_hidden, residual=False) for _ in range(n_blocks)
        )
        self.readout = nn.Linear(n_hidden, n_latent)

    def embed(self, x: Cells) -> tuple[Tensor, list[None]]:
        """Embed cells one by one."""
        return F.silu(self.project(x)), [None] * self.n_updates
