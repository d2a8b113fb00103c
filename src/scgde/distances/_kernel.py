"""Squared distances between kernel means, of which energy distance and MMD are cases."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ._measure import as_measures, pairwise_distances

_MOST_PAIRS = 1 << 22

Kernel = Callable[[Tensor], Tensor]


def kernel_discrepancy(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None,
    wy: Tensor | None,
    kernel: Kernel,
    *,
    unbiased: bool,
) -> Tensor:
    """Return ``E k(X, X') + E k(Y, Y') - 2 E k(X, Y)``, ``(B,)``, of a kernel of distances.

    ``unbiased`` leaves out pairs of a point with itself: ``sum_{i != j} w_i w_j k_ij`` divided by
    ``1 - sum_i w_i^2``.

    Raises
    ------
    ValueError
        If shapes or weights do not fit, or ``unbiased`` is asked of a single point.
    """
    x, y, wx, wy = as_measures(x, y, wx, wy)
    cross = _mean(x, y, wx, wy, kernel)
    self_x, self_y = _mean(x, x, wx, wx, kernel), _mean(y, y, wy, wy, kernel)
    if unbiased:
        at_zero = kernel(torch.zeros((), dtype=x.dtype, device=x.device))
        self_x = _without_diagonal("x", self_x, wx, at_zero)
        self_y = _without_diagonal("y", self_y, wy, at_zero)
    return self_x + self_y - 2 * cross


def _mean(x: Tensor, y: Tensor, wx: Tensor, wy: Tensor, kernel: Kernel) -> Tensor:
    # Matrices of pairs are worked on piece by piece (with a gradient all pieces are kept).
    chunk = max(64, math.isqrt(_MOST_PAIRS // max(len(x), 1)))
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for i in range(0, x.shape[1], chunk):
        for j in range(0, y.shape[1], chunk):
            k = kernel(pairwise_distances(x[:, i : i + chunk], y[:, j : j + chunk]))
            total = total + torch.einsum(
                "bi,bij,bj->b", wx[:, i : i + chunk], k, wy[:, j : j + chunk]
            )
    return total


def _without_diagonal(name: str, mean: Tensor, w: Tensor, at_zero: Tensor) -> Tensor:
    same = w.square().sum(1)
    if (same > 1 - 1e-6).any():
        raise ValueError(
            f"unbiased=True needs at least two points with weight in each row of {name}; pass "
            "unbiased=False."
        )
    return (mean - at_zero * same) / (1 - same)
