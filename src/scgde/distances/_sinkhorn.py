from __future__ import annotations

import io
import math
from contextlib import redirect_stdout

import torch
from torch import Tensor

from .._errors import require_positive
from ._measure import as_measures, pairwise_distances


def sinkhorn_divergence(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None = None,
    wy: Tensor | None = None,
    *,
    blur: float = 0.05,
    scaling: float = 0.5,
) -> Tensor:
    r"""Return the debiased Sinkhorn divergence of weighted samples, an approximation of W2^2.

    .. math:: S = OT_\epsilon(X, Y) - OT_\epsilon(X, X) / 2 - OT_\epsilon(Y, Y) / 2

    (Feydy et al. 2019, Eq. 3), by geomloss. Its cost is :math:`|x - y|^2 / 2`; twice its value is
    returned, so that the limit for ``blur`` to 0 is the squared Wasserstein distance.
    Differentiable: the gradient is that of the converged value. Memory is B x n x m.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default.
    blur
        Finest length that counts, the root of :math:`\epsilon`, in units of the features.
    scaling
        Between 0 and 1: ratio of successive lengths in the descent to ``blur``. Nearer one is
        more exact and slower: the descent is not run to convergence.

    Returns
    -------
    ``(B,)``, in squared units of the features.

    Raises
    ------
    ValueError
        If shapes or weights do not fit, ``blur`` is not positive or ``scaling`` is not between 0
        and 1.

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(1, 4, 2)
    >>> round(sinkhorn_divergence(x, x + 1.0).item(), 4)
    2.0
    """
    require_positive(blur=blur)
    if not 0 < scaling < 1:
        raise ValueError(f"scaling={scaling!r} must be between 0 and 1, both excluded.")
    x, y, wx, wy = as_measures(x, y, wx, wy)
    x, y = _without_strays(x, wx), _without_strays(y, wy)
    loss = _samples_loss()(
        "sinkhorn",
        p=2,
        blur=blur,
        scaling=scaling,
        diameter=_diameter(x, y, blur, scaling),
        cost=lambda a, b: pairwise_distances(a, b).square() / 2,
        debias=True,
        backend="tensorized",
    )
    # geomloss leaves gradients switched on.
    with torch.set_grad_enabled(torch.is_grad_enabled()):
        value = 2 * loss(wx, x, wy, y)
    return value if torch.is_grad_enabled() else value.detach()


def _samples_loss() -> type:
    # geomloss imports KeOps where it is installed, which prints; nothing here needs it.
    with redirect_stdout(io.StringIO()):
        from geomloss import SamplesLoss
    return SamplesLoss


def _without_strays(x: Tensor, w: Tensor) -> Tensor:
    """Move points of weight zero onto the heaviest one.

    geomloss takes log 0 for -1e5, which a point far away in units of ``blur ** 2`` exceeds.
    """
    heaviest = w.argmax(1)[:, None, None].expand(-1, 1, x.shape[-1])
    return torch.where(w[..., None] > 0, x, x.gather(1, heaviest).detach())


def _diameter(x: Tensor, y: Tensor, blur: float, scaling: float) -> float:
    """Return where the descent starts: a whole number of steps above ``blur``.

    Rounded up like this, a row's value hardly depends on the width of the batch's other rows.
    """
    pooled = torch.cat([x.detach(), y.detach()], 1)
    width = (pooled.amax(1) - pooled.amin(1)).norm(dim=-1).max().item()
    steps = math.ceil(math.log(max(width / blur, 1.0)) / -math.log(scaling))
    # Slightly more, or rounding would decide whether the last step is made twice.
    return blur * scaling**-steps * (1 + 1e-6)
