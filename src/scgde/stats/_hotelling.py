"""Hotelling's ellipsoids and tests, from embeddings and their sampling covariances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from .._errors import require_counts


def hotelling_radius(n_cells: int, n_dims: int, level: float = 0.95) -> float:
    r"""Return the squared Mahalanobis radius of a joint confidence ellipsoid.

    .. math:: \frac{p (n - 1)}{n - p} F_{p, n - p}(\text{level})

    (Hotelling 1931; Anderson, An Introduction to Multivariate Statistical Analysis, Sec. 5.3). In
    one dimension it is the square of Student's t; with many cells, the quantile of chi-squared.

    Parameters
    ----------
    n_cells
        Cells n from which the covariance was estimated.
    n_dims
        Dimensions p of the ellipsoid.
    level
        Confidence, between 0 and 1.

    Returns
    -------
    Bound of ``(z - truth)' cov^-1 (z - truth)``, where ``cov`` is the covariance of ``z`` itself.

    Raises
    ------
    TypeError, ValueError
        If a number is no whole number above zero, there are not more cells than dimensions, or the
        level is not between 0 and 1.

    Examples
    --------
    >>> import scgde
    >>> round(scgde.stats.hotelling_radius(100, 2), 2)
    6.24
    """
    require_counts(n_cells=n_cells, n_dims=n_dims)
    if n_cells <= n_dims:
        raise ValueError(
            f"n_cells={n_cells} must be above n_dims={n_dims}: a covariance of so few cells has no "
            "ellipsoid in so many dimensions. Take fewer dimensions."
        )
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must be between 0 and 1, as 0.95.")
    quantile = stats.f.ppf(level, n_dims, n_cells - n_dims)
    return float(n_dims * (n_cells - 1) / (n_cells - n_dims) * quantile)


class HotellingTest(NamedTuple):
    """Result of :func:`hotelling_test`: ``statistic`` is T2 and ``f`` is F(df1, df2).

    Attributes
    ----------
    statistic
        T squared.
    f, df1, df2
        F and its degrees of freedom.
    p_value
        Of it.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> noise = np.eye(2) / 50
    >>> test = scgde.stats.hotelling_test(np.array([1.0, 0.0]), noise, 50, noise, 50)
    >>> round(test.statistic, 1), test.df1
    (25.0, 2.0)
    """

    statistic: float
    f: float
    df1: float
    df2: float
    p_value: float


def hotelling_test(
    difference: np.ndarray, cov_a: np.ndarray, n_a: int, cov_b: np.ndarray, n_b: int
) -> HotellingTest:
    r"""Test whether two embeddings differ by more than their sampling errors.

    .. math:: T^2 = d' S^{-1} d, \quad S = S_a + S_b, \quad
        \frac{\nu - p + 1}{\nu p} T^2 \sim F_{p, \nu - p + 1}, \quad
        \nu = \frac{p + p^2}{\sum_i \left[\mathrm{tr}\,(S_i S^{-1})^2
        + (\mathrm{tr}\, S_i S^{-1})^2\right] / (n_i - 1)}

    The covariances need not be equal (the Behrens-Fisher problem): degrees of freedom are those of
    Krishnamoorthy & Yu, Statistics & Probability Letters 66 (2004), the modified test of Nel and
    van der Merwe. In one dimension this is Welch's t test.

    Parameters
    ----------
    difference
        ``d (p,)``, of the two embeddings.
    cov_a, cov_b
        Sampling covariances ``(p, p)`` of the embeddings (of a mean: covariance of cells / n).
    n_a, n_b
        Cells from which each was estimated.

    Returns
    -------
    :class:`HotellingTest`.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a value is not finite, the cells are too few for the dimensions, or
        the covariances sum to a singular matrix.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> noise = np.eye(2) / 50
    >>> test = scgde.stats.hotelling_test(np.array([1.0, 0.0]), noise, 50, noise, 50)
    >>> bool(test.p_value < 0.001)
    True
    """
    d, a, b = (np.asarray(v, dtype=float) for v in (difference, cov_a, cov_b))
    p = d.size
    if d.shape != (p,) or a.shape != (p, p) or b.shape != (p, p):
        raise ValueError(
            f"difference {d.shape}, cov_a {a.shape} and cov_b {b.shape} must have shapes (p,), "
            "(p, p) and (p, p)."
        )
    if not all(np.isfinite(v).all() for v in (d, a, b)):
        raise ValueError("difference, cov_a or cov_b has values that are NaN or infinite.")
    require_counts(n_a=n_a, n_b=n_b)
    if min(n_a, n_b) < 2:
        raise ValueError(f"n_a={n_a} and n_b={n_b} must be at least 2: one cell has no covariance.")
    total = a + b
    if np.linalg.matrix_rank(total, hermitian=True) < p:
        raise ValueError(
            f"cov_a + cov_b is singular in {p} dimensions: take fewer, or directions in which "
            "cells vary."
        )
    share = [np.linalg.solve(total, cov) for cov in (a, b)]
    spread = [np.trace(s @ s) + np.trace(s) ** 2 for s in share]
    nu = (p + p**2) / (spread[0] / (n_a - 1) + spread[1] / (n_b - 1))
    df2 = nu - p + 1
    if df2 <= 0:
        raise ValueError(
            f"n_a={n_a} and n_b={n_b} are too few cells for {p} dimensions: take fewer dimensions."
        )
    statistic = float(d @ np.linalg.solve(total, d))
    f = statistic * df2 / (nu * p)
    return HotellingTest(statistic, f, float(p), float(df2), float(stats.f.sf(f, p, df2)))
