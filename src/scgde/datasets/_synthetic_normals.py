"""Populations of multivariate normals, of low rank or mixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from anndata import AnnData

from .._errors import require_choice, require_counts, require_positive
from ._synthetic_adata import dirichlet, draw_labels, populations_adata

Covariance = Literal["inverse_wishart", "wishart"]


def multivariate_normal_populations(
    n_populations: int = 100,
    n_cells: int = 256,
    *,
    n_features: int = 5,
    covariance: Covariance = "inverse_wishart",
    scale: float = 1.0,
    seed: int = 0,
) -> AnnData:
    """Draw multivariate normals: means from U[0, 5], covariances from a Wishart prior.

    The GDE paper (arXiv 2505.18150) describes its Tables 5 and 6 as "Wishart" at scale 1 and 0.1;
    its public code draws the inverse. Use the default with ``scale=1.0`` for Table 5 and, the scale
    taken for a factor of the covariance, ``scale=0.1`` for Table 6.

    Parameters
    ----------
    n_populations, n_cells, n_features
        Populations, cells of each, features (at least 2).
    covariance
        Of ``W``, a Wishart draw with identity scale and 10 (d - 1) degrees of freedom:
        "inverse_wishart" is its inverse, on average ``I / (9 d - 11)``, so ``I / 34`` at d = 5;
        "wishart" is ``W`` divided by its degrees of freedom, on average ``I``.
    scale
        Factor of the covariance in both cases.
    seed
        Seed of parameters, then of cells: more cells keep the parameters.

    Returns
    -------
    AnnData, population by population. ``.obs``: "population", "mean_0" and so on (up to 10
    features). ``.uns["truth"]``: "population", "mean" ``(P, d)``, "covariance" ``(P, d, d)``.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number above zero, ``n_features`` is 1, ``covariance`` is no such word
        or ``scale`` is not positive.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.multivariate_normal_populations(3, 10)
    >>> adata.shape, adata.uns["truth"]["covariance"].shape
    ((30, 5), (3, 5, 5))
    """
    require_counts(n_populations=n_populations, n_cells=n_cells)
    rng = np.random.default_rng(seed)
    mean, cov = _normal_parameters(rng, (n_populations,), n_features, covariance, scale)
    noise = rng.standard_normal((n_populations, n_cells, n_features))
    return populations_adata(_normal_cells(mean, cov, noise), {"mean": mean, "covariance": cov})


def gaussian_mixture_populations(
    n_populations: int = 100,
    n_cells: int = 256,
    *,
    n_features: int = 5,
    n_components: int = 3,
    concentration: float | Sequence[float] = 1.0,
    covariance: Covariance = "inverse_wishart",
    scale: float = 1.0,
    seed: int = 0,
) -> AnnData:
    """Draw mixtures of normals, each as in :func:`multivariate_normal_populations`.

    Parameters
    ----------
    n_populations, n_cells, n_features
        Populations, cells of each, features (at least 2).
    n_components
        Normals in each population; no two populations share one.
    concentration
        Of the Dirichlet distribution of their weights, one number or one for each component.
    covariance, scale
        As in :func:`multivariate_normal_populations`.
    seed
        Seed of parameters, then of cells: more cells keep the parameters.

    Returns
    -------
    AnnData, population by population. ``.obs``: "population", "component" (which a cell is of),
    "weight_0" and so on (up to 10 components). ``.uns["truth"]``: "population", "weight"
    ``(P, k)``, "mean" ``(P, k, d)``, "covariance" ``(P, k, d, d)``.

    Raises
    ------
    TypeError, ValueError
        As :func:`multivariate_normal_populations`, or if ``concentration`` does not fit.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.gaussian_mixture_populations(3, 10)
    >>> adata.shape, adata.uns["truth"]["mean"].shape
    ((30, 5), (3, 3, 5))
    """
    require_counts(n_populations=n_populations, n_cells=n_cells, n_components=n_components)
    rng = np.random.default_rng(seed)
    weight = dirichlet(rng, concentration, n_components, n_populations)
    mean, cov = _normal_parameters(
        rng, (n_populations, n_components), n_features, covariance, scale
    )
    component = draw_labels(rng, weight, n_cells)
    noise = rng.standard_normal((n_populations, n_cells, n_features))
    cells = np.empty_like(noise)
    # All cells by one component at a time: a covariance for each cell would not fit in memory.
    for k in range(n_components):
        here = component == k
        cells[here] = _normal_cells(mean[:, k], cov[:, k], noise)[here]
    truth = {"weight": weight, "mean": mean, "covariance": cov}
    return populations_adata(cells, truth, {"component": component.ravel()})


def low_rank_populations(
    n_populations: int = 100,
    n_cells: int = 256,
    *,
    n_features: int = 50,
    rank: int = 2,
    noise: float = 0.1,
    seed: int = 0,
) -> AnnData:
    """Draw normals that vary in few directions: ``mean + loadings @ u + noise * e``.

    ``u`` and ``e`` are standard normal. Means come from U[0, 5], loadings from N(0, 1 / rank), so
    that the variance of a feature is ``1 + noise**2`` on average.

    Parameters
    ----------
    n_populations, n_cells, n_features
        Populations, cells of each, features.
    rank
        Directions, those of each population its own; at most ``n_features``.
    noise
        Standard deviation of what is added to every feature, zero or more.
    seed
        Seed of parameters, then of cells: more cells keep the parameters.

    Returns
    -------
    AnnData, population by population. ``.obs``: "population", "noise". ``.uns["truth"]``:
    "population", "mean" ``(P, d)``, "loadings" ``(P, d, rank)``, "noise" ``(P,)``; the covariance
    is ``loadings @ loadings.T + noise**2 I``.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number above zero, ``rank`` is above ``n_features`` or ``noise`` is
        below zero.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.low_rank_populations(3, 10, n_features=6)
    >>> adata.shape, adata.uns["truth"]["loadings"].shape
    ((30, 6), (3, 6, 2))
    """
    require_counts(n_populations=n_populations, n_cells=n_cells, n_features=n_features, rank=rank)
    if rank > n_features:
        raise ValueError(f"rank={rank} must be at most n_features={n_features}.")
    if not noise >= 0:
        raise ValueError(f"noise={noise!r} must be zero or more.")
    rng = np.random.default_rng(seed)
    mean = rng.uniform(0, 5, (n_populations, n_features))
    loadings = rng.normal(0, rank**-0.5, (n_populations, n_features, rank))
    # In single precision, as cells are returned: with many features they are large.
    cells = rng.standard_normal((n_populations, n_cells, rank), dtype=np.float32)
    cells = cells @ loadings.swapaxes(1, 2).astype(np.float32)
    cells += mean[:, None].astype(np.float32)
    cells += np.float32(noise) * rng.standard_normal(cells.shape, dtype=np.float32)
    truth = {"mean": mean, "loadings": loadings, "noise": np.full(n_populations, float(noise))}
    return populations_adata(cells, truth)


def _normal_parameters(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    n_features: int,
    covariance: str,
    scale: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return means ``(*shape, d)`` and covariances ``(*shape, d, d)``."""
    from scipy.stats import invwishart, wishart

    require_counts(n_features=n_features)
    if n_features < 2:
        raise ValueError(
            "n_features=1 leaves the Wishart prior no degrees of freedom: use normal_populations."
        )
    require_choice("covariance", covariance, ["inverse_wishart", "wishart"])
    require_positive(scale=scale)
    mean = rng.uniform(0, 5, (*shape, n_features))
    dof = 10 * (n_features - 1)
    prior = invwishart if covariance == "inverse_wishart" else wishart
    cov = prior.rvs(dof, np.eye(n_features), size=int(np.prod(shape)), random_state=rng)
    cov = scale * cov.reshape(*shape, n_features, n_features)
    return mean, cov / dof if covariance == "wishart" else cov


def _normal_cells(mean: np.ndarray, cov: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return cells ``(P, n_cells, d)`` of means ``(P, d)`` from standard normal ``noise``."""
    return mean[:, None] + noise @ np.linalg.cholesky(cov).swapaxes(1, 2)
