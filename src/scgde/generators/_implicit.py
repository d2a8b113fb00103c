from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from .._errors import require_positive
from ._base import Generator
from ._networks import ConditionedNet

# Cells of different batches are this far apart, in standard deviations of the features.
_BATCH_DISTANCE = 3.0


class ImplicitGenerator(Generator):
    """Noise mapped to cells, trained by a distance between drawn and real cells of each set.

    A subclass says which distance. In training as many cells are drawn as are in the set, with the
    weights and batches of its cells. Batches are told apart by extra coordinates, so that what is
    matched is the joint distribution of cell and batch, and not only the mixture over batches.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch
        As in :class:`~scgde.generators.Generator`.
    n_layers
        Residual layers.
    n_noise
        Coordinates of the noise; by default the features of a cell, at least 16.

    Raises
    ------
    ValueError
        If there are no coordinates of noise.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> class MeansOnly(scgde.generators.ImplicitGenerator):
    ...     def distance(self, x, y, wx, wy):
    ...         difference = torch.einsum("bm,bmd->bd", wx, x) - torch.einsum("bm,bmd->bd", wy, y)
    ...         return difference.square().sum(-1)
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> MeansOnly(n_output=3, n_latent=4, n_hidden=8).loss(x, w, z).shape
    torch.Size([2])
    """

    def __init__(
        self,
        n_output: int,
        n_latent: int,
        n_hidden: int = 128,
        *,
        n_batch: int = 1,
        n_layers: int = 3,
        n_noise: int | None = None,
    ):
        super().__init__()
        self.n_batch = n_batch
        self.n_noise = max(n_output, 16) if n_noise is None else n_noise
        require_positive(n_noise=self.n_noise)
        self.net = ConditionedNet(
            self.n_noise, n_output, n_latent, n_hidden, n_batch=n_batch, n_layers=n_layers
        )

    @abstractmethod
    def distance(self, x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
        """Return the distance of each pair of weighted sets, ``(B,)``."""

    def loss(
        self,
        x: Tensor,
        w: Tensor,
        z: Tensor,
        *,
        library: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """Return the distance of each set to as many drawn cells, ``(B,)``."""
        if x.shape[1] < 2:
            raise ValueError(
                f"{type(self).__name__} compares sets of cells and needs at least two of each: "
                "train with cells_per_population=2 or more."
            )
        noise = torch.randn(*x.shape[:2], self.n_noise, device=x.device)
        drawn = self.decode(noise, z, batch, w).float()
        # Differences of near-equal means: half precision would drown them.
        with torch.autocast(x.device.type, enabled=False):
            return self.distance(self._with_batch(x, batch), self._with_batch(drawn, batch), w, w)

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
        """Draw cells ``(B, n_cells, d)``."""
        noise = torch.randn(len(z), n_cells, self.n_noise, generator=generator, device=z.device)
        return self.decode(noise, z, batch)

    def decode(
        self, noise: Tensor, z: Tensor, batch: Tensor | None, w: Tensor | None = None
    ) -> Tensor:
        """Map noise ``(B, m, n_noise)``, of weights ``w (B, m)``, to cells ``(B, m, d)``."""
        return self.net(noise, self.net.condition(z, batch))

    def _with_batch(self, x: Tensor, batch: Tensor | None) -> Tensor:
        if batch is None or self.n_batch == 1:
            return x
        # One more class for unknown batches; any two classes are equally far apart.
        place = F.one_hot(batch + 1, self.n_batch + 1) * (_BATCH_DISTANCE / 2**0.5)
        return torch.cat([x, place.to(x.dtype)], -1)


def fresh_generator(device: torch.device) -> torch.Generator:
    """Return a generator seeded from the global state, for what is drawn anew at each step."""
    return torch.Generator(device).manual_seed(torch.randint(1 << 62, ()).item())
