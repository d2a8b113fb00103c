from __future__ import annotations

from torch import Tensor

from .._errors import require_positive
from ..distances import sliced_wasserstein
from ._base import GENERATORS
from ._implicit import ImplicitGenerator, fresh_generator


@GENERATORS.register("sliced_wasserstein")
class SlicedWassersteinGenerator(ImplicitGenerator):
    """Noise mapped to cells, trained by the squared sliced Wasserstein distance.

    GDE paper, App. A.2; Deshpande et al. 2018. Directions are drawn anew at each step.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch, n_layers, n_noise
        As in :class:`ImplicitGenerator`.
    n_projections
        Random directions of a step.

    Raises
    ------
    ValueError
        If there are no projections.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> generator = scgde.generators.SlicedWassersteinGenerator(n_output=3, n_latent=4, n_hidden=8)
    >>> generator.loss(x, w, z).shape, generator.sample(z, 7, generator=torch.Generator()).shape
    (torch.Size([2]), torch.Size([2, 7, 3]))
    """

    def __init__(
        self,
        n_output: int,
        n_latent: int,
        n_hidden: int = 128,
        *,
        n_projections: int = 64,
        **options,
    ):
        super().__init__(n_output, n_latent, n_hidden, **options)
        require_positive(n_projections=n_projections)
        self.n_projections = n_projections

    def distance(self, x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
        """Return the squared distance of each pair of sets, ``(B,)``."""
        return sliced_wasserstein(
            x,
            y,
            wx,
            wy,
            n_projections=self.n_projections,
            generator=fresh_generator(x.device),
            root=False,
        )
