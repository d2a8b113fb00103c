"""Neighbour estimators and parallel analysis of one population, with intervals and nulls."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

from ..metrics import SubsampledEstimate, levels_above_null, subsampled_estimate
from ..metrics._dimension_consensus import consensus_values
from ..metrics._local_dimension import linear_dimension
from ._intrinsic_dimension_cells import DimensionCells

N_DRAWS = 4  # of N cells, in populations of more


class LocalDimension(NamedTuple):
    """Consensus and, after it, every estimator, of one population.

    ``estimate``, each ``(1 + n_methods,)``; ``null (3, 1 + n_methods)``: mean on nulls and the 95 %
    range of one more null, NaN without. Both are at most the number of linear dimensions that the
    cells span. ``against_null``: -1, 0 or 1 where the consensus is below, within or above that
    range, before both were held to that number; None without nulls. ``above_noise``: leading
    principal components above the null; None where there is nothing to count.
    """

    estimate: SubsampledEstimate
    null: np.ndarray
    against_null: int | None
    above_noise: SubsampledEstimate | None


def local_dimensions(
    cells: DimensionCells,
    n_cells: int,
    methods: tuple[str, ...],
    n_nulls: int,
    n_subsamples: int,
    seed: int,
    *,
    count_above_noise: bool,
) -> LocalDimension:
    """Estimate one population's dimensions at ``n_cells`` cells."""

    def consensus(x: np.ndarray) -> np.ndarray:
        return consensus_values(cells.reduced(x), methods)

    def subsampled(statistic: Callable[[np.ndarray], np.ndarray]) -> SubsampledEstimate:
        every = np.arange(len(cells))
        return subsampled_estimate(
            lambda rows: statistic(cells.values(rows)),
            every,
            n_cells,
            n_subsamples=n_subsamples,
            n_draws=N_DRAWS,
            seed=seed,
        )

    rng = np.random.default_rng(seed)
    found = subsampled(consensus)
    capped = SubsampledEstimate(*(values[0] for values in found[:4]), found.share)
    if not n_nulls:
        return LocalDimension(capped, np.full((3, 1 + len(methods)), np.nan), None, None)
    null, span = _null_range(cells, n_cells, consensus, n_nulls, rng)
    uncapped = found.estimate[1, 0]
    against_null = int(uncapped > null[2, 0]) - int(uncapped < null[1, 0])
    parallel = _ParallelAnalysis(cells, n_nulls, rng)
    above_noise = subsampled(parallel) if count_above_noise else None
    return LocalDimension(capped, np.minimum(null, span), against_null, above_noise)


def _null_range(
    cells: DimensionCells,
    n_cells: int,
    consensus: Callable[[np.ndarray], np.ndarray],
    n_nulls: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, int]:
    """Return mean and 95 % range ``(3, 1 + n_methods)``, not capped, and what nulls span."""
    values, spans = [], []
    for _ in range(n_nulls):
        x = cells.null(n_cells, rng)
        values.append(consensus(x)[1])
        spans.append(spanned(cells, x))
    mean, sd = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
    half = student_t.ppf(0.975, n_nulls - 1) * sd * np.sqrt(1 + 1 / n_nulls)
    return np.stack([mean, mean - half, mean + half]), max(spans)


def spanned(cells: DimensionCells, x: np.ndarray) -> int:
    """Return how many linear dimensions cells ``(n, p)`` span, as estimates are made on them."""
    components = cells.reduced(x)
    return linear_dimension(components - components.mean(0))


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
