from __future__ import annotations

import torch
from torch import Tensor, nn

from .._errors import require_positive
from ..distances import sinkhorn_divergence
from ..nn import AttentionBlock
from ._base import GENERATORS
from ._implicit import ImplicitGenerator


@GENERATORS.register("wormhole")
class WormholeGenerator(ImplicitGenerator):
    r"""The decoder and the loss of Wasserstein Wormhole.

    Haviv et al. 2024 (arXiv 2404.09411), Sec. 3: a transformer decodes the embedding to a point
    cloud; the loss is the Sinkhorn divergence :math:`S` to the cells, in units of the cells' mean
    squared distance, plus

    .. math:: \Big( \tfrac1L |z_i - z_j|^2 - S(x_i, x_j) \Big)^2

    for pairs of sets, as in the official package: squared latent distances approach squared
    Wasserstein distances. (The public code of the GDE paper regresses the unsquared distance.)
    Other than there, each set is compared with a few partners rather than with all sets of a batch,
    and a cloud is decoded from random tokens rather than a fixed number of learned ones: any number
    of cells is drawn, as clouds of the size trained on, whose cells see each other.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch
        As in :class:`ImplicitGenerator`.
    n_noise
        Coordinates of a token; by default ``n_hidden``.
    n_layers
        Attention blocks.
    n_heads
        Attention heads; ``n_hidden`` must be a multiple.
    blur
        Of the Sinkhorn divergence, in standard deviations of the features.
    distance_weight
        Weight of the latent distances' loss.
    n_partners
        Partners of each set in that loss.

    Raises
    ------
    ValueError
        If ``blur`` or ``n_partners`` is not above zero.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> generator = scgde.generators.WormholeGenerator(n_output=3, n_latent=4, n_hidden=8)
    >>> generator.loss(x, w, z).shape, generator.sample(z, 7, generator=torch.Generator()).shape
    (torch.Size([2]), torch.Size([2, 7, 3]))
    """

    def __init__(
        self,
        n_output: int,
        n_latent: int,
        n_hidden: int = 128,
        *,
        n_layers: int = 2,
        n_heads: int = 4,
        blur: float = 0.05,
        distance_weight: float = 1.0,
        n_partners: int = 1,
        **options,
    ):
        # The base maps tokens and embedding to the decoder's width; attention and read-out follow.
        super().__init__(n_hidden, n_latent, n_hidden, n_layers=1, **options)
        require_positive(blur=blur, n_partners=n_partners)
        self.n_output, self.blur = n_output, blur
        self.distance_weight, self.n_partners = distance_weight, n_partners
        self.blocks = nn.ModuleList(AttentionBlock(n_hidden, n_heads) for _ in range(n_layers))
        self.out = nn.Linear(n_hidden, n_output)
        self.register_buffer("unit", torch.tensor(2.0 * n_output))
        self.register_buffer("cloud_size", torch.tensor(64))

    def initialize(self, mean: Tensor, var: Tensor, log_library: Tensor) -> None:
        """Take the cells' mean squared distance as the unit of the divergence."""
        self.unit.copy_(2 * var.sum().clamp_min(1e-6))

    def distance(self, x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
        """Return the Sinkhorn divergence of each pair of sets, in units, ``(B,)``."""
        return sinkhorn_divergence(x, y, wx, wy, blur=self.blur) / self.unit

    def decode(
        self, noise: Tensor, z: Tensor, batch: Tensor | None, w: Tensor | None = None
    ) -> Tensor:
        """Decode tokens, all of which see each other, to cells ``(B, m, d)``."""
        w = torch.full(noise.shape[:2], 1 / noise.shape[1], device=z.device) if w is None else w
        h = super().decode(noise, z, batch)
        for block in self.blocks:
            h = block(h, h, w)
        return self.out(h)

    @torch.no_grad()
    def sample(
        self,
        z: Tensor,
        n_cells: int,
        *,
        generator: torch.Generator | None = None,
        library: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """Draw cells ``(B, n_cells, d)``, as clouds of the size trained on."""
        size = int(self.cloud_size)
        clouds = []
        for start in range(0, n_cells, size):
            noise = torch.randn(len(z), size, self.n_noise, generator=generator, device=z.device)
            part = None
            if batch is not None:  # a cloud's surplus cells are of its own batches too
                place = torch.arange(size, device=z.device) % min(size, n_cells - start)
                part = batch[:, start + place]
            clouds.append(self.decode(noise, z, part))
        return torch.cat(clouds, 1)[:, :n_cells]

    def loss(
        self,
        x: Tensor,
        w: Tensor,
        z: Tensor,
        *,
        library: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """Return the divergence of each set and the error of its latent distances, ``(B,)``."""
        if self.training:
            self.cloud_size.fill_(x.shape[1])
        total = super().loss(x, w, z, library=library, batch=batch)
        for shift in range(1, min(self.n_partners, len(z) - 1) + 1):
            with torch.no_grad():
                apart = self.distance(x, x.roll(shift, 0), w, w.roll(shift, 0))
            latent = (z - z.roll(shift, 0)).float().square().mean(-1)
            total = total + self.distance_weight / self.n_partners * (latent - apart).square()
        return total
