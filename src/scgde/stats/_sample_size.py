"""How many cells, or donors, a statement about embeddings needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from .._errors import require_counts, require_positive
from ._hotelling import hotelling_radius

_MOST = 10**9


def ellipsoid_size(cell_cov: np.ndarray, n_cells: int, level: float = 0.95) -> float:
    r"""Return the size of the confidence ellipsoid of an embedding from ``n_cells`` cells.

    The root mean square of its semi-axes,

    .. math:: r(m) = \sqrt{\frac{\mathrm{tr}\, C}{p\, m} \cdot \frac{p (m - 1)}{m - p}
        F_{p, m - p}(\text{level})}

    (:func:`hotelling_radius`): one number for all axes, which counts a long one in full and does
    not hang on the longest alone.

    Parameters
    ----------
    cell_cov
        C ``(p, p)``, the covariance of one cell's worth of sampling: an embedding's times its
        cells, in the p directions that matter.
    n_cells
        m, more than p.
    level
        Confidence.

    Returns
    -------
    In units of the embedding.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> round(scgde.stats.ellipsoid_size(np.eye(2), n_cells=100), 2)
    0.25
    """
    n_dims = len(cell_cov)
    squared = hotelling_radius(n_cells, n_dims, level)
    return float(np.sqrt(np.trace(cell_cov) / (n_dims * n_cells) * squared))


def cells_for_ellipsoid(cell_cov: np.ndarray, radius: float, level: float = 0.95) -> float:
    """Return the least number of cells whose confidence ellipsoid is no larger than ``radius``.

    Parameters
    ----------
    cell_cov, level
        As in :func:`ellipsoid_size`.
    radius
        Root mean square of the semi-axes, in units of the embedding.

    Returns
    -------
    A whole number, or ``inf`` if a billion cells are too few.

    Raises
    ------
    ValueError
        If the covariance is none, or the radius or the level is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.stats.cells_for_ellipsoid(np.eye(2), radius=0.25)
    100.0
    """
    require_positive(radius=radius)
    return _smallest(lambda m: ellipsoid_size(cell_cov, m, level) <= radius, len(cell_cov) + 1)


def hotelling_power(
    distance: float, n_a: int, n_b: int, n_dims: int, significance: float = 0.05
) -> float:
    r"""Return the power of Hotelling's two-sample test between groups of donors.

    .. math:: P\big(F_{p,\, n - p - 1}(\lambda) > F_{1 - \alpha}\big), \quad
        \lambda = \frac{n_a n_b}{n} D^2, \quad n = n_a + n_b

    with the noncentral F distribution (Anderson, *An Introduction to Multivariate Statistical
    Analysis*, 2003, Sec. 5.4).

    Parameters
    ----------
    distance
        D, the Mahalanobis distance of the group means: in standard deviations of donors within
        groups, their sampling noise included.
    n_a, n_b
        Donors of each group.
    n_dims
        p, at most ``n_a + n_b - 2``.
    significance
        Level of the test, alpha.

    Returns
    -------
    Between ``significance`` and 1.

    Raises
    ------
    ValueError
        If there are too few donors for that many dimensions.

    Examples
    --------
    >>> import scgde
    >>> round(scgde.stats.hotelling_power(1.0, 20, 20, n_dims=2), 2)
    0.78
    """
    require_counts(n_a=n_a, n_b=n_b, n_dims=n_dims)
    n = n_a + n_b
    if n < n_dims + 2:
        raise ValueError(
            f"n_dims={n_dims} needs at least {n_dims + 2} donors in both groups together, not "
            f"{n}. Take fewer dimensions."
        )
    bound = stats.f.isf(significance, n_dims, n - n_dims - 1)
    # scipy's distribution is undefined at zero, and its series ends too early far from it.
    noncentrality = np.clip(n_a * n_b / n * distance**2, 1e-9, 1e4)
    return float(stats.ncf.sf(bound, n_dims, n - n_dims - 1, noncentrality))


def cells_for_power(
    distance: Callable[[float], float],
    n_a: int,
    n_b: int,
    n_dims: int,
    power: float = 0.8,
    significance: float = 0.05,
) -> float:
    """Return the least number of cells of each donor with which two groups are told apart.

    Parameters
    ----------
    distance
        Mahalanobis distance of the groups at a number of cells.
    n_a, n_b, n_dims, significance
        As in :func:`hotelling_power`.
    power
        Wanted power.

    Returns
    -------
    A whole number from 2; ``inf`` if no number of cells of so few donors is enough.

    Examples
    --------
    >>> import scgde
    >>> def distance(n_cells):  # of the groups, the fewer cells the smaller
    ...     return 1.5 / (1 + 20 / n_cells) ** 0.5
    >>> scgde.stats.cells_for_power(distance, 20, 20, n_dims=2)
    18.0
    """

    def enough(m: float) -> bool:
        return hotelling_power(distance(m), n_a, n_b, n_dims, significance) >= power

    return _smallest(enough, 2) if enough(np.inf) else np.inf


def donors_for_power(
    distance: float,
    share_a: float,
    n_dims: int,
    power: float = 0.8,
    significance: float = 0.05,
) -> float:
    """Return the least number of donors in both groups together that tell them apart.

    Parameters
    ----------
    distance
        Mahalanobis distance of the groups.
    share_a
        Share of donors in the first group; two in each at least.
    n_dims, power, significance
        As in :func:`cells_for_power`.

    Returns
    -------
    A whole number; ``inf`` if a billion donors are too few.

    Examples
    --------
    >>> import scgde
    >>> scgde.stats.donors_for_power(1.0, share_a=0.5, n_dims=2)
    42.0
    """

    def enough(n: float) -> bool:
        n_a = min(max(2, round(share_a * n)), n - 2)
        return hotelling_power(distance, n_a, n - n_a, n_dims, significance) >= power

    return _smallest(enough, max(4, n_dims + 2))


def _smallest(enough: Callable[[int], bool], start: int) -> float:
    """Return the first whole number from ``start`` that is enough; once enough, always enough."""
    if enough(start):
        return float(start)
    low, high = start, 2 * start
    while not enough(high):
        if high > _MOST:
            return np.inf
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return float(high)
