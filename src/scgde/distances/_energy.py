from __future__ import annotations

from torch import Tensor

from ._kernel import kernel_discrepancy
from ._measure import power


def energy_distance(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None = None,
    wy: Tensor | None = None,
    *,
    beta: float = 1.0,
    unbiased: bool = False,
) -> Tensor:
    r"""Return the energy distance of weighted samples.

    .. math:: E = 2 E|X - Y|^\beta - E|X - X'|^\beta - E|Y - Y'|^\beta

    Zero if and only if the distributions are equal (Szekely & Rizzo 2013, Eq. 1.1). Means are over
    all pairs, a point with itself included (the V-statistic), so the distance is, up to
    rounding, never negative and depends on the empirical measures alone. Differentiable, also where
    points coincide.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default.
    beta
        Exponent between 0 and 2, both excluded: at 2 only the means would count.
    unbiased
        Leave out pairs of a point with itself (the U-statistic): right on average over draws, but
        below zero at times.

    Returns
    -------
    ``(B,)``, in units of the features to the power ``beta``.

    Raises
    ------
    ValueError
        If shapes, weights or ``beta`` do not fit, or ``unbiased`` is asked of a single point.

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(1, 1, 2)
    >>> energy_distance(x, x + torch.tensor([3.0, 4.0])).item()
    10.0
    """
    if not 0 < beta < 2:
        raise ValueError(f"beta={beta!r} must be between 0 and 2, both excluded.")
    return kernel_discrepancy(x, y, wx, wy, lambda d: -power(d, beta), unbiased=unbiased)
