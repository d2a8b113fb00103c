"""Sampling error of a dimension, by subsampling at a common number of cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

from .._errors import require_counts


class SubsampledEstimate(NamedTuple):
    """Result of :func:`subsampled_estimate`, each of the statistic's shape.

    Attributes
    ----------
    estimate
        Mean over draws of N cells.
    low, high
        95 % interval.
    sd
        Standard deviation of the estimate over new samples of as many cells as there are.
    share
        The variance of the estimate over that at N cells, a number: 1 of N cells, less of more.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> result = scgde.metrics.subsampled_estimate(lambda cells: cells.var(0), x, 80)
    >>> result.estimate.shape, bool((result.low < result.high).all())
    ((2,), True)
    """

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sd: np.ndarray
    share: float


def subsampled_estimate(
    statistic: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    n_cells: int,
    *,
    n_subsamples: int = 40,
    n_draws: int = 4,
    seed: int = 0,
) -> SubsampledEstimate:
    r"""Estimate a statistic at a given number of cells, with a 95 % interval.

    Nearest neighbours of cells drawn with replacement are the cells themselves, so a bootstrap is
    of no use; subsamples without replacement are (Politis & Romano, Annals of Statistics 22, 1994).
    The standard deviation over subsamples of b of N cells, times
    :math:`\sqrt{(b / N) / (1 - b / N)}`, estimates that over new samples of N; b is N / 2, where
    this factor is 1. A t interval from it is of what the statistic is expected to be at N cells:
    what a statistic is biased by, it does not hold.

    Of n > N cells the estimate is a mean over m draws of N, which varies less than one of them. Two
    draws share N / n of their cells, and a linear statistic of them is correlated by that much, so
    that the variance at N cells is taken times ``N / n + (1 - N / n) / m``. Neighbour estimators of
    two draws are correlated by less, and their intervals are then wider than they need be, by two
    fifths on a cube and a Swiss roll (N = 85).

    Parameters
    ----------
    statistic
        Of cells ``(n, p)``; a number or array.
    x
        Cells, ``(n, p)``.
    n_cells
        N. Of more cells, the estimate is the mean over ``n_draws`` random draws of N.
    n_subsamples
        Subsamples in all.
    n_draws
        Draws of N cells, if there are more; at most half of ``n_subsamples``.
    seed
        Seed.

    Returns
    -------
    :class:`SubsampledEstimate`.

    Raises
    ------
    ValueError
        If there are fewer than N cells, or fewer than two subsamples for each of ``n_draws``,
        however many cells there are.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> result = scgde.metrics.subsampled_estimate(lambda cells: cells.std(), x, 100)
    >>> bool(result.low < 1 < result.high)
    True
    """
    require_counts(n_cells=n_cells, n_subsamples=n_subsamples, n_draws=n_draws)
    if n_cells > len(x):
        raise ValueError(f"n_cells={n_cells} is more than the {len(x)} cells that there are.")
    if n_subsamples < 2 * n_draws:
        raise ValueError(
            f"n_subsamples={n_subsamples} gives no interval: take {2 * n_draws} or more."
        )
    n_draws = 1 if n_cells == len(x) else n_draws
    rng = np.random.default_rng(seed)
    b = n_cells // 2
    estimates, variances, df = [], [], 0
    for times in np.diff(np.linspace(0, n_subsamples, n_draws + 1).astype(int)):
        draw = x if n_draws == 1 else x[rng.choice(len(x), n_cells, replace=False)]
        estimates.append(statistic(draw))
        values = [statistic(draw[rng.choice(n_cells, b, replace=False)]) for _ in range(times)]
        variances.append((times - 1) * np.var(values, axis=0, ddof=1))
        df += times - 1
    estimate = np.mean(estimates, axis=0)
    share = n_cells / len(x) + (1 - n_cells / len(x)) / n_draws
    sd = np.sqrt(share * np.sum(variances, axis=0) / df * (b / n_cells) / (1 - b / n_cells))
    half = student_t.ppf(0.975, df) * sd
    return SubsampledEstimate(estimate, estimate - half, estimate + half, sd, share)
