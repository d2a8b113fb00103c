from __future__ import annotations

import torch
from torch import Tensor

from .._errors import require_counts
from ._measure import exact_measures, pairwise_distances, rows_of


def knn_divergence(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None = None,
    wy: Tensor | None = None,
    *,
    k: int = 25,
) -> Tensor:
    r"""Return the symmetric Kullback-Leibler divergence by nearest neighbours, as GloScope does.

    .. math:: KL(P \| Q) + KL(Q \| P), \quad
        KL(P \| Q) = \sum_i w_i (\log \hat p(x_i) - \log \hat q(x_i))

    A log density is ``log(mass within the radius) - d log(radius)``. The radius is the least that
    holds a mass of ``k / n_eff`` of the other sample, or ``k / (n_eff - 1)`` of the point's own
    without the point, with ``n_eff = 1 / sum_i w_i^2``. With uniform weights this is
    ``d / n sum_i log(s_i / r_i) + log(m / (n - 1))`` of Wang, Kulkarni & Verdu 2009, which GloScope
    uses (Wang et al. 2024, Genome Biology). Not zero of a sample with itself, below zero at times,
    and biased in many dimensions: use it on a few principal components. Not differentiable.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default.
    k
        Neighbours; fewer than the points of either sample.

    Returns
    -------
    ``(B,)``, in nats.

    Raises
    ------
    ValueError
        If shapes or weights do not fit, or ``k`` is not below the effective size of a sample.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, y = torch.randn(2, 1, 100, 2, generator=torch.Generator().manual_seed(0))
    >>> bool(scgde.distances.knn_divergence(x, y + 3.0) > scgde.distances.knn_divergence(x, y))
    True
    """
    require_counts(k=k)
    values = [
        _divergence(xb, yb, a, b, k) + _divergence(yb, xb, b, a, k)
        for xb, yb, a, b in rows_of(*exact_measures(x, y, wx, wy))
    ]
    return torch.tensor(values, dtype=torch.float64, device=x.device)


def _divergence(x: Tensor, y: Tensor, wx: Tensor, wy: Tensor, k: int) -> float:
    own_radius, own_mass = _neighbourhood(x, x, wx, k, own=True)
    radius, mass = _neighbourhood(x, y, wy, k, own=False)
    # Where points coincide the density is infinite; the radius is kept a millionth of the largest.
    least = 1e-6 * torch.maximum(own_radius, radius).max().clamp_min(1e-300)
    ratio = radius.clamp_min(least).log() - own_radius.clamp_min(least).log()
    return (wx @ (own_mass.log() - mass.log() + x.shape[1] * ratio)).item()


def _neighbourhood(
    x: Tensor, y: Tensor, w: Tensor, k: int, *, own: bool, chunk: int = 1024
) -> tuple[Tensor, Tensor]:
    """Return the radius about each ``x`` that holds the mass of ``k`` points of ``y``, and it."""
    effective = 1 / w.square().sum().item()
    if k > effective - 1 + 1e-6:
        raise ValueError(
            f"k={k} neighbours need more than {k} points in each sample; one has {len(w)} with "
            f"weight, worth {effective:.1f} of equal weight. Lower k."
        )
    # A little less, as masses that should equal it are sums and come out rounded.
    needed = k / (effective - own) * (1 - 1e-6)
    # So many points have the mass, even the lightest ones; and one more, the point itself.
    lightest = w.sort().values.cumsum(0)
    within = min(int(torch.searchsorted(lightest, needed)) + 1 + own, len(w))
    radius, mass = torch.empty_like(x[:, 0]), torch.empty_like(x[:, 0])
    for start in range(0, len(x), chunk):
        rows = torch.arange(start, min(start + chunk, len(x)), device=x.device)
        distances = pairwise_distances(x[rows], y)
        masses = w.expand(len(rows), -1)
        if own:
            masses = masses.scatter(1, rows[:, None], 0) / (1 - w[rows, None])
        near, index = distances.topk(within, largest=False)
        cumulative = masses.gather(1, index).cumsum(1)
        place = torch.searchsorted(cumulative, torch.full_like(cumulative[:, :1], needed))
        place = place.clamp(max=within - 1)
        radius[rows] = near.gather(1, place)[:, 0]
        mass[rows] = cumulative.gather(1, place)[:, 0]
    return radius, mass
