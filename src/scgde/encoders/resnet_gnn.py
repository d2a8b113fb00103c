from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Cells
from ..nn import CellLinear, MeanPooledBlock
from ._base import ENCODERS, BlockEncoder


@ENCODERS.register("resnet_gnn")
class ResNetGNNEncoder(BlockEncoder):
    """Mean-pooled residual blocks with skips from the raw cells; the default.

    GDE paper, App. A.1.3. The raw cells enter at the start and again in every block; all these
    projections are one product, so the genes are read once.

    Parameters
    ----------
    n_input, n_latent, n_hidden
        Features of a cell, coordinates of an embedding, width of hidden layers.
    n_blocks
        Residual blocks, each with one pooling.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.ResNetGNNEncoder(n_input=3, n_latent=4, n_hidden=8)
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    def __init__(self, n_input: int, n_latent: int, n_hidden: int = 128, n_blocks: int = 2):
        super().__init__()
        self.n_updates = n_blocks
        self.project = CellLinear(n_input, n_hidden * (n_blocks + 2))
        self.hidden = nn.Linear(n_hidden, n_hidden)
        self.norm = nn.LayerNorm(n_hidden)
        self.blocks = nn.ModuleList(MeanPooledBlock(n_hidden) for _ in range(n_blocks))
        self.readout = nn.Linear(n_hidden, n_latent)

    def embed(self, x: Cells) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Embed cells one by one; return the skips of the blocks as well."""
        first, skip, *skips = self.project(x).chunk(self.n_updates + 2, dim=-1)
        return self.norm(self.hidden(F.silu(first)) + skip), tuple(skips)
