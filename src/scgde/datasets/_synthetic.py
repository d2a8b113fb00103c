"""Populations of one simple distribution each, drawn from a prior over its parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from anndata import AnnData

from .._errors import require_counts, require_positive
from ._synthetic_adata import dirichlet, populations_adata


def normal_populations(n_populations: int = 100, n_cells: int = 256, *, seed: int = 0) -> AnnData:
    """Draw univariate normals: means from U[0, 5], standard deviations from U[0.5, 2].

    Parameters
    ----------
    n_populations, n_cells
        Populations, and cells of each.
    seed
        Seed of parameters, then of cells: more cells keep the parameters.

    Returns
    -------
    AnnData of ``n_populations * n_cells`` cells, population by population. ``.obs``: "population",
    "mean", "sd". ``.uns["truth"]``: "population" (the names), "mean" and "sd" ``(P,)``.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number above zero.

    Examples
    --------
    >>> import scgde
    >>> scgde.datasets.normal_populations(10, 50).obs["population"].nunique()
    10
    """
    require_counts(n_populations=n_populations, n_cells=n_cells)
    rng = np.random.default_rng(seed)
    mean, sd = rng.uniform(0, 5, n_populations), rng.uniform(0.5, 2, n_populations)
    noise = rng.standard_normal((n_populations, n_cells, 1))
    return populations_adata(
        mean[:, None, None] + sd[:, None, None] * noise, {"mean": mean, "sd": sd}
    )


def poisson_populations(
    n_populations: int = 100,
    n_cells: int = 256,
    *,
    n_features: int = 5,
    max_rate: float = 10.0,
    seed: int = 0,
) -> AnnData:
    """Draw independent Poisson counts: the rate of each feature from U[0, max_rate].

    Parameters
    ----------
    n_populations, n_cells, n_features
        Populations, cells of each, counts of a cell.
    max_rate
        Upper end of the rates.
    seed
        Seed of parameters, then of cells: more cells keep the parameters.

    Returns
    -------
    AnnData of whole numbers, population by population. ``.obs``: "population", "rate_0" and so on
    (up to 10 features). ``.uns["truth"]``: "population" and "rate" ``(P, d)``.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number above zero, or ``max_rate`` is not positive.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.poisson_populations(3, 10)
    >>> adata.shape, adata.uns["truth"]["rate"].shape
    ((30, 5), (3, 5))
    """
    require_counts(n_populations=n_populations, n_cells=n_cells, n_features=n_features)
    require_positive(max_rate=max_rate)
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0, max_rate, (n_populations, n_features))
    counts = rng.poisson(rate[:, None], (n_populations, n_cells, n_features))
    return populations_adata(counts, {"rate": rate})


def multinomial_populations(
    n_populations: int = 100,
    n_cells: int = 256,
    *,
    n_categories: int = 3,
    n_trials: int = 20,
    concentration: float | Sequence[float] = 1.0,
    seed: int = 0,
) -> AnnData:
    """Draw multinomial counts: the probabilities from a Dirichlet distribution.

    Parameters
    ----------
    n_populations, n_cells, n_categories
        Populations, cells of each, counts of a cell.
    n_trials
        What the counts of a cell add up to.
    concentration
        Of the Dirichlet distribution, one number or one for each category.
    seed
        Seed of parameters, then of cells: more cells keep the parameters.

    Returns
    -------
    AnnData of whole numbers, population by population. ``.obs``: "population", "probability_0" and
    so on (up to 10 categories). ``.uns["truth"]``: "population" and "probability" ``(P, k)``.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number above zero, or ``concentration`` does not fit.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.multinomial_populations(3, 10)
    >>> adata.X.sum(1).max().item()
    20.0
    """
    require_counts(
        n_populations=n_populations, n_cells=n_cells, n_categories=n_categories, n_trials=n_trials
    )
    rng = np.random.default_rng(seed)
    probability = dirichlet(rng, concentration, n_categories, n_populations)
    counts = rng.multinomial(n_trials, probability[:, None], (n_populations, n_cells))
    return populations_adata(counts, {"probability": probability})
