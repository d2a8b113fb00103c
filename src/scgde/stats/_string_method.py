"""Minimum-energy paths by the string method."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from rich.progress import track

from .._errors import require_counts, require_positive


class StringPath(NamedTuple):
    """A path ``points (n, d)``, evenly spaced; whether and when it stopped moving.

    Attributes
    ----------
    points
        ``(n, d)``, evenly spaced.
    converged
        Whether they stopped moving.
    n_steps
        Steps done.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> path = scgde.stats.string_method(lambda x: 0 * x, np.eye(2), n_points=5)
    >>> path.points.shape, path.converged
    ((5, 2), True)
    """

    points: np.ndarray
    converged: bool
    n_steps: int


def string_method(
    gradient: Callable[[np.ndarray], np.ndarray],
    path: np.ndarray,
    *,
    n_points: int = 100,
    step: float = 1e-3,
    max_gradient: float = 100.0,
    max_steps: int = 2_000,
    tolerance: float = 1e-3,
    fixed_ends: bool = False,
    enable_progress_bar: bool = False,
) -> StringPath:
    """Relax a path to the nearest minimum-energy path, the zero-temperature string method.

    In turn every point moves down the gradient and the points are spread evenly along the path
    anew (E, Ren & Vanden-Eijnden, J. Chem. Phys. 126, 2007, the simplified method). What it finds
    is the path nearest to where it started, not the lowest of all.

    Parameters
    ----------
    gradient
        Of the energy: ``(n, d) -> (n, d)``.
    path
        Points to start from, in order, ``(m, d)``, m two or more; two make a straight line.
    n_points
        Points of the string.
    step
        How far a point moves for a unit of gradient; stable below 2 over the largest curvature.
    max_gradient
        Longer gradients are shortened to this length.
    max_steps, tolerance
        It stops when points move less in a step, on average, than ``tolerance`` times the distance
        between neighbours; at the latest after ``max_steps``.
    fixed_ends
        Hold both ends. Otherwise they run down to the minima of their basins.
    enable_progress_bar
        Show progress.

    Returns
    -------
    :class:`StringPath`.

    Raises
    ------
    TypeError, ValueError
        If ``path`` has fewer than two points, has no length or is not finite, a number is out of
        range, or the string left what is finite.

    Examples
    --------
    A double well along x with a valley ``y = 1 - x^2``:

    >>> import numpy as np
    >>> def gradient(p):
    ...     x, off = p[:, 0], p[:, 1] - 1 + p[:, 0] ** 2
    ...     return np.column_stack([4 * x * (x**2 - 1) + 20 * x * off, 10 * off])
    >>> found = string_method(gradient, np.array([[-1.0, 0], [1, 0]]), n_points=41, step=0.02)
    >>> found.converged, abs(found.points[20]).round(2).tolist()
    (True, [0.0, 1.0])
    """
    require_counts(n_points=n_points, max_steps=max_steps)
    require_positive(step=step, max_gradient=max_gradient, tolerance=tolerance)
    points = evenly_spaced(path, n_points)
    for n_steps in track(range(1, max_steps + 1), "String", disable=not enable_progress_bar):
        slope = np.asarray(gradient(points), dtype=float)
        if not np.isfinite(slope).all():
            raise ValueError(
                f"The gradient is NaN or infinite on the path at step {n_steps}: take a smaller "
                f"step than {step} or a smaller max_gradient than {max_gradient}."
            )
        length = np.linalg.norm(slope, axis=1, keepdims=True)
        moved = points - step * slope * np.minimum(1, max_gradient / np.maximum(length, 1e-300))
        if fixed_ends:
            moved[[0, -1]] = points[[0, -1]]
        before, points = points, evenly_spaced(moved, n_points)
        move = np.linalg.norm(points - before, axis=1).mean()
        if move < tolerance * arc_length(points)[-1] / (n_points - 1):
            return StringPath(points, True, n_steps)
    return StringPath(points, False, max_steps)


def arc_length(path: np.ndarray) -> np.ndarray:
    """Return each point's distance from the first along the path, ``(n,)`` of ``(n, d)``.

    Parameters
    ----------
    path
        Points ``(n, d)``, in order.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.stats.arc_length(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]))
    array([0., 5., 6.])
    """
    return np.r_[0.0, np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()]


def evenly_spaced(path: np.ndarray, n_points: int) -> np.ndarray:
    """Return ``n_points`` points at equal arc length on the polygon through ``path (m, d)``.

    Parameters
    ----------
    path
        Corners ``(m, d)``, in order.
    n_points
        Number of points, both ends included.

    Raises
    ------
    ValueError
        If there are fewer than two points on either side, or ``path`` has no length or is not
        finite.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.stats.evenly_spaced(np.array([[0.0, 0.0], [4.0, 0.0]]), 3).tolist()
    [[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]
    """
    path = np.asarray(path, dtype=float)
    if path.ndim != 2 or len(path) < 2:
        raise ValueError(f"path has the shape {path.shape}; it must be two or more points, (m, d).")
    if n_points < 2:
        raise ValueError(f"n_points={n_points} must be two or more: a path has two ends.")
    if not np.isfinite(path).all():
        raise ValueError("path has values that are NaN or infinite.")
    at = arc_length(path)
    if not at[-1] > 0:
        raise ValueError("path has no length: its points are all the same.")
    keep = np.r_[True, np.diff(at) > 0]
    wanted = np.linspace(0, at[-1], n_points)
    return np.column_stack([np.interp(wanted, at[keep], column) for column in path[keep].T])
