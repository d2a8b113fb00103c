"""How many levels of a distributional principal autoencoder a population needs: arrays in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp

from .._errors import require_positive


class DimensionProfile(NamedTuple):
    """Result of :func:`dimension_profile`.

    ``knee``, the embedding-like dimension; ``dimension``, leading levels with a fall that is
    significant and large enough; ``table``, one row a level k = 0..K.

    Attributes
    ----------
    knee
        The embedding-like dimension.
    dimension
        Leading levels whose fall is significant and large enough.
    table
        One row a level k = 0..K.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> profile = scgde.metrics.dimension_profile(np.array([1.0, 0.4, 0.1, 0.1]) * np.ones((50, 1)))
    >>> profile.knee, len(profile.table)
    (2, 4)
    """

    knee: int
    dimension: int
    table: pd.DataFrame


def dimension_profile(
    losses: np.ndarray,
    residuals: np.ndarray | None = None,
    variance: float | None = None,
    *,
    knee_share: float = 0.05,
    min_share: float = 0.01,
    alpha: float = 0.05,
) -> DimensionProfile:
    """Read dimensions off the held-out losses of a distributional principal autoencoder.

    Level k decodes from the first k latent variables (Shen & Meinshausen, arXiv 2404.13649, Sec.
    2). Both dimensions are embedding-like: how many coordinates a decoder needs, more than the
    intrinsic dimension of a shape that bends (a helix needs three).

    Parameters
    ----------
    losses
        Energy score of each held-out cell at each level, ``(n_cells, K + 1)``; level 0 is
        unconditional.
    residuals
        Unbiased squared residual of each held-out cell at each level, the same shape, in squared
        units of the data; without it there is no unexplained variance.
    variance
        Total variance of the cells; by default the mean residual at level 0.
    knee_share
        The knee is the first k with ``L_k - L_K <= knee_share * (L_0 - L_K)``.
    min_share
        Least share of ``L_0 - L_K`` that the fall at a level of ``dimension`` must be.
    alpha
        Level of the tests.

    Returns
    -------
    :class:`DimensionProfile`. ``table`` is indexed by ``k``: ``loss``, ``low``, ``high`` (95 % t
    interval over held-out cells, the training taken as given); ``fall``, ``L_{k-1} - L_k``;
    ``fall_share``; ``p_value``, one-sided paired t test of that fall across held-out cells;
    ``p_adjusted`` (Holm 1979); ``unexplained``, ``unexplained_low``, ``unexplained_high``, share
    of the variance. What does not apply is NaN.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than three cells, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(0, 0.01, (50, 4))
    >>> dimension_profile(np.array([3.0, 1.0, 0.1, 0.1]) + noise).dimension
    2
    """
    losses = _checked("losses", losses)
    require_positive(knee_share=knee_share, alpha=alpha)
    mean, low, high = _interval(losses)
    total = mean[0] - mean[-1]
    knee = int(np.argmax(mean - mean[-1] <= knee_share * total)) if total > 0 else 0
    falls = -np.diff(losses, axis=1)
    fall = falls.mean(0)
    p_value = _p_values(falls)
    p_adjusted = holm(p_value)
    enough = (p_adjusted <= alpha) & (fall >= min_share * total)
    table = pd.DataFrame(
        {
            "loss": mean,
            "low": low,
            "high": high,
            "fall": np.append(np.nan, fall),
            "fall_share": np.append(np.nan, fall / total if total > 0 else np.full_like(fall, 0)),
            "p_value": np.append(np.nan, p_value),
            "p_adjusted": np.append(np.nan, p_adjusted),
        },
        index=pd.RangeIndex(len(mean), name="k"),
    )
    shares = np.full((3, len(mean)), np.nan)
    if residuals is not None:
        residuals = _checked("residuals", residuals)
        if residuals.shape != losses.shape:
            raise ValueError(
                f"residuals has shape {residuals.shape} and losses {losses.shape}: give both for "
                "the same cells and levels."
            )
        scale = residuals[:, 0].mean() if variance is None else variance
        require_positive(variance=scale)
        shares = np.stack(_interval(residuals)) / scale
    for name, values in zip(("", "_low", "_high"), shares, strict=True):
        table[f"unexplained{name}"] = values
    return DimensionProfile(knee, leading(enough), table)


def leading(enough: np.ndarray) -> int:
    """Return how many leading entries ``(K,)`` are true."""
    return len(enough) if enough.all() else int(np.argmin(enough))


def levels_above_null(fall: np.ndarray, null: np.ndarray, level: float = 0.95) -> int:
    """Return how many leading levels fall further than at the same level on the null.

    Parallel analysis (Horn, Psychometrika 30, 1965), with an upper bound for one more null in
    place of the nulls' mean: of n nulls, taken as normal, mean + t sd sqrt(1 + 1 / n).

    Parameters
    ----------
    fall
        Fall of the loss, or variance, at each level, ``(K,)``.
    null
        The same on two or more nulls, ``(n_nulls, K)``.
    level
        One-sided confidence of the bound.

    Examples
    --------
    >>> import numpy as np
    >>> levels_above_null(np.array([5.0, 2.0, 0.4]), np.array([[1.0, 0.9, 0.8], [1.1, 0.8, 0.8]]))
    2
    """
    return leading(fall > null_bound(null, level))


def null_bound(null: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the bound of :func:`levels_above_null`, ``(K,)``."""
    n = len(null)
    if n < 2:
        raise ValueError(f"null has {n} rows; a bound needs two nulls or more.")
    half = student_t.ppf(level, n - 1) * null.std(0, ddof=1) * np.sqrt(1 + 1 / n)
    return null.mean(0) + half


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values ``(m,)`` adjusted for all of them (Holm, Scand. J. Statist. 6, 1979)."""
    order = np.argsort(p_values)
    raised = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(raised)
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return adjusted


def _p_values(falls: np.ndarray) -> np.ndarray:
    """One-sided paired tests; of falls that are all alike, which have no spread, by their sign."""
    constant = np.ptp(falls, axis=0) == 0
    p_values = np.where(falls[0] > 0, 0.0, 1.0)
    if not constant.all():
        p_values[~constant] = ttest_1samp(falls[:, ~constant], 0, alternative="greater").pvalue
    return p_values


def _interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, mean = len(values), values.mean(0)
    half = student_t.ppf(0.975, n - 1) * values.std(0, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def _checked(argument: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or len(values) < 3 or values.shape[1] < 2:
        raise ValueError(
            f"{argument} has shape {values.shape}; it must be (n_cells, K + 1) with three held-out "
            "cells or more and K of one or more."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{argument} has NaN or infinite values: the training diverged.")
    return values
