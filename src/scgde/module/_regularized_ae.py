from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

from .._errors import require_choice, require_counts, require_positive
from ..nn import MLP
from ._base import TrainableModule, TrainingLoss

REGULARIZATIONS = ("denoising", "contractive")
_MAX_EXACT = 8  # features; each takes a pass


class RegularizedAEModule(TrainableModule):
    r"""Denoising or contractive autoencoder whose reconstruction is a score (arXiv 1211.4246).

    In standardised units :math:`r(x) = x + s^2 f(x)`. It is trained on

    .. math::
        E |r(x + e) - x|^2, \; e \sim N(0, s^2 I) \quad \text{or} \quad
        E \left[ |r(x) - x|^2 + s^2 |\partial r / \partial x|_F^2 \right]

    (Alain & Bengio 2014, Secs. 2 and 3), and f is then the score. That of the denoising autoencoder
    is the score of the data smoothed with N(0, s^2 I), exactly (Vincent 2011); both tend to that of
    the data as s falls.

    f is the score of the normal distribution with the cells' (shrunken) covariance C, smoothed
    likewise, plus a network: :math:`f(x) = -(C + s^2 I)^{-1} x + g(x)`. Training starts at the
    best linear autoencoder, and far from all cells, where no network has learned anything, the
    score still points back to them.

    Parameters
    ----------
    n_features
        Features of a cell.
    n_hidden, n_layers
        Width and number of the network's hidden layers.
    sigma
        s. It is isotropic noise, so all features have one scale: cells are centred and divided by
        the root of the mean of the features' variances, and ``sigma`` is in units of that.
    regularization
        ``"denoising"`` or ``"contractive"``. The Frobenius norm is exact up to 8 features; of more
        it is estimated without bias by one random direction a cell (Hutchinson 1990).

    Raises
    ------
    ValueError
        If ``sigma`` is not above zero or finite, or the regularization is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import scgde
    >>> module = scgde.module.RegularizedAEModule(n_features=3, n_hidden=8)
    >>> module.initialize(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32))
    >>> module.score(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        n_features: int,
        n_hidden: int = 128,
        n_layers: int = 2,
        sigma: float = 0.2,
        regularization: Literal["denoising", "contractive"] = "denoising",
    ):
        super().__init__()
        require_counts(n_features=n_features, n_hidden=n_hidden, n_layers=n_layers)
        require_positive(sigma=sigma)
        if not np.isfinite(sigma):
            raise ValueError(f"sigma={sigma!r} must be finite.")
        require_choice("regularization", regularization, REGULARIZATIONS)
        self.n_features, self.sigma, self.regularization = n_features, float(sigma), regularization
        self.network = MLP(n_features, n_hidden, n_features, n_layers)
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)
        self.register_buffer("loc", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("precision", torch.eye(n_features) / (1 + sigma**2))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.scale.device

    @torch.no_grad()
    def initialize(self, cells: np.ndarray) -> None:
        """Set centre, scale and covariance from training cells ``(n, n_features)``.

        Raises
        ------
        ValueError
            If no feature varies.
        """
        mean = cells.mean(0, dtype=np.float64)
        scale = float(np.sqrt(cells.var(0, dtype=np.float64).mean()))
        if not scale > 0:
            raise ValueError("No feature of the training cells varies: there is no density.")
        covariance = ledoit_wolf((cells - mean) / scale, assume_centered=True)[0]
        precision = np.linalg.inv(covariance + self.sigma**2 * np.eye(self.n_features))
        self.loc.copy_(torch.from_numpy(mean))
        self.scale.fill_(scale)
        self.precision.copy_(torch.from_numpy(precision))

    def loss(self, batch: dict[str, Tensor]) -> TrainingLoss:
        """Return the objective divided by s^2, and by the number of features, of ``batch["x"]``.

        Divided so, it is of order one and has the same minimum. The cells, ``(..., n_features)``,
        are in the data's units.
        """
        x = self.standardize(batch["x"]).flatten(0, -2)
        if self.regularization == "denoising":
            # Antithetic noise: the terms odd in the noise, the largest at small s, cancel.
            e = torch.randn_like(x)
            e, x = torch.cat([e, -e]), torch.cat([x, x])
            error = (e + self.sigma * self._score(x + self.sigma * e)).square().sum(-1).mean()
            terms = {}
        else:
            residual = self.sigma**2 * self._score(x).square().sum(-1).mean()
            contraction = self._squared_jacobian(x).mean()
            error = residual + contraction
            terms = {"residual": residual, "contraction": contraction}
        return TrainingLoss(
            error / self.n_features, {k: v / self.n_features for k, v in terms.items()}
        )

    def standardize(self, x: Tensor) -> Tensor:
        """Return cells ``(..., n_features)`` in standardised units."""
        return (x - self.loc) / self.scale

    def _score(self, x: Tensor) -> Tensor:
        """Return f at standardised points ``(..., n_features)``."""
        return self.network(x) - x @ self.precision

    def _squared_jacobian(self, x: Tensor) -> Tensor:
        """Return ``|dr/dx|_F^2`` ``(n,)`` at standardised points ``(n, n_features)``."""
        if self.n_features <= _MAX_EXACT:
            directions = torch.eye(self.n_features, device=x.device)[:, None].expand(-1, *x.shape)
        else:
            # Random signs: their own length, which is no information, does not vary.
            directions = torch.empty_like(x).bernoulli_().mul_(2).sub_(1)[None]

        def derivative(direction: Tensor) -> Tensor:
            return torch.func.jvp(self._score, (x,), (direction,))[1]

        slopes = directions + self.sigma**2 * torch.func.vmap(derivative)(directions)
        return slopes.square().sum((0, -1))

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of the log density at cells ``(..., n_features)``.

        In the data's units, as are the cells; differentiable in them.
        """
        return self._score(self.standardize(x)) / self.scale

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return r of cells ``(..., n_features)``, both in the data's units."""
        return x + self.sigma**2 * self.scale * self._score(self.standardize(x))

    def hessian(self, x: Tensor) -> Tensor:
        """Return ``(dr/dx - I) / s^2`` ``(n, d, d)`` at cells ``(n, d)``, in the data's units.

        As it comes, without being made symmetric: row i holds the derivatives of the score's i-th
        coordinate.
        """
        jacobian: Callable[[Tensor], Tensor] = torch.func.vmap(torch.func.jacrev(self._score))
        return jacobian(self.standardize(x)) / self.scale**2
