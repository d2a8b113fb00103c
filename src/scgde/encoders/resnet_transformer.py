from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Cells
from ..nn import AttentionBlock, CellLinear, weighted_mean
from ._base import ENCODERS, Encoder


@ENCODERS.register("resnet_transformer")
class ResNetTransformerEncoder(Encoder):
    """Self-attention with feed-forward blocks and skips from the raw cells, then the mean.

    GDE paper, App. A.1.3, with attention where ``resnet_gnn`` has the mean. Time grows with the
    square of the number of cells, memory linearly.

    Parameters
    ----------
    n_input, n_latent, n_hidden
        Features of a cell, coordinates of an embedding, width of hidden layers.
    n_blocks
        Blocks of attention and feed-forward.
    n_heads
        Attention heads; ``n_hidden`` must be a multiple.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.ResNetTransformerEncoder(n_input=3, n_latent=4, n_hidden=8)
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    accepts_sparse = True

    def __init__(
        self, n_input: int, n_latent: int, n_hidden: int = 128, n_blocks: int = 2, n_heads: int = 4
    ):
        super().__init__()
        self.project = CellLinear(n_input, n_hidden * (n_blocks + 1))
        self.blocks = nn.ModuleList(AttentionBlock(n_hidden, n_heads) for _ in range(n_blocks))
        self.readout = nn.Linear(n_hidden, n_latent)

    def forward(self, x: Cells, w: Tensor) -> Tensor:
        """Embed sets of cells."""
        h, *skips = self.project(x).chunk(len(self.blocks) + 1, dim=-1)
        h = F.silu(h)
        for block, skip in zip(self.blocks, skips, strict=True):
            h = block(h, h, w, skip)
        return self.readout(weighted_mean(h, w))
