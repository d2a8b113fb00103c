from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from .._errors import require_choice, require_positive
from ._base import GENERATORS, Generator
from ._guided import GuidedField

METHODS = ("ancestral", "ddim", "dpm")


@GENERATORS.register("ddpm")
class DDPM(Generator):
    r"""Conditional denoising diffusion (Ho et al. 2020; GDE paper, App. A.2).

    .. math:: x_t = \alpha_t x + \sigma_t \epsilon, \quad
        \min_v E |v(x_t, t, z) - (\alpha_t \epsilon - \sigma_t x)|^2

    with :math:`\alpha_t^2 = \bar\alpha_t` and :math:`\sigma_t^2 = 1 - \bar\alpha_t`. The network
    predicts ``v`` (Salimans & Ho 2022, App. D) rather than the noise: from the noise a cell follows
    only by division by :math:`\alpha_t`, and where that is small errors would blow up.

    Parameters
    ----------
    n_output, n_latent, n_hidden, n_batch
        As in :class:`~scgde.generators.Generator`.
    n_layers
        Residual layers of the network.
    n_noise_levels
        Steps of the noising chain.
    beta_start, beta_end
        First and last variance of its steps, linear between. The published ``beta_end=0.02`` with
        400 steps leaves 13 % of a cell in what sampling takes for pure noise; 0.05 leaves .6 %.
    context_dropout
        Share of training sets that do not see their embedding; above zero allows guidance.
    n_steps, method
        Defaults of :meth:`sample`.

    Raises
    ------
    ValueError
        If there is no such method or an option is out of range.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> generator = scgde.generators.DDPM(n_output=3, n_latent=4, n_hidden=8)
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
        n_noise_levels: int = 400,
        beta_start: float = 1e-4,
        beta_end: float = 0.05,
        context_dropout: float = 0.0,
        n_steps: int = 20,
        method: str = "dpm",
    ):
        super().__init__()
        require_choice("method", method, METHODS)
        require_positive(n_noise_levels=n_noise_levels, beta_start=beta_start, n_steps=n_steps)
        if not beta_start <= beta_end < 1:
            raise ValueError(f"beta_end={beta_end!r} must be from beta_start={beta_start} to 1.")
        self.n_output, self.n_steps, self.method = n_output, n_steps, method
        self.n_noise_levels = n_noise_levels
        # Level 0 is the cell itself.
        kept = torch.log1p(-torch.linspace(beta_start, beta_end, n_noise_levels).double()).cumsum(0)
        self.register_buffer("log_kept", torch.cat([kept.new_zeros(1), kept]).float())
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
        level = torch.randint(1, self.n_noise_levels + 1, x.shape[:2], device=x.device)
        log_kept = self.log_kept[level][..., None]
        alpha, sigma = (0.5 * log_kept).exp(), (-torch.expm1(log_kept)).sqrt()
        noise = torch.randn_like(x)
        v = self.field(alpha * x + sigma * noise, level / self.n_noise_levels, z, batch)
        error = v - (alpha * noise - sigma * x)
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
            Calls of the network. Fewer than ``n_noise_levels`` skip levels, evenly in the logarithm
            of the signal-to-noise ratio.
        method
            ``"ancestral"``: Ho et al. 2020, Algorithm 2; give it all levels
            (``n_steps=400``). ``"ddim"``: Song et al. 2021, Eq. 12, without noise. ``"dpm"``: the
            second-order multistep solver DPM-Solver++(2M), Lu et al. 2022, Algorithm 2.
        guidance_scale
            1 for none; above 1 exaggerates what sets the population apart.
        """
        n_steps = self.n_steps if n_steps is None else n_steps
        method = self.method if method is None else method
        require_choice("method", method, METHODS)
        if not 1 <= n_steps <= self.n_noise_levels:
            raise ValueError(f"n_steps={n_steps!r} must be from 1 to {self.n_noise_levels}.")
        field = self.field.given(z, batch, guidance_scale)
        x = torch.randn(len(z), n_cells, self.n_output, generator=generator, device=z.device)
        levels = self._levels(n_steps)
        kept = self.log_kept.cpu().double()
        alpha, sigma = (0.5 * kept).exp().tolist(), (-torch.expm1(kept)).sqrt().tolist()
        log_snr = (0.5 * kept - 0.5 * torch.log(-torch.expm1(kept))).tolist()
        before, step_before = None, 0.0
        for s, t in pairwise(levels):  # from level s down to level t
            v = field(x, s / self.n_noise_levels)
            cell = alpha[s] * x - sigma[s] * v
            if method == "dpm":
                step = log_snr[t] - log_snr[s]
                guess = cell
                if before is not None and t > 0:
                    guess = cell + (cell - before) * (0.5 * step / step_before)
                # (sigma_t / sigma_s) and 1 - e^-step; at level 0 they are 0 and 1.
                x = (sigma[t] / sigma[s]) * x
                x = x + (alpha[t] - sigma[t] * alpha[s] / sigma[s]) * guess
                before, step_before = cell, step
                continue
            fresh = 0.0
            if method == "ancestral" and t > 0:
                fresh = (sigma[t] / sigma[s]) * (1 - (alpha[s] / alpha[t]) ** 2) ** 0.5
            noise = sigma[s] * x + alpha[s] * v
            x = alpha[t] * cell + (sigma[t] ** 2 - fresh**2) ** 0.5 * noise
            if fresh:
                x = x + fresh * torch.randn(x.shape, generator=generator, device=x.device)
        return x

    def _levels(self, n_steps: int) -> list[int]:
        """Return the levels to visit, from the last to 0, even in log signal-to-noise ratio."""
        kept = self.log_kept[1:].cpu().double()
        log_snr = 0.5 * (kept - torch.log(-torch.expm1(kept)))
        wanted = torch.linspace(float(log_snr[-1]), float(log_snr[0]), n_steps)
        levels = 1 + (log_snr[None] - wanted[:, None]).abs().argmin(1)
        levels, last = levels.tolist(), self.n_noise_levels + 1
        # Each level once: where levels are sparser than steps, the next lower free one; then up.
        for i, level in enumerate(levels):
            levels[i] = last = min(level, last - 1)
        for i in range(n_steps - 1, -1, -1):
            levels[i] = max(levels[i], n_steps - i)
        return [*levels, 0]
