from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._errors import require_choice, require_counts
from ..nn import StackedLinear
from ._base import TrainableModule, TrainingLoss

_TINY = 1e-12  # under a root: keeps the slope finite where two draws coincide


class DPAModule(TrainableModule):
    """Distributional principal autoencoders (arXiv 2404.13649), several of one shape at once.

    Each of E members has an encoder ``e: R^d -> R^K`` and a stochastic decoder. At level k the
    decoder gets the first k latents of a cell and standard normal noise for the others; it is
    trained to draw from the distribution of cells given those k latents, for all levels at once, so
    that latents order themselves by how much of the distribution they explain. Level 0 generates
    cells from noise alone.

    Everything has a leading axis of members; weights are stacked and products batched. Both
    networks have a linear path beside residual blocks; the decoder gets fresh noise at every layer.

    Parameters
    ----------
    n_features, n_latent
        Features d of a cell; latents K.
    n_hidden, n_layers, n_noise
        Width and number of linear layers of each network; coordinates of the noise of each layer.
    beta
        Exponent of the energy score, in (0, 2].
    n_members
        Autoencoders E.
    n_condition
        Coordinates of what encoder and decoder are conditioned on; 0 for nothing.
    levels_per_step
        Levels of a training step, 2 or more: level 0, and others drawn anew for each cell, spread
        evenly over the batch; None for all. Either way the expected loss is that of all levels.
    standardize
        ``"scale"``: features are centred and divided by one number, the root of their mean
        variance, so that the geometry of the cells stays. ``"feature"``: each by its own.

    Raises
    ------
    TypeError, ValueError
        If a number or a word is out of range.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> module = scgde.module.DPAModule(n_features=3, n_latent=2, n_hidden=8, n_noise=4)
    >>> z = module.encode(torch.randn(1, 5, 3))  # one member
    >>> z.shape, module.decode(z, k=1).shape
    (torch.Size([1, 5, 2]), torch.Size([1, 5, 3]))
    """

    def __init__(
        self,
        n_features: int,
        n_latent: int,
        n_hidden: int = 100,
        n_layers: int = 4,
        n_noise: int = 100,
        beta: float = 1.0,
        n_members: int = 1,
        n_condition: int = 0,
        levels_per_step: int | None = None,
        standardize: str = "scale",
    ):
        super().__init__()
        require_counts(
            n_latent=n_latent, n_hidden=n_hidden, n_layers=n_layers, n_noise=n_noise, E=n_members
        )
        require_choice("standardize", standardize, ("scale", "feature"))
        if n_layers < 2:
            raise ValueError(f"n_layers={n_layers!r} must be 2 or more: one in, one out.")
        if not 0 < beta <= 2:
            raise ValueError(
                f"beta={beta!r} must be above 0 and at most 2, where the energy score compares "
                "distributions. 1 is usual."
            )
        if levels_per_step is not None:
            require_counts(levels_per_step=levels_per_step)
            if levels_per_step == 1:
                raise ValueError(
                    "levels_per_step=1 is level 0 alone, which trains no encoder. Use 2 or more, "
                    "or None for all levels."
                )
        self.n_latent, self.beta, self.standardize = n_latent, beta, standardize
        self.levels_per_step = levels_per_step
        sizes = {"n_hidden": n_hidden, "n_layers": n_layers, "n_members": n_members}
        self.encoder = _Network(n_features + n_condition, n_latent, **sizes)
        self.decoder = _Network(n_latent + n_condition, n_features, n_noise=n_noise, **sizes)
        self.register_buffer("loc", torch.zeros(n_members, 1, n_features))
        self.register_buffer("scale", torch.ones(n_members, 1, n_features))
        self.register_buffer("condition_loc", torch.zeros(n_condition))
        self.register_buffer("condition_scale", torch.ones(n_condition))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.loc.device

    @torch.no_grad()
    def keep(self, members: Tensor) -> None:
        """Keep some of the members only, in the order given."""
        for name, values in [*self.named_parameters(), *self.named_buffers()]:
            if not name.startswith("condition"):
                values.data = values.data[members]

    def members(self, which: list[int]) -> DPAModule:
        """Return a copy of some of the members; itself, if they are all there are, in order."""
        if list(which) == list(range(self.n_members)):
            return self
        some = deepcopy(self)
        some.keep(torch.as_tensor(which, device=self.device))
        return some

    @property
    def n_members(self) -> int:
        """How many autoencoders there are."""
        return len(self.loc)

    @property
    def n_features(self) -> int:
        """Features of a cell."""
        return self.loc.shape[-1]

    @property
    def unit(self) -> Tensor:
        """What a loss is multiplied by to be in the data's units, ``(E, 1, 1)``.

        1 where each feature has its own scale: losses are those of standardised cells then.
        """
        if self.standardize == "feature":
            return torch.ones_like(self.scale[..., :1])
        return self.scale[..., :1] ** self.beta

    @torch.no_grad()
    def initialize(self, member: int, mean: Tensor, variance: Tensor) -> None:
        """Set a member's standardisation from the moments of its training cells, each ``(d,)``."""
        if self.standardize == "scale":
            variance = variance.mean().expand_as(variance)
        self.loc[member, 0] = mean
        self.scale[member, 0] = _scale(mean, variance)

    @torch.no_grad()
    def initialize_condition(self, mean: Tensor, variance: Tensor) -> None:
        """Set the standardisation of what the networks are conditioned on, each ``(C,)``."""
        self.condition_loc.copy_(mean)
        self.condition_scale.copy_(_scale(mean, variance))

    def standardized(self, x: Tensor) -> Tensor:
        """Return cells ``(E, n, d)`` centred and scaled."""
        return (x - self.loc) / self.scale

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return latents ``(E, n, K)`` of cells ``(E, n, d)``, in the data's units.

        Differentiable in the cells. ``condition (E, n, C)`` where the networks have one.
        """
        return self.encoder(self._with(self.standardized(x), condition))

    def decode(
        self,
        z: Tensor,
        k: int | Tensor,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw cells ``(E, n, d)``, in the data's units, given the first k latents of each.

        Parameters
        ----------
        z
            Latents ``(E, n, K)``.
        k
            Level, or that of each cell, ``(E, n)``; from 0, where ``z`` does not matter, to K.
        condition
            ``(E, n, C)``, where the networks have one.
        generator
            Of the noise.
        """
        noise = torch.randn(z.shape, generator=generator, device=z.device)
        padded = torch.where(self._kept(k, z.device), z, noise)
        return self._draw(padded, condition, generator) * self.scale + self.loc

    def level_losses(
        self, x: Tensor, condition: Tensor | None = None, with_residuals: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return the energy score of each cell at every level, in standardised units.

        .. math:: L_k = |x_1 - x|^b / 2 + |x_2 - x|^b / 2 - |x_1 - x_2|^b / 2

        for two independent draws (arXiv 2404.13649, Eq. 6). One batched decode for all levels.

        Parameters
        ----------
        x
            Standardised cells ``(E, n, d)``.
        condition
            ``(E, n, C)``, where the networks have one.
        with_residuals
            Also return ``(x - x_1) . (x - x_2)``, whose mean over draws is the squared distance of
            the cell to the mean of the decoder's distribution.

        Returns
        -------
        Scores, and residuals or None, ``(E, n, K + 1)`` from level 0 to K.
        """
        levels = torch.arange(self.n_latent + 1, device=x.device)
        levels = levels.expand(*x.shape[:2], -1)
        first, second = self._draws(x, levels, condition)
        losses = self._energy_scores(x, first, second)
        if not with_residuals:
            return losses, None
        target = x[:, :, None]
        return losses, ((target - first) * (target - second)).sum(-1)

    def loss(self, batch: dict) -> TrainingLoss:
        """Return the loss of ``batch["x"] (E, n, d)``: over members the sum, over cells the mean.

        ``batch["condition"] (E, n, C)`` where the networks have one.
        """
        x, condition = self.standardized(batch["x"]), batch.get("condition")
        K, per_step = self.n_latent, self.levels_per_step
        if not self.training or per_step is None or per_step > K:
            means = self.level_losses(x, condition)[0].mean(1)  # (E, K + 1)
            first, last, total = means[:, 0], means[:, -1], means.sum(1)
        else:
            levels = self._some_levels(*x.shape[:2], per_step, x.device)
            losses = self._energy_scores(x, *self._draws(x, levels, condition))
            first, rest = losses[..., 0].mean(1), losses[..., 1:]
            total = first + K * rest.mean((1, 2))
            at_last = (levels[..., 1:] == K).float()
            last = (rest * at_last).sum((1, 2)) / at_last.sum((1, 2)).clamp_min(1)
        terms = {"unconditional_loss": first.mean(), "reconstruction_loss": last.mean()}
        return TrainingLoss(total.sum() / (K + 1), terms)

    def _some_levels(self, E: int, n: int, per_step: int, device: torch.device) -> Tensor:
        """Return level 0 and, for each cell, others from 1 to K; ``(E, n, per_step)``.

        Over the batch every level comes up about equally often, which takes the variance between
        levels out of the gradient: random levels common to all cells would put it in.
        """
        m = n * (per_step - 1)
        strata = torch.rand(E, m, device=device).argsort(1)
        u = (strata + torch.rand(E, m, device=device)) / m
        others = 1 + (u * self.n_latent).long().clamp_max(self.n_latent - 1)
        zero = torch.zeros(E, n, 1, dtype=torch.long, device=device)
        return torch.cat([zero, others.view(E, n, -1)], -1)

    def _draws(self, x: Tensor, levels: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return two independent draws, each ``(E, n, L, d)``, at levels ``(E, n, L)``.

        Standardised cells are encoded once; all levels and both draws are decoded in one batch.
        """
        E, n, L = levels.shape
        z = self.encoder(self._with(x, condition))[:, None, :, None]
        # Of both draws, (E, 2, n, L, K); the levels of a draw share its padding and its noise,
        # which costs no bias: only the two draws of a level must be independent.
        padding = torch.randn(E, 2, n, 1, self.n_latent, device=x.device)
        padded = torch.where(self._kept(levels, x.device)[:, None], z, padding)
        if condition is not None:
            condition = condition[:, None, :, None].expand(-1, 2, -1, L, -1)
            condition = condition.reshape(E, -1, condition.shape[-1])
        drawn = self._draw(padded.view(E, -1, self.n_latent), condition, repeats=L)
        drawn = drawn.view(E, 2, n, L, -1)
        return drawn[:, 0], drawn[:, 1]

    def _energy_scores(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return scores ``(E, n, L)`` of draws ``(E, n, L, d)`` of cells ``(E, n, d)``."""
        target = x[:, :, None]
        to_first, to_second, apart = (
            self._power(a - b) for a, b in ((first, target), (second, target), (first, second))
        )
        return (to_first + to_second - apart) / 2

    def _power(self, difference: Tensor) -> Tensor:
        squared = difference.square().sum(-1)
        return squared if self.beta == 2 else (squared + _TINY).pow(self.beta / 2)

    def _draw(
        self,
        z: Tensor,
        condition: Tensor | None,
        generator: torch.Generator | None = None,
        repeats: int = 1,
    ) -> Tensor:
        return self.decoder(self._with(z, condition), generator, repeats)

    def _kept(self, k: int | Tensor, device: torch.device) -> Tensor:
        """Return which latents are kept at level k, ``(..., K)``."""
        place = torch.arange(self.n_latent, device=device)
        return place < (k[..., None] if isinstance(k, Tensor) else k)

    def _with(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Return ``x`` with the standardised condition beside it."""
        if condition is None:
            return x
        return torch.cat([x, (condition - self.condition_loc) / self.condition_scale], -1)


def _scale(mean: Tensor, variance: Tensor) -> Tensor:
    """Return standard deviations; what does not vary, but for rounding, keeps its size."""
    varies = variance.sqrt() > 1e-6 * mean.abs().clamp_min(1e-6)
    return torch.where(varies, variance.sqrt(), torch.ones_like(variance))


class _Network(nn.Module):
    """Residual network with a linear path beside it; with noise at every layer, or without."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        n_hidden: int,
        n_layers: int,
        n_members: int,
        n_noise: int = 0,
    ):
        super().__init__()
        self.linear = StackedLinear(n_members, n_in, n_out, bias=False)
        widths = [n_in, *[n_hidden] * (n_layers - 1), n_out]
        self.layers = nn.ModuleList(StackedLinear(n_members, a, b) for a, b in pairwise(widths))
        # A layer on inputs with noise beside them is the sum of two layers.
        self.noise = nn.ModuleList(
            StackedLinear(n_members, n_noise, b, bias=False) for b in widths[1:] if n_noise
        )
        self.n_noise = n_noise

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, repeats: int = 1
    ) -> Tensor:
        """Map ``(E, n, n_in)`` to ``(E, n, n_out)``; ``repeats`` rows in turn share their noise."""
        h = self._layer(0, x, generator, repeats)
        last = len(self.layers) - 1
        for i in range(1, last, 2):  # two layers a residual block, but for an odd one out
            new = self._layer(i, F.silu(h), generator, repeats)
            if i + 1 < last:
                new = h + self._layer(i + 1, F.silu(new), generator, repeats)
            h = new
        return self._layer(last, F.silu(h), generator, repeats) + self.linear(x)

    def _layer(self, i: int, x: Tensor, generator: torch.Generator | None, repeats: int) -> Tensor:
        h = self.layers[i](x)
        if not self.noise:
            return h
        E, n = h.shape[:2]
        noise = torch.randn(E, n // repeats, self.n_noise, generator=generator, device=h.device)
        return (h.view(E, -1, repeats, h.shape[-1]) + self.noise[i](noise)[:, :, None]).view_as(h)
