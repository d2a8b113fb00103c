"""Minus the log density of points, by Gaussian kernels."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import pairwise_distances

from .._errors import require_positive

_AT_ONCE = 2_000_000  # distances
_N_SCORED = 1_000  # points by which a bandwidth is chosen


class KernelEnergy:
    r"""Free energy :math:`F(x) = -\log \frac{1}{n} \sum_i N(x; x_i, h^2 I)` of points, kT = 1.

    Parameters
    ----------
    points
        ``(n, d)``, on scales that may be compared.
    bandwidth
        h; by default that of the highest leave-one-out likelihood (:func:`likely_bandwidth`).
    seed
        Seed of the draw of points by which it is chosen.

    Attributes
    ----------
    bandwidth
        h.

    Raises
    ------
    ValueError
        If points are not finite or there are fewer than three, or the bandwidth is not above zero.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> points = np.random.default_rng(0).normal(size=(200, 2))
    >>> energy = scgde.stats.KernelEnergy(points)
    >>> middle, far = energy(np.array([[0.0, 0.0], [3.0, 3.0]]))
    >>> bool(middle < far)
    True
    """

    def __init__(self, points: np.ndarray, bandwidth: float | None = None, seed: int = 0):
        points = np.asarray(points, dtype=float)
        if points.ndim != 2 or len(points) < 3 or not np.isfinite(points).all():
            raise ValueError(
                f"points has the shape {points.shape}; a density takes three or more finite "
                "points, (n, d)."
            )
        self.points = points
        self.bandwidth = likely_bandwidth(points, seed) if bandwidth is None else bandwidth
        require_positive(bandwidth=self.bandwidth)

    def __call__(self, x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the energy of ``x (m, d)``; with ``weights (B, n)``, of B densities, ``(B, m)``.

        Weights are how often each point counts, as in a bootstrap.
        """
        n, d = self.points.shape
        constant = d * (np.log(self.bandwidth) + np.log(2 * np.pi) / 2)
        parts = []
        for piece in self._pieces(x):
            exponent = self._exponents(piece)
            if weights is None:
                parts.append(constant + np.log(n) - logsumexp(exponent, axis=1))
                continue
            top = exponent.max(1, keepdims=True)
            # A resample may leave out all cells near x: the energy is then very high, not infinite.
            kernel = np.maximum(np.exp(exponent - top) @ weights.T, np.finfo(float).tiny)
            parts.append((constant + np.log(weights.sum(1)) - np.log(kernel) - top).T)
        return np.concatenate(parts, axis=-1)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradient of the energy at ``x (m, d)``: x minus its local mean, over h^2."""
        parts = []
        for piece in self._pieces(x):
            exponent = self._exponents(piece)
            share = np.exp(exponent - exponent.max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            parts.append((piece - share @ self.points) / self.bandwidth**2)
        return np.concatenate(parts)

    def cells_near(self, x: np.ndarray) -> np.ndarray:
        """Return the sum of kernels, each 1 at its point: how many points the density rests on."""
        return np.concatenate([np.exp(self._exponents(piece)).sum(1) for piece in self._pieces(x)])

    def _pieces(self, x: np.ndarray) -> list[np.ndarray]:
        x = np.asarray(x, dtype=float)
        size = max(_AT_ONCE // len(self.points), 1)
        return [x[i : i + size] for i in range(0, len(x), size)]

    def _exponents(self, x: np.ndarray) -> np.ndarray:
        squared = pairwise_distances(x, self.points, metric="sqeuclidean")
        return -squared / (2 * self.bandwidth**2)


def likely_bandwidth(points: np.ndarray, seed: int = 0) -> float:
    """Return the bandwidth under which points are likeliest given all others.

    Of twelve, halvings by the root of 2 from Scott's rule for one normal distribution; scored on
    1,000 points drawn at random.

    Parameters
    ----------
    points
        ``(n, d)``, on scales that may be compared.
    seed
        Seed of the draw of points that are scored.

    Raises
    ------
    ValueError
        If all points are the same.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> points = np.random.default_rng(0).normal(size=(200, 2))
    >>> 0.1 < scgde.stats.likely_bandwidth(points) < 1
    True
    """
    n, d = points.shape
    spread = np.sqrt(points.var(0).mean())
    if not spread > 0:
        raise ValueError("All points are the same: they have no density.")
    options = spread * n ** (-1 / (d + 4)) * 2.0 ** (-np.arange(12) / 2)
    few = np.random.default_rng(seed).permutation(n)[:_N_SCORED]
    squared = pairwise_distances(points[few], points, metric="sqeuclidean")
    squared[np.arange(len(few)), few] = np.inf
    # A copy of a point would make the narrowest kernel the likeliest.
    squared[squared <= 1e-12 * spread**2] = np.inf
    lonely = ~np.isfinite(squared).any(1)
    squared = squared[~lonely]
    likelihood = [logsumexp(-squared / (2 * h**2), axis=1).mean() - d * np.log(h) for h in options]
    return float(options[int(np.argmax(likelihood))])
