from __future__ import annotations

import torch
from torch import Tensor, nn

from ..data import Cells
from ..nn import cell_linear
from ._base import ENCODERS, PooledEncoder


@ENCODERS.register("pca_mean")
class PCAMeanEncoder(PooledEncoder):
    """The mean of the cells' principal components, mapped linearly: pseudobulk PCA as an encoder.

    The components are those of (a sample of) the training cells and stay fixed; the map starts as
    the identity.

    Parameters
    ----------
    n_input, n_latent
        Features of a cell and coordinates of an embedding.
    n_hidden
        Not used; every encoder takes it.
    n_components
        Principal components; by default as many as the embedding has coordinates.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.PCAMeanEncoder(3, 2)
    >>> encoder.initialize(torch.randn(50, 3))  # finds the components
    >>> encoder(x, w).shape
    torch.Size([2, 2])
    """

    def __init__(
        self, n_input: int, n_latent: int, n_hidden: int = 128, n_components: int | None = None
    ):
        super().__init__()
        n_components = min(n_latent if n_components is None else n_components, n_input)
        self.register_buffer("loadings", torch.eye(n_input, n_components))
        self.register_buffer("offset", torch.zeros(n_components))
        self.readout = nn.Linear(n_components, n_latent)
        nn.init.eye_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def initialize(self, x: Tensor) -> None:
        """Find the principal axes of training cells."""
        mean = x.mean(0)
        axes = torch.linalg.svd(x - mean, full_matrices=False)[2][: self.loadings.shape[1]]
        self.loadings.zero_()[:, : len(axes)] = axes.t()  # fewer axes than components: zeros
        self.offset.copy_(-mean @ self.loadings)

    def embed(self, x: Cells) -> tuple[Tensor, None]:
        """Return the principal components of cells."""
        return cell_linear(x, self.loadings, self.offset), None
