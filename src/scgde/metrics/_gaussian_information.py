from __future__ import annotations

import numpy as np
from scipy.special import digamma

from ._pairs import whitened

_LOG2 = np.log(2)
_BELOW_ONE = 1 - 1e-9


class GaussianInformation:
    r"""Mutual information of two sides that are jointly normal, in closed form.

    .. math:: -\tfrac12 \sum_j \log_2 (1 - \rho_j^2) - \text{bias}

    with the sample's canonical correlations. For normal data the bias of log determinants is known
    whatever the truth (Misra, Singh & Demchuk 2005, J. Multivariate Anal. 92, 324), so the estimate
    is unbiased, in any dimension. Of anything else it tells the linear part only.

    Parameters
    ----------
    x, y
        Sides ``(n, p)`` and ``(n, q)``, whitened here.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray):
        self._x, self._y = whitened("x", x), whitened("y", y)

    def pointwise(self) -> np.ndarray:
        """Return each pair's log density ratio, less the bias, ``(n,)`` in bits."""
        bits, shared = self._shared_leverage()
        return shared * len(self._x) / (2 * _LOG2) + bits - self._bias(len(self._x))

    def shuffled(self, order: np.ndarray) -> float:
        """Return the estimate with y in another order."""
        return unbiased_gaussian_bits(self._x, self._y[order])

    def leave_one_out(self) -> np.ndarray:
        """Return the estimate without each pair in turn, ``(n,)``.

        The determinant of a scatter matrix without a point is known from the point's leverage.
        """
        n = len(self._x)
        bits, shared = self._shared_leverage()
        own = [np.square(side).sum(1) / n for side in (self._x, self._y)]
        left = [np.log1p(-n / (n - 1) * leverage) for leverage in (*own, sum(own) - shared)]
        return bits + (left[0] + left[1] - left[2]) / (2 * _LOG2) - self._bias(n - 1)

    def _bias(self, n: int) -> float:
        return gaussian_bias(n, self._x.shape[1], self._y.shape[1])

    def _shared_leverage(self) -> tuple[float, np.ndarray]:
        """Return bits with their bias, and leverages of x and y less that of both, ``(n,)``."""
        x, y = self._x, self._y
        left, rho, right = np.linalg.svd(x.T @ y / len(x))
        rho = np.clip(rho, 0, _BELOW_ONE)
        u, v = x @ left[:, : len(rho)], y @ right[: len(rho)].T
        shared = (rho * (2 * u * v - rho * (u**2 + v**2)) / (1 - rho**2)).sum(1)
        return gaussian_bits(rho), shared / len(x)


def gaussian_bits(rho: np.ndarray) -> float:
    """Return the mutual information of normals with these canonical correlations."""
    return float(-0.5 * np.log2(1 - rho**2).sum())


def gaussian_bias(n: int, p: int, q: int) -> float:
    """Return what :func:`gaussian_bits` of the sample correlations of n points is too large by."""

    def log_determinant(d: int) -> float:
        return digamma((n - np.arange(1, d + 1)) / 2).sum()

    return (log_determinant(p) + log_determinant(q) - log_determinant(p + q)) / (2 * _LOG2)


def unbiased_gaussian_bits(x: np.ndarray, y: np.ndarray) -> float:
    """Return the estimate for white x ``(n, p)`` and y ``(n, q)``."""
    rho = canonical_correlations(x, y)
    return gaussian_bits(rho) - gaussian_bias(len(x), x.shape[1], y.shape[1])


def canonical_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return those of white x and y, largest first, kept below one."""
    return np.clip(np.linalg.svd(x.T @ y / len(x), compute_uv=False), 0, _BELOW_ONE)
