from __future__ import annotations

import numpy as np
import ot
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .._errors import require_choice, require_positive
from ._base import GENERATORS, Generator
from ._guided import GuidedField

METHODS = ("euler", "midpoint", "heun")


@GENERATORS.register("flow_matching")
class FlowMatching(Generator):
    r"""Conditional flow matching with optimal-transport paths.

    .. math:: x_t = (1 - t) x_0 + t x_1, \quad
        \min_v E |v(x_t, t, z) - (x_1 - x_0)|^2, \quad x_0 \sim N(0, I)

    (Lipman et al. 2023, Eq. 23, with no residual noise). Cells are drawn by following ``v`` from
    noise at t = 0 to cells at t = 1.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch
        As in :class:`~scgde.generators.Generator`.
    n_layers
        Residual layers of the field.
    coupling
        ``"independent"``: noise and cells are paired at random. ``"ot"``: within each set
        (and batch) by
        optimal transport (Tong et al. 2024), which makes paths straighter and steps slower.
    context_dropout
        Share of training sets that do not see their embedding; above zero allows guidance.
    n_steps, method
        Defaults of :meth:`sample`.

    Raises
    ------
    ValueError
        If there is no such coupling or method, or an option is out of range.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> generator = scgde.generators.FlowMatching(n_output=3, n_latent=4, n_hidden=8)
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
        n_layers: int = 3,
        coupling: str = "independent",
        context_dropout: float = 0.0,
        n_steps: int = 20,
        method: str = "midpoint",
    ):
        super().__init__()
        require_choice("coupling", coupling, ("independent", "ot"))
        require_choice("method", method, METHODS)
        require_positive(n_steps=n_steps)
        self.coupling, self.n_steps, self.method = coupling, n_steps, method
        self.n_output = n_output
        self.field = GuidedField(
            n_output,
            n_latent,
            n_hidden,
            n_batch=n_batch,
            n_layers=n_layers,
            context_dropout=context_dropout,
        )

    def loss(
        self,
        x: Tensor,
        w: Tensor,
        z: Tensor,
        *,
        library: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """Return the squared error of the field, summed over coordinates, of each set, ``(B,)``."""
        noise = torch.randn_like(x)
        if self.coupling == "ot":
            noise = _coupled(noise, x, w, batch)
        t = torch.rand(x.shape[:2], device=x.device)
        x_t = torch.lerp(noise, x, t[..., None])
        error = self.field(x_t, t, z, batch) - (x - noise)
        return (w * error.float().square().sum(-1)).sum(-1)

    @torch.no_grad()
    def sample(
        self,
        z: Tensor,
        n_cells: int,
        *,
        generator: torch.Generator | None = None,
        library: Tensor | None = None,
        batch: Tensor | None = None,
        n_steps: int | None = None,
        method: str | None = None,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """Draw cells ``(B, n_cells, d)``.

        Parameters
        ----------
        z, n_cells, generator, library, batch
            As in :class:`~scgde.generators.Generator`.
        n_steps
            Steps from noise to cells. A step calls the network once with ``"euler"``, twice with
            the others.
        method
            ``"euler"`` (first order), ``"midpoint"`` or ``"heun"`` (second order).
        guidance_scale
            1 for none; above 1 exaggerates what sets the population apart.
        """
        n_steps = self.n_steps if n_steps is None else n_steps
        method = self.method if method is None else method
        require_positive(n_steps=n_steps)
        require_choice("method", method, METHODS)
        field = self.field.given(z, batch, guidance_scale)
        x = torch.randn(len(z), n_cells, self.n_output, generator=generator, device=z.device)
        h = 1 / n_steps
        for i in range(n_steps):
            t = i * h
            v = field(x, t)
            if method == "midpoint":
                v = field(x + 0.5 * h * v, t + 0.5 * h)
            elif method == "heun":
                v = 0.5 * (v + field(x + h * v, t + h))
            x = x + h * v
        return x


def _coupled(noise: Tensor, x: Tensor, w: Tensor, batch: Tensor | None = None) -> Tensor:
    """Return the noise in an order in which each cell has its partner under optimal transport.

    A cell's partner is drawn from the transport plan between the uniform measure on the noise and
    the weighted one on the cells; with equal weights the plan is an assignment. Cells of each batch
    keep their own noise, which so stays normal given the batch.
    """
    cost = torch.cdist(noise, x).square().cpu().double().numpy()
    weights = w.cpu().double().numpy()
    batches = np.zeros(w.shape, dtype=np.int64) if batch is None else batch.cpu().numpy()
    order = np.empty(w.shape, dtype=np.int64)
    rng = np.random.default_rng(torch.randint(1 << 62, ()).item())
    for b, of_batch in enumerate(batches):
        for one in np.unique(of_batch):
            cells = np.flatnonzero(of_batch == one)
            partner = _partners(cost[b][np.ix_(cells, cells)], weights[b, cells], rng)
            order[b, cells] = cells[partner]
    index = torch.from_numpy(order).to(x.device)[..., None].expand_as(noise)
    return noise.gather(1, index)


def _partners(cost: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the row of the noise that each cell is paired with, from costs ``(noise, cells)``."""
    if np.ptp(weight) < 1e-9:
        return linear_sum_assignment(cost.T)[1]
    m = len(weight)
    plan = ot.emd(np.full(m, 1 / m), weight / weight.sum(), cost)
    reach = np.cumsum(plan, 0)
    return np.minimum((reach <= rng.random(m) * reach[-1]).sum(0), m - 1)
