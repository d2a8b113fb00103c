from __future__ import annotations

import torch
from torch import Tensor

from ._measure import exact_measures


def gaussian_wasserstein(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> Tensor:
    r"""Return the Wasserstein distance W2 between normal distributions.

    .. math:: W_2^2 = |\mu_1 - \mu_2|^2
        + \mathrm{tr}(S_1 + S_2 - 2 (S_1^{1/2} S_2 S_1^{1/2})^{1/2})

    (Dowson & Landau 1982), in double precision; not differentiable.

    Parameters
    ----------
    mean_x, mean_y
        Means ``(B, d)``.
    cov_x, cov_y
        Covariances ``(B, d, d)``; singular ones are fine.

    Returns
    -------
    ``(B,)``, in units of the features: the root is taken.

    Raises
    ------
    ValueError
        If shapes do not fit, or a covariance is not symmetric or has negative eigenvalues.

    Examples
    --------
    >>> import torch
    >>> mean, cov = torch.zeros(1, 1), torch.ones(1, 1, 1)
    >>> gaussian_wasserstein(mean, cov, mean + 3, 25 * cov).item()
    5.0
    """
    shift, bures = _squared_parts(mean_x, cov_x, mean_y, cov_y)
    return (shift + bures).sqrt()


def published_gaussian_wasserstein(
    mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor
) -> Tensor:
    r"""Return what the GDE paper's public code calls W2: :math:`|\mu_1 - \mu_2| + Bures^2`.

    The first term is not squared and no root is taken, so it is no distance and its units are
    mixed. It exists only to compare with Tables 5 and 6 of the paper (arXiv 2505.18150); the
    distance is :func:`gaussian_wasserstein`, which has the same parameters and errors.

    Parameters
    ----------
    mean_x, mean_y
        Means ``(B, d)``.
    cov_x, cov_y
        Covariances ``(B, d, d)``.

    Returns
    -------
    ``(B,)``.

    Examples
    --------
    >>> import torch
    >>> mean, cov = torch.zeros(1, 1), torch.ones(1, 1, 1)
    >>> published_gaussian_wasserstein(mean, cov, mean + 3, 25 * cov).item()
    19.0
    """
    shift, bures = _squared_parts(mean_x, cov_x, mean_y, cov_y)
    return shift.sqrt() + bures


def bures_wasserstein(
    x: Tensor, y: Tensor, wx: Tensor | None = None, wy: Tensor | None = None
) -> Tensor:
    """Return :func:`gaussian_wasserstein` of the samples' weighted means and covariances.

    A lower bound of :func:`wasserstein`; it sees no more than two moments. Not differentiable.

    Parameters
    ----------
    x, y
        Samples ``(B, n, d)`` and ``(B, m, d)``; sizes may differ.
    wx, wy
        Weights ``(B, n)`` and ``(B, m)`` that sum to one; uniform by default.

    Returns
    -------
    ``(B,)``, in units of the features.

    Raises
    ------
    ValueError
        If shapes or weights do not fit.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, y = torch.randn(2, 1, 100, 2, generator=torch.Generator().manual_seed(0))
    >>> distance = scgde.distances.bures_wasserstein(x, y + 3.0)  # 3 along both axes
    >>> distance.shape, bool(abs(distance - 18**0.5) < 0.5)
    (torch.Size([1]), True)
    """
    x, y, wx, wy = exact_measures(x, y, wx, wy)
    if x.shape[1] * y.shape[1] > x.shape[2] ** 2:
        return gaussian_wasserstein(*_moments(x, wx), *_moments(y, wy))
    # With fewer points than features: S1 = A'A and S2 = B'B, and the trace of the root is the
    # nuclear norm of AB', a matrix of points x points.
    (mean_x, a), (mean_y, b) = _centred(x, wx), _centred(y, wy)
    cross = torch.linalg.svdvals(a @ b.mT).sum(-1)
    spread = a.square().sum((1, 2)) + b.square().sum((1, 2)) - 2 * cross
    return ((mean_x - mean_y).square().sum(-1) + spread.clamp_min(0)).sqrt()


def _centred(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean ``(B, d)`` and centred points times the root of their weights."""
    mean = torch.einsum("bn,bnd->bd", w, x)
    return mean, (x - mean[:, None]) * w.sqrt()[..., None]


def _moments(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    mean, a = _centred(x, w)
    return mean, a.mT @ a


def _squared_parts(
    mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``|mu1 - mu2|^2`` and the squared Bures distance of the covariances, ``(B,)`` each."""
    if mean_x.ndim != 2 or mean_x.shape != mean_y.shape:
        raise ValueError(
            f"mean_x and mean_y must be (B, d) both, got {tuple(mean_x.shape)} and "
            f"{tuple(mean_y.shape)}."
        )
    for name, cov in (("cov_x", cov_x), ("cov_y", cov_y)):
        if cov.shape != (*mean_x.shape, mean_x.shape[1]):
            raise ValueError(
                f"{name} must be {(*mean_x.shape, mean_x.shape[1])} as the means are "
                f"{tuple(mean_x.shape)}, got {tuple(cov.shape)}."
            )
    mean_x, cov_x, mean_y, cov_y = (t.detach().double() for t in (mean_x, cov_x, mean_y, cov_y))
    values, vectors = _eigh("cov_x", cov_x)
    _eigh("cov_y", cov_y)
    root = (vectors * values.sqrt()[:, None]) @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp_min(0).sqrt().sum(-1)
    trace = torch.einsum("bii->b", cov_x) + torch.einsum("bii->b", cov_y)
    return (mean_x - mean_y).square().sum(-1), (trace - 2 * cross).clamp_min(0)


def _eigh(name: str, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, those below zero by rounding set to zero, and eigenvectors."""
    scale = cov.abs().amax((1, 2), keepdim=True)
    if not ((cov - cov.mT).abs() <= 1e-5 * scale).all():
        raise ValueError(
            f"{name} must be symmetric and finite: pass (C + C.mT) / 2 if it nearly is."
        )
    values, vectors = torch.linalg.eigh(cov)
    if (values < -1e-5 * scale[..., 0]).any():
        raise ValueError(
            f"{name} is no covariance: its least eigenvalue is {values.min().item():.3g}, below "
            "zero."
        )
    return values.clamp_min(0), vectors
