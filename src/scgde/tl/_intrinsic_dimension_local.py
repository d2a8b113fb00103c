"""Neighbour estimators and parallel analysis of one population, with intervals and nulls."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

from ..metrics import SubsampledEstimate, levels_above_null, subsampled_estimate
from ..metrics._dimension_consensus import consensus_values
from ._intrinsic_dimension_cells import DimensionCells


class LocalDimension(NamedTuple):
    """Consensus and, after it, every estimator, ``(1 + n_methods,)`` each, of one population.

    ``null (3, 1 + n_methods)``: mean on nulls, and the 95 % range of one more null; NaN without.
    ``above_noise``: leading principal components above the null, a number each; None without.
    """

    estimate: SubsampledEstimate
    null: np.ndarray
    above_noise: SubsampledEstimate | None


def local_dimensions(
    cells: DimensionCells,
    n_cells: int,
    methods: tuple[str, ...],
    n_nulls: int,
    n_subsamples: int,
    seed: int,
) -> LocalDimension:
    """Estimate one population's dimensions at ``n_cells`` cells."""

    def consensus(x: np.ndarray) -> np.ndarray:
        return consensus_values(cells.reduced(x), methods)

    rng = np.random.default_rng(seed)
    estimate = subsampled_estimate(
        consensus, cells.values, n_cells, n_subsamples=n_subsamples, seed=seed
    )
    if not n_nulls:
        return LocalDimension(estimate, np.full((3, 1 + len(methods)), np.nan), None)
    nulls = np.array([consensus(cells.null(n_cells, rng)) for _ in range(n_nulls)])
    half = student_t.ppf(0.975, n_nulls - 1) * nulls.std(0, ddof=1) * np.sqrt(1 + 1 / n_nulls)
    mean = nulls.mean(0)
    parallel = _ParallelAnalysis(cells, n_nulls, rng)
    above_noise = subsampled_estimate(
        parallel, cells.values, n_cells, n_subsamples=n_subsamples, seed=seed
    )
    return LocalDimension(estimate, np.stack([mean, mean - half, mean + half]), above_noise)


class _ParallelAnalysis:
    """How many leading principal components have more variance than without dependence."""

    def __init__(self, cells: DimensionCells, n_nulls: int, rng: np.random.Generator):
        self.cells, self.n_nulls, self.rng = cells, n_nulls, rng
        self.nulls: dict[int, np.ndarray] = {}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        n = len(x)
        if n not in self.nulls:
            self.nulls[n] = np.array(
                [_variances(self.cells.null(n, self.rng)) for _ in range(self.n_nulls)]
            )
        return np.float64(levels_above_null(_variances(x), self.nulls[n]))


def _variances(x: np.ndarray) -> np.ndarray:
    """Return the variances of principal components, falling, without those that must be zero."""
    x = x - x.mean(0)
    products = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    values = np.linalg.eigvalsh(products)[::-1] / (len(x) - 1)
    return values[: min(len(x) - 1, x.shape[1])]
