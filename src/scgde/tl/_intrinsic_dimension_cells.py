"""The cells of each population as their intrinsic dimension is estimated from them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from .._errors import listed, require_counts
from ..data import (
    CellsField,
    PopulationIndex,
    as_dense,
    as_keys,
    cells_of,
    group_cells,
    log_normalized,
)
from ..data._normalize import Matrix
from ..metrics._local_dimension import MIN_CELLS

SMALLEST = 2 * MIN_CELLS  # half of the cells make a subsample
_STRATUM = 10  # cells of similar total, among which genes are permuted


@dataclass(frozen=True)
class DimensionCells:
    """Cells of one population, each once, ``rows (n, p)``, as they are stored: sparse stay sparse.

    ``is_counts`` says that they are log-normalised before they are looked at. ``n_components`` is
    of the principal components that estimates are made on; 0 for the values as they are.
    """

    rows: Matrix
    is_counts: bool
    n_components: int

    def __len__(self) -> int:
        return self.rows.shape[0]

    def values(self, which: np.ndarray) -> np.ndarray:
        """Return the cells of these row numbers, ``(n, p)``."""
        x = as_dense(self.rows[which], np.float64)
        return log_normalized(x) if self.is_counts else x

    def draw(self, n_cells: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n_cells`` random cells, ``(n_cells, p)``."""
        return self.values(rng.permutation(len(self))[:n_cells])

    def null(self, n_cells: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n_cells`` cells, ``(n_cells, p)``, whose features are independent.

        Every feature is permuted across random cells; of counts, among cells of similar total, so
        that the depth of sequencing, which moves all genes of a cell, is in the null, too.
        """
        x = as_dense(self.rows[rng.permutation(len(self))[:n_cells]], np.float64)
        if not self.is_counts:
            return rng.permuted(x, axis=0)
        return _permuted_given_total(log_normalized(x), x.sum(1), rng)

    def reduced(self, values: np.ndarray) -> np.ndarray:
        """Return the components of these cells, ``(n, k)``.

        Their own: of few cells, components of the noise look larger than of many, so that what is
        fitted to more cells than are looked at would depend on how many there are.
        """
        return _scores(values, self.n_components) if self.n_components else values


def _permuted_given_total(x: np.ndarray, total: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return log-normalised cells ``(n, p)`` whose genes are independent but for the total.

    What every gene's regression on the log total says of a cell stays with it; the rest is permuted
    within strata of about ten cells in the order of totals. Without the regression, depth that
    differs within strata would still be missing, and count as a dimension.
    """
    depth = np.log(np.maximum(total, 1))
    depth = depth - depth.mean()
    trend = np.outer(depth, depth @ x) / max(depth @ depth, np.finfo(float).tiny)
    rest = x - trend
    order = np.argsort(total, kind="stable")
    for alike in np.array_split(order, max(len(x) // _STRATUM, 1)):
        rest[alike] = rng.permuted(rest[alike], axis=0)
    return trend + rest


def _scores(values: np.ndarray, n_components: int) -> np.ndarray:
    """Return principal component scores, from the smaller of the two tables of products."""
    centred = values - values.mean(0)
    wide = centred.shape[1] > len(centred)
    products = centred @ centred.T if wide else centred.T @ centred
    variance, vectors = np.linalg.eigh(products)
    top = np.argsort(variance)[::-1][:n_components]
    if wide:
        return vectors[:, top] * np.sqrt(np.maximum(variance[top], 0))
    return centred @ vectors[:, top]


def population_cells(
    adata: AnnData,
    population_key: str | list[str],
    layer: str | None,
    use_rep: str | None,
    n_components: int,
    n_cells: int | None,
) -> tuple[PopulationIndex, list[DimensionCells | None], int]:
    """Return the populations, the cells of each (None where too few), and the common number."""
    if n_cells is not None:
        require_counts(n_cells=n_cells)
    for key in as_keys(population_key):
        if key not in adata.obs:
            raise KeyError(
                f"population_key={key!r} is not in adata.obs. It has {listed(adata.obs.columns)}."
            )
    field = CellsField(layer, use_rep)
    field.validate_field(adata)
    is_counts = field.register_field(adata)["is_counts"]
    source = cells_of(adata, layer, use_rep)
    index = PopulationIndex(*group_cells(adata.obs, as_keys(population_key)))
    values = []
    for i in range(len(index)):
        x = source[index.cells(i)]
        values.append(x[_distinct(log_normalized(x) if is_counts else x)])
    sizes = np.array([x.shape[0] for x in values])
    _warn_of_repeats(index, sizes)
    n_cells = _common(index, sizes, n_cells)
    n_components = (
        0 if use_rep is not None else min(n_components, n_cells // 2 - 1, source.shape[1])
    )
    cells = [
        DimensionCells(x, is_counts, n_components) if x.shape[0] >= n_cells else None
        for x in values
    ]
    return index, cells, n_cells


def _distinct(x: Matrix) -> np.ndarray:
    """Return the first row number of every different row, ascending."""
    first: dict[int, int] = {}
    if sp.issparse(x):
        x = x.copy()
        x.eliminate_zeros()
        x.sort_indices()
        for i, (start, end) in enumerate(pairwise(x.indptr)):
            row = x.indices[start:end].tobytes() + x.data[start:end].tobytes()
            first.setdefault(hash(row), i)
    else:
        for i, row in enumerate(x):
            first.setdefault(hash((row + 0.0).tobytes()), i)  # -0 is 0
    return np.fromiter(first.values(), dtype=int)


def _warn_of_repeats(index: PopulationIndex, sizes: np.ndarray) -> None:
    repeated = sizes < 0.95 * index.sizes
    if repeated.any():
        warnings.warn(
            f"Of {repeated.sum()} populations ({listed(index.names[repeated], 3)}) more than one "
            "cell in twenty repeats another. Cells that are alike count once: a repeat says "
            "nothing of a dimension.",
            UserWarning,
            stacklevel=4,
        )


def _common(index: PopulationIndex, sizes: np.ndarray, n_cells: int | None) -> int:
    """Return the number of cells that every population is looked at with."""
    if not len(index):
        raise ValueError("No cell has a population: every value of population_key is missing.")
    if n_cells is None:
        small = sizes < SMALLEST
        if small.any():
            raise ValueError(
                f"{small.sum()} of {len(sizes)} populations have fewer than {SMALLEST} different "
                f"cells, too few for an interval: {listed(index.names[small], 5)}. Merge them, or "
                f"pass n_cells={SMALLEST} or more: smaller populations then get no estimate."
            )
        return int(sizes.min())
    if n_cells < SMALLEST:
        raise ValueError(f"n_cells={n_cells} is too few for an interval: take {SMALLEST} or more.")
    small = sizes < n_cells
    if small.all():
        raise ValueError(f"n_cells={n_cells}: no population has so many; at most {sizes.max()}.")
    if small.any():
        warnings.warn(
            f"{small.sum()} of {len(sizes)} populations have fewer than n_cells={n_cells} "
            f"different cells and get no estimate: {listed(index.names[small], 5)}.",
            UserWarning,
            stacklevel=4,
        )
    return n_cells
