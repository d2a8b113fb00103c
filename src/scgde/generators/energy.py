from __future__ import annotations

from torch import Tensor

from ..distances import energy_distance
from ._base import GENERATORS
from ._implicit import ImplicitGenerator


@GENERATORS.register("energy")
class EnergyGenerator(ImplicitGenerator):
    r"""Noise mapped to cells, trained by the energy score (engression).

    .. math:: E|X - G|^\beta - \tfrac12 E|G - G'|^\beta

    (Shen & Meinshausen 2024, arXiv 2307.00835, Eq. 4), here twice that less ``E|X - X'|``, which
    makes it the energy distance and changes no gradient; over all pairs of a set, unbiased.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch, n_layers, n_noise
        As in :class:`ImplicitGenerator`.
    beta
        In (0, 2), where the score is proper; at 2 it would see means only.

    Raises
    ------
    ValueError
        If ``beta`` is not above 0 and below 2.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> generator = scgde.generators.EnergyGenerator(n_output=3, n_latent=4, n_hidden=8)
    >>> generator.loss(x, w, z).shape, generator.sample(z, 7, generator=torch.Generator()).shape
    (torch.Size([2]), torch.Size([2, 7, 3]))
    """

    def __init__(
        self, n_output: int, n_latent: int, n_hidden: int = 128, *, beta: float = 1.0, **options
    ):
        super().__init__(n_output, n_latent, n_hidden, **options)
        if not 0 < beta < 2:
            raise ValueError(f"beta={beta!r} must be above 0 and below 2.")
        self.beta = beta

    def distance(self, x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
        """Return the energy distance of each pair of sets, ``(B,)``."""
        return energy_distance(x, y, wx, wy, beta=self.beta, unbiased=True)
