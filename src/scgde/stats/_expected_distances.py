from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import gamma

from ._normal_prior import as_noisy


class Distances(NamedTuple):
    """Distances between true embeddings, and how far they are known; each ``(n,)``."""

    distance: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def expected_distances(
    z_a: np.ndarray, noise_a: np.ndarray, z_b: np.ndarray, noise_b: np.ndarray
) -> np.ndarray:
    r"""Return the root of the expected squared distance between true embeddings, all pairs.

    .. math:: E|z_a^* - z_b^*|^2 = |z_a - z_b|^2 + \mathrm{tr}(V_a + V_b)

    for :math:`z^* \sim N(z, V)`, independent: posteriors, as from :meth:`NormalPrior.denoise`.
    (Given raw embeddings and their sampling covariances instead, it would add the noise a second
    time, for a raw distance holds it already.)

    Parameters
    ----------
    z_a, z_b
        Posterior means ``(A, L)`` and ``(B, L)``.
    noise_a, noise_b
        Posterior covariances ``(A, L, L)`` and ``(B, L, L)``.

    Returns
    -------
    ``(A, B)``, in units of the embedding.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> z, noise = np.array([[0.0, 0.0], [3.0, 4.0]]), np.zeros((2, 2, 2))
    >>> scgde.stats.expected_distances(z[:1], noise[:1], z, noise).round(2)
    array([[0., 5.]])
    """
    z_a, noise_a = as_noisy(z_a, noise_a)
    z_b, noise_b = as_noisy(z_b, noise_b, z_a)
    trace_a, trace_b = np.einsum("all->a", noise_a), np.einsum("bll->b", noise_b)
    squares = cdist(z_a, z_b, "sqeuclidean")
    return np.sqrt(squares + trace_a[:, None] + trace_b)


def paired_distances(
    z_a: np.ndarray,
    noise_a: np.ndarray,
    z_b: np.ndarray,
    noise_b: np.ndarray,
    level: float = 0.95,
) -> Distances:
    r"""Return the distance between the true embeddings of each pair, with its uncertainty.

    With d the difference of the means and :math:`V = V_a + V_b`, the squared distance is a
    quadratic form in a normal vector with mean :math:`|d|^2 + \mathrm{tr} V` and variance
    :math:`4 d'Vd + 2\,\mathrm{tr} V^2` (Mathai & Provost 1992, Ch. 3). The interval is that of
    the gamma distribution with these two moments (Patnaik 1949, for the noncentral chi-squared).

    Parameters
    ----------
    z_a, z_b
        Posterior means ``(n, L)`` of either side.
    noise_a, noise_b
        Posterior covariances ``(n, L, L)``.
    level
        Coverage of the interval.

    Returns
    -------
    ``distance``, the root of the expected square, as :func:`expected_distances`;
    ``standard_error`` (by the delta method); ``low`` and ``high``.

    Raises
    ------
    ValueError
        If the level is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> z_a, z_b, noise = np.zeros((1, 2)), np.array([[3.0, 4.0]]), np.eye(2)[None] / 100
    >>> distances = scgde.stats.paired_distances(z_a, noise, z_b, noise)
    >>> bool(distances.low < 5 < distances.high)
    True
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must be between 0 and 1.")
    z_a, noise_a = as_noisy(z_a, noise_a)
    z_b, noise_b = as_noisy(z_b, noise_b, z_a)
    if len(z_a) != len(z_b):
        raise ValueError(f"z_a has {len(z_a)} rows and z_b {len(z_b)}; pairs need as many.")
    d, v = z_a - z_b, noise_a + noise_b
    mean = np.square(d).sum(1) + np.einsum("nll->n", v)
    variance = 4 * np.einsum("nl,nlk,nk->n", d, v, d) + 2 * np.square(v).sum((1, 2))
    distance = np.sqrt(mean)
    low, high = distance.copy(), distance.copy()
    known = variance > 1e-12 * mean**2  # else a point, whose gamma distribution has no shape
    shape, scale = mean[known] ** 2 / variance[known], variance[known] / mean[known]
    low[known] = np.sqrt(gamma.ppf((1 - level) / 2, shape, scale=scale))
    high[known] = np.sqrt(gamma.ppf((1 + level) / 2, shape, scale=scale))
    error = np.divide(np.sqrt(variance), 2 * distance, out=np.zeros_like(mean), where=mean > 0)
    return Distances(distance, error, low, high)
