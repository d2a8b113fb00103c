from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._errors import require_positive
from ._gaussian import gaussian_wasserstein
from ._measure import exact_measures, rows_of
from ._wasserstein import transport_cost


def mixture_wasserstein(
    weights_x: Tensor,
    means_x: Tensor,
    covs_x: Tensor,
    weights_y: Tensor,
    means_y: Tensor,
    covs_y: Tensor,
) -> Tensor:
    """Return the distance MW2 between Gaussian mixtures, which may differ in size.

    Least cost of moving components onto components at the squared W2 between them: transport whose
    plans are Gaussian mixtures themselves (Delon & Desolneux 2020, Prop. 4), hence an upper bound
    of W2. In double precision; not differentiable.

    Parameters
    ----------
    weights_x, weights_y
        Weights of components ``(B, K)`` and ``(B, L)`` that sum to one.
    means_x, means_y
        Their means ``(B, K, d)`` and ``(B, L, d)``.
    covs_x, covs_y
        Their covariances ``(B, K, d, d)`` and ``(B, L, d, d)``.

    Returns
    -------
    ``(B,)``, in units of the features: the root is taken.

    Raises
    ------
    ValueError
        If shapes or weights do not fit, or a covariance is none.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> one, mean, cov = torch.ones(1, 1), torch.zeros(1, 1, 2), torch.eye(2)[None, None]
    >>> scgde.distances.mixture_wasserstein(one, mean, cov, one, mean + 3.0, cov).round(decimals=2)
    tensor([4.2400], dtype=torch.float64)
    """
    means_x, means_y, weights_x, weights_y = exact_measures(
        means_x, means_y, weights_x, weights_y, ("means_x", "means_y", "weights_x", "weights_y")
    )
    n_batch, n_x, d = means_x.shape
    n_y = means_y.shape[1]
    for name, covs, k in (("covs_x", covs_x, n_x), ("covs_y", covs_y, n_y)):
        if covs.shape != (n_batch, k, d, d):
            raise ValueError(
                f"{name} must be {(n_batch, k, d, d)} as the means are {(n_batch, k, d)}, got "
                f"{tuple(covs.shape)}."
            )
    shape = (n_batch, n_x, n_y)
    cost = gaussian_wasserstein(
        means_x[:, :, None].expand(*shape, d).flatten(0, 2),
        covs_x[:, :, None].expand(*shape, d, d).flatten(0, 2),
        means_y[:, None].expand(*shape, d).flatten(0, 2),
        covs_y[:, None].expand(*shape, d, d).flatten(0, 2),
    ).square()
    values = [
        transport_cost(a, b, c)
        for a, b, c in zip(weights_x, weights_y, cost.unflatten(0, shape), strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64, device=means_x.device).sqrt()


def gmm_wasserstein(
    x: Tensor,
    y: Tensor,
    wx: Tensor | None = None,
    wy: Tensor | None = None,
    *,
    n_components: int = 3,
    seed: int = 0,
) -> Tensor:
    """Return :func:`mixture_wasserstein` of the mixtures that scikit-learn fits to samples.

    Each sample is fitted by itself, so the distance is symmetric. Not differentiable.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default. As scikit-learn
        takes none, points are repeated in proportion.
    n_components
        Components of each mixture.
    seed
        Seed of the fits.

    Returns
    -------
    ``(B,)``, in units of the features.

    Raises
    ------
    ValueError
        If shapes or weights do not fit, or a sample has fewer points than components.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, y = torch.randn(2, 1, 100, 2, generator=torch.Generator().manual_seed(0))
    >>> scgde.distances.gmm_wasserstein(x, y, n_components=2).shape
    torch.Size([1])
    """
    require_positive(n_components=n_components)
    mixtures = [
        (*_fitted("x", xb, wxb, n_components, seed), *_fitted("y", yb, wyb, n_components, seed))
        for xb, yb, wxb, wyb in rows_of(*exact_measures(x, y, wx, wy))
    ]
    parameters = (torch.from_numpy(np.stack(p)).to(x.device) for p in zip(*mixtures, strict=True))
    return mixture_wasserstein(*parameters)


def _fitted(name: str, x: Tensor, w: Tensor, n_components: int, seed: int) -> tuple:
    from sklearn.mixture import GaussianMixture

    if len(x) < n_components:
        raise ValueError(
            f"n_components={n_components} needs as many points: a row of {name} has {len(x)} with "
            "weight. Lower n_components."
        )
    x, w = x.cpu().numpy(), w.cpu().numpy()
    # The fit starts from random rows; sorted, it does not depend on the order of points.
    order = np.lexsort(x.T)
    fit = GaussianMixture(n_components, random_state=seed).fit(_repeated(x[order], w[order]))
    return fit.weights_, fit.means_, fit.covariances_


def _repeated(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Repeat points in proportion to their weights, by systematic resampling.

    Enough copies for one of the lightest point, up to eight times the points there are.
    """
    size = round(min(1 / w.min(), 8 * len(x)))
    levels = (np.arange(size) + 0.5) / size
    return x[np.searchsorted(w.cumsum(), levels).clip(max=len(x) - 1)]
