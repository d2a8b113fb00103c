"""Curves and surfaces whose intrinsic dimension is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from anndata import AnnData
from sklearn.datasets import make_s_curve, make_swiss_roll

from .._errors import require_choice, require_counts

_GRID_SIDE = 60


def manifold(name: str, n_points: int | None = None, noise: float = 0.0, seed: int = 0) -> AnnData:
    """Draw points of a curve or surface, as the extraneous latents of a DPA are tested on.

    Parameters
    ----------
    name
        "line" ``(t, 0)``, "parabola" ``(t, t^2)``, "exponential" ``(t, exp t)``, "cosine"
        ``(t, cos t)`` with t uniform on (-2, 2) ((0, 2 pi) for the cosine), "grid" ``(i, j, i +
        j)``, the points of a square grid on (0, 1) with their sum, "s_curve", "swiss_roll"
        (scikit-learn's). (Kinds: arXiv 2502.11583, Table 3; ranges are ours.)
    n_points
        Points; 10,000 by default, and 60 x 60 of the grid, which needs a square number.
    noise
        Standard deviation of normal noise on every coordinate. It has full dimension.
    seed
        Seed of points and noise.

    Returns
    -------
    AnnData of points x coordinates. ``.obs``: the manifold's own coordinates, "t_0" and "t_1".
    ``.uns["truth"]``: "name", "dimension" (of the manifold without noise), "noise".

    Raises
    ------
    TypeError, ValueError
        If the name is unknown, a size is no whole number above zero, a grid's is no square, or
        noise is negative.

    Examples
    --------
    >>> import scgde
    >>> scgde.datasets.manifold("parabola", 5).shape
    (5, 2)
    """
    require_choice("name", name, MANIFOLDS)
    if n_points is None:
        n_points = _GRID_SIDE**2 if name == "grid" else 10_000
    require_counts(n_points=n_points)
    if not 0 <= noise < np.inf:
        raise ValueError(f"noise={noise!r} must be a standard deviation, 0 or more.")
    rng = np.random.default_rng(seed)
    points, own = MANIFOLDS[name](rng, n_points)
    points = points + noise * rng.normal(size=points.shape)
    return AnnData(
        points.astype(np.float32),
        obs=pd.DataFrame(
            {f"t_{i}": column for i, column in enumerate(own.T)},
            index=pd.RangeIndex(len(points)).astype(str),
        ),
        var=pd.DataFrame(index=[f"x_{i}" for i in range(points.shape[1])]),
        uns={"truth": {"name": name, "dimension": own.shape[1], "noise": float(noise)}},
    )


def _curve(
    function: Callable[[np.ndarray], np.ndarray], low: float = -2.0, high: float = 2.0
) -> Callable:
    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        t = rng.uniform(low, high, n)
        return np.column_stack([t, function(t)]), t[:, None]

    return draw


def _grid(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    side = int(np.sqrt(n))
    if side**2 != n:
        raise ValueError(f"n_points={n} must be a square number for a grid: take {side**2}.")
    own = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, side)]), -1).reshape(-1, 2)
    return np.column_stack([own, own.sum(1)]), own


def _s_curve(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    points, t = make_s_curve(n, random_state=int(rng.integers(2**31)))
    return points, np.column_stack([t, points[:, 1]])


def _swiss_roll(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    points, t = make_swiss_roll(n, random_state=int(rng.integers(2**31)))
    return points, np.column_stack([t, points[:, 1]])


MANIFOLDS: dict[str, Callable] = {
    "line": _curve(np.zeros_like),
    "parabola": _curve(np.square),
    "exponential": _curve(np.exp),
    "cosine": _curve(np.cos, 0.0, 2 * np.pi),
    "grid": _grid,
    "s_curve": _s_curve,
    "swiss_roll": _swiss_roll,
}
