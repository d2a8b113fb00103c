"""What all distances share: checks of weighted samples, their rows, exact pairwise distances."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

Measures = tuple[Tensor, Tensor, Tensor, Tensor]
_NAMES = ("x", "y", "wx", "wy")


def as_measures(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None,
    wy: Tensor | None,
    names: tuple[str, str, str, str] = _NAMES,
) -> Measures:
    """Check two batches of samples and return them with their weights, uniform by default.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, a sample is empty or not finite, or a row of weights has
        negative ones or does not sum to one; the message calls the arguments by ``names``.
    """
    if x.ndim != 3 or y.ndim != 3 or x.shape[::2] != y.shape[::2]:
        raise ValueError(
            f"{names[0]} and {names[1]} must be (B, n, d) and (B, m, d), got {tuple(x.shape)} and "
            f"{tuple(y.shape)}."
        )
    if x.dtype != y.dtype or not x.is_floating_point():
        raise ValueError(
            f"{names[0]} and {names[1]} must have one floating dtype, got {x.dtype} and {y.dtype}: "
            "pass .float() of them."
        )
    wx, wy = _weights(names[0], names[2], x, wx), _weights(names[1], names[3], y, wy)
    return _finite(names[0], x, wx), _finite(names[1], y, wy), wx, wy


def _finite(points: str, x: Tensor, w: Tensor) -> Tensor:
    """Return points, those without weight at the origin where they are no numbers."""
    wrong = ~x.isfinite().all(-1)
    if not wrong.any():
        return x
    if (wrong & (w > 0)).any():
        row = int((wrong & (w > 0)).any(1).float().argmax())
        raise ValueError(
            f"Row {row} of {points} has NaN or infinite points: remove them, or give them weight 0."
        )
    return x.masked_fill(wrong[..., None], 0.0)


def _weights(points: str, weights: str, x: Tensor, w: Tensor | None) -> Tensor:
    if not x.shape[1]:
        raise ValueError(f"{points} has no points, its shape is {tuple(x.shape)}: leave it out.")
    if w is None:
        return torch.full(x.shape[:2], 1 / x.shape[1], dtype=x.dtype, device=x.device)
    if w.shape != x.shape[:2]:
        raise ValueError(
            f"{weights} must be {tuple(x.shape[:2])}, one weight for each point of {points}, got "
            f"{tuple(w.shape)}."
        )
    if (w < 0).any():
        raise ValueError(
            f"{weights} has negative values, the least {w.min().item():.3g}: weights are zero or "
            "more."
        )
    off = (w.sum(1) - 1).abs()
    if not (off <= 1e-3).all():  # also where a weight is not a number
        row = int(off.nan_to_num(torch.inf).argmax())
        raise ValueError(
            f"Row {row} of {weights} sums to {w[row].sum().item():.4g}, not one: divide each row "
            "by its sum."
        )
    return w.to(x)


def exact_measures(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None,
    wy: Tensor | None,
    names: tuple[str, str, str, str] = _NAMES,
) -> Measures:
    """Do as :func:`as_measures`, in double precision, without gradient, sums exactly one."""
    x, y, wx, wy = as_measures(x.detach().double(), y.detach().double(), wx, wy, names)
    wx, wy = wx.detach(), wy.detach()
    return x, y, wx / wx.sum(1, keepdim=True), wy / wy.sum(1, keepdim=True)


def rows_of(x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Iterator[Measures]:
    """Yield the pairs of a batch one by one, ``(n, d), (m, d), (n,), (m,)``, weights above zero."""
    for xb, yb, wxb, wyb in zip(x, y, wx, wy, strict=True):
        yield xb[wxb > 0], yb[wyb > 0], wxb[wxb > 0], wyb[wyb > 0]


def pairwise_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return ``(..., n, m)`` Euclidean distances; their gradient where points coincide is zero."""
    # Exact differences rather than the expanded square, which loses small distances in float32.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def power(t: Tensor, exponent: float) -> Tensor:
    """Return ``t ** exponent`` of ``t >= 0``, with a zero gradient where ``t`` is zero."""
    if exponent >= 1:
        return t.pow(exponent)
    # Below one the slope at zero is infinite, and infinite times zero is not a number.
    zero = t < torch.finfo(t.dtype).tiny
    return t.masked_fill(zero, 1).pow(exponent).masked_fill(zero, 0)
