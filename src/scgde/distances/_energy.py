from __future__ import annotations

import torch
from torch import Tensor


def energy_distance(
    x: Tensor, y: Tensor, wx: Tensor | None = None, wy: Tensor | None = None
) -> Tensor:
    r"""Return the energy distance of weighted samples.

    .. math:: E = 2 E|X - Y| - E|X - X'| - E|Y - Y'|

    Zero if and only if the distributions are equal (Szekely & Rizzo 2013, Eq. 1.1). Means are over
    all pairs, a point with itself included (the V-statistic), so the distance is never negative
    and depends on the empirical measures alone.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default.

    Returns
    -------
    ``(B,)``, in units of the features.

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(1, 1, 2)
    >>> energy_distance(x, x + torch.tensor([3.0, 4.0])).item()
    10.0
    """
    if x.ndim != 3 or y.ndim != 3 or x.shape[::2] != y.shape[::2]:
        raise ValueError(
            f"x and y must be (B, n, d) and (B, m, d), got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    wx = (
        torch.full(x.shape[:2], 1 / x.shape[1], dtype=x.dtype, device=x.device)
        if wx is None
        else wx
    )
    wy = (
        torch.full(y.shape[:2], 1 / y.shape[1], dtype=y.dtype, device=y.device)
        if wy is None
        else wy
    )
    return (
        2 * _mean_distance(x, y, wx, wy)
        - _mean_distance(x, x, wx, wx)
        - _mean_distance(y, y, wy, wy)
    )


def _mean_distance(x: Tensor, y: Tensor, wx: Tensor, wy: Tensor, chunk: int = 2048) -> Tensor:
    # Exact differences rather than the expanded square, which loses small distances in float32.
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for i in range(0, x.shape[1], chunk):
        for j in range(0, y.shape[1], chunk):
            d = torch.cdist(
                x[:, i : i + chunk],
                y[:, j : j + chunk],
                compute_mode="donot_use_mm_for_euclid_dist",
            )
            total = total + torch.einsum(
                "bi,bij,bj->b", wx[:, i : i + chunk], d, wy[:, j : j + chunk]
            )
    return total
