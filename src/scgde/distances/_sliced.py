from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .._errors import require_counts
from ._measure import as_measures, power


def sliced_wasserstein(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None = None,
    wy: Tensor | None = None,
    *,
    n_projections: int = 100,
    p: float = 2,
    generator: torch.Generator | None = None,
    root: bool = True,
) -> Tensor:
    r"""Return the sliced Wasserstein distance of weighted samples.

    .. math:: SW_p = \left( \frac1L \sum_l W_p^p(\theta_l^T X, \theta_l^T Y) \right)^{1/p}

    over random unit directions :math:`\theta_l` (Bonneel et al. 2015). In one dimension transport
    is exact: quantile functions are compared at the levels of both. Differentiable.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default.
    n_projections
        Number of directions, the same for all rows.
    p
        Order, at least 1.
    generator
        Where directions come from; by default the same ones at every call.
    root
        False returns ``SW_p ** p``, which is smooth at zero: the better loss.

    Returns
    -------
    ``(B,)``, in units of the features (to the power ``p`` without the root).

    Raises
    ------
    ValueError
        If shapes or weights do not fit, ``p`` is below 1 or ``n_projections`` is not positive.

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(1, 5, 1)
    >>> sliced_wasserstein(x, x + 3).item()
    3.0
    """
    require_counts(n_projections=n_projections)
    if not p >= 1:
        raise ValueError(f"p={p!r} must be at least 1.")
    uniform = wx is None and wy is None
    x, y, wx, wy = as_measures(x, y, wx, wy)
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    directions = torch.randn(
        n_projections, x.shape[-1], generator=generator, device=generator.device
    )
    directions = F.normalize(directions.double(), dim=1).to(x)
    px, order_x = (x @ directions.T).mT.sort(-1)
    py, order_y = (y @ directions.T).mT.sort(-1)
    if uniform and px.shape == py.shape:
        cost = (px - py).abs().pow(p).mean((1, 2))
    else:
        cost = _quantile_cost(px, py, _sorted(wx, order_x), _sorted(wy, order_y), p).mean(1)
    return power(cost, 1 / p) if root else cost


def _sorted(w: Tensor, order: Tensor) -> Tensor:
    return w[:, None].expand(order.shape).gather(-1, order)


def _quantile_cost(px: Tensor, py: Tensor, wx: Tensor, wy: Tensor, p: float) -> Tensor:
    # Divided by their last value the levels end at exactly one, wherever rounding led.
    wx, wy = wx.cumsum(-1), wy.cumsum(-1)
    wx, wy = wx / wx[..., -1:], wy / wy[..., -1:]
    levels = torch.cat([wx, wy], -1).sort(-1).values
    qx = px.gather(-1, torch.searchsorted(wx, levels))
    qy = py.gather(-1, torch.searchsorted(wy, levels))
    widths = levels.diff(dim=-1, prepend=torch.zeros_like(levels[..., :1]))
    return (widths * (qx - qy).abs().pow(p)).sum(-1)
