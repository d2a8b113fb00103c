from __future__ import annotations

from torch import Tensor

from .._errors import require_positive
from ..distances import median_bandwidth, mmd
from ._base import GENERATORS
from ._implicit import ImplicitGenerator


@GENERATORS.register("mmd")
class MMDGenerator(ImplicitGenerator):
    """Noise mapped to cells, trained by the squared maximum mean discrepancy, unbiased.

    Generative moment matching (Li et al. 2015) with Gaussian kernels of five bandwidths.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch, n_layers, n_noise
        As in :class:`ImplicitGenerator`.
    bandwidth
        Middle bandwidth, in standard deviations of the features. None: the median distance within
        the sets of a batch, one for all of them.

    Raises
    ------
    ValueError
        If the bandwidth is not above zero.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> generator = scgde.generators.MMDGenerator(n_output=3, n_latent=4, n_hidden=8)
    >>> generator.loss(x, w, z).shape, generator.sample(z, 7, generator=torch.Generator()).shape
    (torch.Size([2]), torch.Size([2, 7, 3]))
    """

    def __init__(
        self,
        n_output: int,
        n_latent: int,
        n_hidden: int = 128,
        *,
        bandwidth: float | None = None,
        **options,
    ):
        super().__init__(n_output, n_latent, n_hidden, **options)
        if bandwidth is not None:
            require_positive(bandwidth=bandwidth)
        self.bandwidth = bandwidth

    def distance(self, x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
        """Return the squared discrepancy of each pair of sets, ``(B,)``."""
        bandwidth = self.bandwidth
        if bandwidth is None:
            # Of real cells alone, or a generator too wide would widen the kernel; of some thousand
            # pairs, or sorting them would cost more than the kernels.
            bandwidth = median_bandwidth(x, x, wx, wx, max_pairs=1 << 13)
        return mmd(x, y, wx, wy, bandwidth=bandwidth, unbiased=True)
