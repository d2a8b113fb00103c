from __future__ import annotations

import numpy as np
import torch
from pyro.distributions import ConditionalTransformedDistribution, Normal
from pyro.distributions import transforms as T
from torch import Tensor, nn
from torch.nn import functional as F

from .._errors import require_positive
from ._base import GENERATORS, Generator
from ._networks import Condition


@GENERATORS.register("normalizing_flow")
class NormalizingFlow(Generator):
    """Conditional affine couplings (Pyro), trained by exact likelihood.

    Dinh et al. 2017: half of the features are scaled and shifted by functions of the other half,
    of the population's embedding and of the batch; then features are permuted; and so on. The only
    generator here whose loss is a likelihood, in nats.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch
        As in :class:`~scgde.generators.Generator`; at least two features.
    n_flows
        Couplings.

    Raises
    ------
    ValueError
        If cells have one feature only, or there are no couplings.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> generator = scgde.generators.NormalizingFlow(n_output=3, n_latent=4, n_hidden=8)
    >>> generator.loss(x, w, z).shape, generator.sample(z, 7, generator=torch.Generator()).shape
    (torch.Size([2]), torch.Size([2, 7, 3]))
    """

    def __init__(
        self,
        n_output: int,
        n_latent: int,
        n_hidden: int = 128,
        *,
        n_batch: int = 1,
        n_flows: int = 6,
    ):
        super().__init__()
        require_positive(n_flows=n_flows)
        if n_output < 2:
            raise ValueError(
                "generator='normalizing_flow' couples features and needs at least two; the cells "
                "have one. Use 'flow_matching' or 'cvae'."
            )
        self.n_output = n_output
        self.nets = nn.ModuleList(
            _CouplingNet(n_output // 2, n_output - n_output // 2, n_latent, n_hidden, n_batch)
            for _ in range(n_flows)
        )
        for i in range(n_flows):
            order = torch.from_numpy(np.random.default_rng(i).permutation(n_output))
            self.register_buffer(f"order_{i}", order)

    def _cells(self, z: Tensor, batch: Tensor | None) -> torch.distributions.Distribution:
        """Return the distribution of a cell of every population."""
        steps = []
        for i, net in enumerate(self.nets):
            steps += [
                T.ConditionalAffineCoupling(self.n_output // 2, net),
                T.Permute(getattr(self, f"order_{i}")),
            ]
        origin = torch.zeros(self.n_output, device=z.device)
        base = Normal(origin, torch.ones_like(origin), validate_args=False).to_event(1)
        return ConditionalTransformedDistribution(base, steps).condition((z, batch))

    def loss(
        self,
        x: Tensor,
        w: Tensor,
        z: Tensor,
        *,
        library: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """Return the negative log-likelihood per cell of each set, ``(B,)``, in nats."""
        with torch.autocast(x.device.type, enabled=False):  # determinants need their digits
            return -(w * self._cells(z.float(), batch).log_prob(x.float())).sum(-1)

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
        x = torch.randn(len(z), n_cells, self.n_output, generator=generator, device=z.device)
        for transform in self._cells(z, batch).transforms:
            x = transform(x)
        return x


class _CouplingNet(nn.Module):
    """From half of the features to shift and log-scale of the rest; starts near the identity."""

    def __init__(self, n_in: int, n_out: int, n_latent: int, n_hidden: int, n_batch: int):
        super().__init__()
        self.condition = Condition(n_latent, n_batch, n_hidden)
        self.read = nn.Linear(n_in, n_hidden)
        self.hidden = nn.Linear(n_hidden, n_hidden)
        self.out = nn.Linear(n_hidden, 2 * n_out)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, context: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
        h = F.silu(self.read(x) + self.condition(*context))
        return self.out(F.silu(self.hidden(h))).chunk(2, -1)
