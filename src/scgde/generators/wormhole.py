from __future__ import annotations

import torch
from torch import Tensor, nn

from .._errors import require_positive
from ..distances import sinkhorn_divergence
from ..nn import AttentionBlock
from ._base import GENERATORS
from ._implicit import ImplicitGenerator

_DECODED_AT_ONCE = 512


@GENERATORS.register("wormhole")
class WormholeGenerator(ImplicitGenerator):
    r"""The decoder and the loss of Wasserstein Wormhole.

    Haviv et al. 2024 (arXiv 2404.09411), Sec. 3: a transformer decodes the embedding to a point
    cloud; the loss is the Sinkhorn divergence :math:`S` to the cells plus

    .. math:: \Big( \tfrac1L |z_i - z_j|^2 - S(x_i, x_j) \Big)^2

    for pairs of sets, as in the official package: squared latent distances approach squared
    Wasserstein distances. (The public code of the GDE paper regresses the unsquared distance.)
    Here a cloud is decoded from random tokens rather than a fixed number of learned ones, so that
    it may have any number of cells. Cells of one draw see each other, 512 at most.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch, n_noise
        As in :class:`ImplicitGenerator`.
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

    def distance(self, x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
        """Return the Sinkhorn divergence of each pair of sets, ``(B,)``."""
        return sinkhorn_divergence(x, y, wx, wy, blur=self.blur)

    def decode(
        self, noise: Tensor, z: Tensor, batch: Tensor | None, w: Tensor | None = None
    ) -> Tensor:
        """Decode tokens, which see each other, to cells ``(B, m, d)``."""
        w = torch.full(noise.shape[:2], 1 / noise.shape[1], device=z.device) if w is None else w
        h = super().decode(noise, z, batch)
        clouds = []
        for start in range(0, h.shape[1], _DECODED_AT_ONCE):
            part = slice(start, start + _DECODED_AT_ONCE)
            cloud, weight = h[:, part], w[:, part]
            for block in self.blocks:
                cloud = block(cloud, cloud, weight)
            clouds.append(self.out(cloud))
        return torch.cat(clouds, 1)

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
        total = super().loss(x, w, z, library=library, batch=batch)
        for shift in range(1, min(self.n_partners, len(z) - 1) + 1):
            with torch.no_grad():
                apart = self.distance(x, x.roll(shift, 0), w, w.roll(shift, 0))
            latent = (z - z.roll(shift, 0)).float().square().mean(-1)
            total = total + self.distance_weight / self.n_partners * (latent - apart).square()
        return total
