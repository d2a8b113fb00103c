from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._errors import require_positive
from ._kernel import kernel_discrepancy
from ._measure import as_measures, pairwise_distances


def mmd(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None = None,
    wy: Tensor | None = None,
    *,
    bandwidth: float | Tensor | None = None,
    scales: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
    unbiased: bool = False,
) -> Tensor:
    r"""Return the squared maximum mean discrepancy of weighted samples.

    .. math:: \mathrm{MMD}^2 = E k(X, X') + E k(Y, Y') - 2 E k(X, Y)

    with :math:`k(x, y)` the mean over scales :math:`s` of
    :math:`\exp(-|x - y|^2 / 2 (s h)^2)` (Gretton et al. 2012, Eqs. 3 and 5). Differentiable.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default.
    bandwidth
        Length ``h``, in units of the features. By default :func:`median_bandwidth` of the whole
        batch, without gradient. One bandwidth for all pairs, or their values could not be
        compared; fix it where calls are compared.
    scales
        Multiples ``s`` of the bandwidth.
    unbiased
        Leave out pairs of a point with itself (the U-statistic): right on average over draws, but
        below zero at times.

    Returns
    -------
    ``(B,)``, without unit, at most 2.

    Raises
    ------
    ValueError
        If shapes or weights do not fit, a length is not positive, or ``unbiased`` is asked of a
        single point.

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(1, 1, 2)
    >>> round(mmd(x, x + 100, bandwidth=1.0).item(), 6)
    2.0
    """
    if not len(scales):
        raise ValueError(f"scales={scales!r} is empty: give at least one multiple.")
    require_positive(scales=min(scales))
    if bandwidth is None:
        bandwidth = median_bandwidth(x, y, wx, wy)
    require_positive(bandwidth=bandwidth)

    def kernel(d: Tensor) -> Tensor:
        square = (d / bandwidth).square()
        return sum(torch.exp(square / (-2 * s * s)) for s in scales) / len(scales)

    return kernel_discrepancy(x, y, wx, wy, kernel, unbiased=unbiased)


@torch.no_grad()
def median_bandwidth(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None = None,
    wy: Tensor | None = None,
    *,
    max_pairs: int = 2**20,
) -> Tensor:
    """Return the median distance between two points of a pooled pair, over the whole batch.

    Row ``b`` of ``x`` and of ``y``, each with half the mass, are pooled; pairs of points are
    weighted by the product of their weights, and those that coincide are left out, so that
    repeating points changes nothing.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default.
    max_pairs
        Larger batches are thinned to about so many pairs: evenly spaced rows and points.

    Returns
    -------
    ``()``, in units of the features, without gradient; one where all points coincide.

    Raises
    ------
    ValueError
        If shapes or weights do not fit.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, y = torch.randn(2, 1, 100, 2, generator=torch.Generator().manual_seed(0))
    >>> 0.5 < scgde.distances.median_bandwidth(x, y).item() < 3.0
    True
    """
    x, y, wx, wy = as_measures(x, y, wx, wy)
    points, weights = torch.cat([x, y], 1), torch.cat([wx, wy], 1)
    kept_rows = -(-len(points) // 256)
    points, weights = points[::kept_rows], weights[::kept_rows]
    n_points = int((max_pairs / max(len(points), 1)) ** 0.5)
    points, weights = _thinned(points, weights, max(n_points, 2))
    distances = pairwise_distances(points, points)
    mass = weights[:, :, None] * weights[:, None, :]
    counted = (distances > 0) & (mass > 0)
    if not counted.any():
        return torch.ones((), dtype=x.dtype, device=x.device)
    distances, order = distances[counted].sort()
    cumulative = mass[counted][order].double().cumsum(0)
    # A rounding error short of one half, or the median of two equal halves would be either.
    half = cumulative[-1:] * (0.5 - 1e-9)
    return distances[torch.searchsorted(cumulative, half)[0]]


def _thinned(points: Tensor, weights: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Return at most ``limit`` evenly spaced points with weight of each row."""
    present = weights > 0
    n = present.sum(1, keepdim=True)
    size = min(limit, int(n.max()))
    step = (n / size).clamp_min(1.0)
    place = (torch.arange(size, device=points.device) * step).long()
    index = present.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    index = index.gather(1, place.clamp(max=weights.shape[1] - 1))
    kept = weights.gather(1, index).masked_fill(place >= n, 0)
    return points.gather(1, index[..., None].expand(-1, -1, points.shape[-1])), kept
