from __future__ import annotations

from ..nn import weighted_median
from ._base import ENCODERS
from .gnn import GNNEncoder


@ENCODERS.register("median_gnn")
class MedianGNNEncoder(GNNEncoder):
    """The layers of ``gnn`` with the weighted median in place of the mean.

    GDE paper, App. A.1.2. A few outlying cells do not move a median; nor can it be computed from
    sums, so that it does not stream.

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
    >>> encoder = scgde.encoders.MedianGNNEncoder(n_input=3, n_latent=4, n_hidden=8)
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    streams = False
    differentiable = False
    pool = staticmethod(weighted_median)
