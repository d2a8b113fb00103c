from __future__ import annotations

import math

import torch
from torch import Tensor

from ._measure import exact_measures, pairwise_distances, rows_of


def wasserstein(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None = None,
    wy: Tensor | None = None,
    *,
    p: float = 2,
) -> Tensor:
    """Return the exact Wasserstein distance of weighted samples, by POT's network simplex.

    Rows are solved one by one in double precision, in about cubic time; not differentiable.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default.
    p
        Order, at least 1.

    Returns
    -------
    ``(B,)``, in units of the features: the root is taken.

    Raises
    ------
    ValueError
        If shapes or weights do not fit, or ``p`` is below 1.

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(1, 1, 2)
    >>> wasserstein(x, x + torch.tensor([3.0, 4.0])).item()
    5.0
    """
    if not 1 <= p < math.inf:
        raise ValueError(f"p={p!r} must be at least 1, and finite.")
    values = [
        transport_cost(a, b, pairwise_distances(xb, yb).pow(p))
        for xb, yb, a, b in rows_of(*exact_measures(x, y, wx, wy))
    ]
    return torch.tensor(values, dtype=torch.float64, device=x.device).pow(1 / p)


def transport_cost(a: Tensor, b: Tensor, cost: Tensor) -> float:
    """Return the least cost of moving masses ``(n,)`` to masses ``(m,)`` at costs ``(n, m)``."""
    import ot

    a, b, cost = (t.cpu().numpy() for t in (a, b, cost))
    value, log = ot.emd2(a, b, cost, numItermax=10_000_000, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"Optimal transport was not solved: {log['warning']}")
    return max(float(value), 0.0)
