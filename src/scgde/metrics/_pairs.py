"""Paired points on one footing: what may come in, and normalisations of either side."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata

from .._errors import require_choice

Normalize = Literal["whiten", "rank"] | None
_POINTS_PER_DIMENSION = 5
_JITTER = 1e-9


def require_level(level: float) -> None:
    """Raise a ``ValueError`` unless the level is above 0 and below 1."""
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must be between 0 and 1, as 0.95.")


def checked_pairs(
    x: np.ndarray | pd.DataFrame, y: np.ndarray | pd.DataFrame, min_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return both sides as arrays of floats, ``(n, p)`` and ``(n, q)``.

    Raises
    ------
    ValueError
        If sides differ in length or in their index, there are fewer than ``min_points`` pairs, a
        value is not a finite number, or all rows of a side are the same.
    """
    named = all(isinstance(side, pd.DataFrame | pd.Series) for side in (x, y))
    if named and len(x) == len(y) and not x.index.equals(y.index):
        raise ValueError(
            "x and y have different row names or another order of them, so rows are no pairs. "
            "Pass y.loc[x.index]."
        )
    x, y = _as_matrix("x", x), _as_matrix("y", y)
    if len(x) != len(y):
        raise ValueError(
            f"x has {len(x)} rows and y has {len(y)}; row i of x and row i of y must be a pair."
        )
    if len(x) < min_points:
        raise ValueError(f"There are {len(x)} pairs; at least {min_points} are needed here.")
    return x, y


def _as_matrix(argument: str, values: np.ndarray | pd.DataFrame) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != np.float32:
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"{argument} must hold numbers, got {values.dtype}.") from None
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"{argument} must be (points, coordinates), got shape {values.shape}.")
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise ValueError(
            f"{argument} is not finite in {bad.sum()} of {len(values)} rows (first: row "
            f"{np.flatnonzero(bad)[0]}). Leave those pairs out of x and y."
        )
    if len(values) and not np.ptp(values, axis=0).any():
        raise ValueError(f"{argument} is the same in every row: it can carry no information.")
    return values


def normalized(argument: str, values: np.ndarray, normalize: Normalize, seed: int) -> np.ndarray:
    """Return one side ``(n, p)`` as estimators take it, ``(n, at most p)``.

    Equal rows are told apart by noise of a billionth of the spread, so that neighbours are defined;
    of discrete values the estimate is then that of their mutual information.

    Parameters
    ----------
    argument
        Name of the side, for messages.
    values
        ``(n, p)``.
    normalize
        ``None`` leaves values as they are. ``"rank"`` takes normal scores of each coordinate.
        ``"whiten"`` takes all principal components to variance one, which undoes every invertible
        linear map but for a rotation. Of more than ``n / 5`` components only the leading ones are
        kept, with a warning: white coordinates of n points in nearly n dimensions are equally far
        from one another whatever the data.
    seed
        Seed of the noise.
    """
    require_choice("normalize", str(normalize), ("None", "whiten", "rank"))
    if normalize == "rank":
        result = normal_scores(values[:, np.ptp(values, axis=0) > 0])
    elif normalize == "whiten":
        result = whitened(argument, values)
    else:
        result = values.astype(np.float64)
    if len(np.unique(result, axis=0)) < len(result):
        # Each side its own noise: the same would tie them together.
        rng = np.random.default_rng([seed, *argument.encode()])
        result = result + rng.normal(0, _JITTER * result.std(), result.shape)
    return result


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Return the normal quantile of each value's rank in its column, ``(n, p)``."""
    return ndtri((rankdata(values, axis=0) - 0.5) / len(values))


def whitened(argument: str, values: np.ndarray) -> np.ndarray:
    """Return principal components of variance one: all that there are, but at most ``n / 5``."""
    limit = max(1, len(values) // _POINTS_PER_DIMENSION)
    # Rounding of the values as they came, not of the arithmetic, says which directions are empty.
    rounding = np.finfo(values.dtype).eps
    centered = values.astype(np.float64) - values.mean(0, dtype=np.float64)
    left, size, _ = np.linalg.svd(centered, full_matrices=False)
    rank = int((size > size[0] * max(values.shape) * rounding).sum())
    if rank > limit:
        warnings.warn(
            f"{argument} has {rank} dimensions for {len(values)} points: only its {limit} leading "
            "principal components are kept. Reduce both sides beforehand, by the same rule for "
            "all that you compare.",
            stacklevel=4,
        )
    return left[:, : min(rank, limit)] * np.sqrt(len(values))
