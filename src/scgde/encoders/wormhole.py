from __future__ import annotations

from ._base import ENCODERS
from .self_attention import SelfAttentionEncoder


@ENCODERS.register("wormhole")
class WormholeEncoder(SelfAttentionEncoder):
    """The encoder of Wasserstein Wormhole: a transformer without positions, then the mean cell.

    Haviv et al. 2024 (arXiv 2404.09411), Sec. 3: attention and feed-forward, each with a residual
    and a layer norm. Pair it with ``generator="wormhole"`` for the whole method.

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
    >>> encoder = scgde.encoders.WormholeEncoder(n_input=3, n_latent=4, n_hidden=8)
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    feed_forward = True
