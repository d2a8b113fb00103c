from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .._errors import require_positive
from ..data import Cells
from ..nn import cell_linear
from ._base import ENCODERS, PooledEncoder


@ENCODERS.register("kernel_mean")
class KernelMeanEncoder(PooledEncoder):
    r"""Kernel mean embedding by random Fourier features, mapped linearly.

    .. math:: \phi(x) = \sqrt{2} \cos(\omega^T x + b), \quad
        \omega \sim N(0, I / \sigma^2), \quad b \sim U[0, 2 \pi]

    whose inner products approach the Gaussian kernel of bandwidth :math:`\sigma` (Rahimi & Recht
    2007; GDE paper, App. A.1). The bandwidth is the median distance between training cells.

    Parameters
    ----------
    n_input, n_latent
        Features of a cell and coordinates of an embedding.
    n_hidden
        Not used; every encoder takes it.
    n_features
        Number of random features.
    bandwidth
        In units of what the encoder sees; None for the median heuristic.
    trained
        Whether frequencies and phases are learned with the rest.

    Raises
    ------
    TypeError, ValueError
        If the number of features or the bandwidth is not above zero.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.KernelMeanEncoder(3, 4, n_features=16, bandwidth=1.0)
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        n_input: int,
        n_latent: int,
        n_hidden: int = 128,
        n_features: int = 512,
        bandwidth: float | None = None,
        trained: bool = False,
    ):
        super().__init__()
        require_positive(n_features=n_features)
        if bandwidth is not None:
            require_positive(bandwidth=bandwidth)
        self.bandwidth = bandwidth
        # Until the cells are known, standardised ones are assumed: |x - y| is about sqrt(2 d).
        scale = math.sqrt(2 * n_input) if bandwidth is None else bandwidth
        self.frequency = nn.Parameter(torch.randn(n_input, n_features) / scale, trained)
        self.phase = nn.Parameter(2 * math.pi * torch.rand(n_features), trained)
        self.readout = nn.Linear(n_features, n_latent)

    def initialize(self, x: Tensor) -> None:
        """Set the bandwidth by the median heuristic, unless one was given."""
        if self.bandwidth is None:
            distances = torch.pdist(x)
            distances = distances[distances > 0]  # equal cells say nothing of the scale
            if len(distances):
                spread = self.frequency.data.std()
                self.frequency.data.mul_(1 / (spread * distances.median()))

    def embed(self, x: Cells) -> tuple[Tensor, None]:
        """Return the random features of cells."""
        return math.sqrt(2) * torch.cos(cell_linear(x, self.frequency, self.phase)), None
