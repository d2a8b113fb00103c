from __future__ import annotations

from torch import Tensor

from .._errors import require_positive
from ..distances import sinkhorn_divergence
from ._base import GENERATORS
from ._implicit import ImplicitGenerator


@GENERATORS.register("sinkhorn")
class SinkhornGenerator(ImplicitGenerator):
    """Noise mapped to cells, trained by the Sinkhorn divergence.

    GDE paper, App. A.2; Genevay et al. 2018. It is debiased: zero where the two sides are equal.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch, n_layers, n_noise
        As in :class:`ImplicitGenerator`.
    blur
        Length below which transport is not resolved, in standard deviations of the features.

    Raises
    ------
    ValueError
        If ``blur`` is not above zero.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> generator = scgde.generators.SinkhornGenerator(n_output=3, n_latent=4, n_hidden=8)
    >>> generator.loss(x, w, z).shape, generator.sample(z, 7, generator=torch.Generator()).shape
    (torch.Size([2]), torch.Size([2, 7, 3]))
    """

    def __init__(
        self, n_output: int, n_latent: int, n_hidden: int = 128, *, blur: float = 0.05, **options
    ):
        super().__init__(n_output, n_latent, n_hidden, **options)
        require_positive(blur=blur)
        self.blur = blur

    def distance(self, x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
        """Return the divergence of each pair of sets, ``(B,)``."""
        return sinkhorn_divergence(x, y, wx, wy, blur=self.blur)
