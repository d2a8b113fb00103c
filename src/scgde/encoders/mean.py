from __future__ import annotations

from torch import Tensor, nn

from ..data import Cells
from ..nn import CellLinear
from ._base import ENCODERS, PooledEncoder


@ENCODERS.register("mean")
class MeanEncoder(PooledEncoder):
    """The mean cell, mapped linearly: the baseline that every encoder should beat.

    Equal to a kernel mean embedding with the linear kernel (GDE paper, App. A.1). Populations
    with equal means and different spread have the same embedding.

    Parameters
    ----------
    n_input, n_latent
        Features of a cell and coordinates of an embedding.
    n_hidden
        Not used; every encoder takes it.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.MeanEncoder(n_input=3, n_latent=4, n_hidden=8)
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    def __init__(self, n_input: int, n_latent: int, n_hidden: int = 128):
        super().__init__()
        self.project = CellLinear(n_input, n_latent)
        self.readout = nn.Identity()

    def embed(self, x: Cells) -> tuple[Tensor, None]:
        """Project cells; the mean of projections is the projection of the mean."""
        return self.project(x), None
