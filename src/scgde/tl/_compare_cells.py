"""Which cells and which genes differ, of :func:`scgde.tl.compare_populations`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from rich.progress import track
from scipy import stats

from ..data import as_dense, log_normalized
from ..model import GDE
from ..stats import fit_groups
from ._compare_common import Comparison, Units
from ._representations import Cells

_CHUNK = 4096
_ROUNDING = 1e-10  # of a mean: what differs by less does not differ


def cell_influences(
    adata: AnnData,
    model: GDE,
    populations: pd.Index,
    comparison: Comparison,
    enable_progress_bar: bool,
) -> np.ndarray:
    """Return the influence of cells along each contrast's direction, ``(C, n_cells)``.

    NaN for cells of populations that have no part in the contrast.
    """
    units = comparison.units
    found = []
    for direction, pair in zip(comparison.directions, comparison.contrasts, strict=True):
        part = np.isin(np.append(units.groups, -1)[units.of_population], pair)
        influence = model.get_cell_influence(
            adata,
            list(populations[part]),
            direction=direction,
            enable_progress_bar=enable_progress_bar,
        )
        found.append(influence.to_numpy())
    return np.stack(found)


def gene_table(
    cells: Cells,
    names: pd.Index,
    comparison: Comparison,
    influence: np.ndarray | None,
    enable_progress_bar: bool,
) -> pd.DataFrame:
    """Return how genes differ in each contrast, sorted by p-value.

    Parameters
    ----------
    cells
        All cells.
    names
        Of the genes.
    comparison
        Of which populations.
    influence
        ``(C, n_cells)``, or None.
    enable_progress_bar
        Show progress.
    """
    units = comparison.units
    moments = _Moments(cells, units.of_population, influence, enable_progress_bar)
    mean = moments.unit_means()
    tables = []
    for i, (a, b) in enumerate(comparison.contrasts):
        if comparison.tests["unit"].iloc[i] == "cells":
            # Populations are in the order of the data, units in that of the comparison.
            place = np.argsort(moments.unit)[[a, b]]
            n, sd = moments.n_cells[place], moments.deviations()[place]
            difference, t, p = _welch(mean[a], sd[0], n[0], mean[b], sd[1], n[1])
        elif units.blocks.max() == 0:
            of_a, of_b = (mean[units.groups == g] for g in (a, b))
            sides = ((of.mean(0), of.std(0, ddof=1), len(of)) for of in (of_a, of_b))
            difference, t, p = _welch(*next(sides), *next(sides))
        else:
            difference, t, p = _within_blocks(mean, units, a, b)
        table = pd.DataFrame(
            {
                "contrast": comparison.tests.index[i],
                "gene": np.asarray(names, dtype=object),
                "mean_a": mean[units.groups == a].mean(0),
                "mean_b": mean[units.groups == b].mean(0),
                "difference": difference,
                "t": t,
                "p_value": p,
                "p_adjusted": _false_discovery_rate(p),
            }
        )
        if influence is not None:
            table["influence_correlation"] = moments.influence_correlation(i)
        tables.append(table.sort_values("p_value", kind="stable"))
    table = pd.concat(tables, ignore_index=True)
    table.index = table.index.astype(str)
    return table


class _Moments:
    """Sums over the cells of the populations compared, from one pass over them.

    ``first`` and ``second`` are the sums of values and of squares by population, ``(Q, G)``;
    ``cross (C, G)`` is the sum of value times influence.
    """

    def __init__(
        self,
        cells: Cells,
        of_population: np.ndarray,
        influence: np.ndarray | None,
        enable_progress_bar: bool,
    ):
        compared = np.flatnonzero(of_population >= 0)
        self.unit, self.n_cells = of_population[compared], cells.index.sizes[compared]
        place = np.full(len(cells.index) + 1, -1)  # the last is that of cells in no population
        place[compared] = np.arange(len(compared))
        place = place[cells.index.codes]
        self.influence = None if influence is None else np.nan_to_num(influence)
        self.place = place
        rows = np.flatnonzero(place >= 0)
        shape = (len(compared), cells.source.shape[1])
        self.first, self.second = np.zeros(shape), np.zeros(shape)
        self.cross = np.zeros((0 if influence is None else len(influence), shape[1]))
        starts = track(
            range(0, len(rows), _CHUNK),
            "Genes",
            disable=not enable_progress_bar or len(rows) < 10 * _CHUNK,
        )
        for start in starts:
            chunk = rows[start : start + _CHUNK]
            x = cells.source[chunk]
            x = (log_normalized(x) if cells.is_counts else x).astype(np.float64)
            member = sp.csr_matrix(
                (np.ones(len(chunk)), (place[chunk], np.arange(len(chunk)))),
                shape=(len(compared), len(chunk)),
            )
            self.first += as_dense(member @ x, np.float64)
            self.second += as_dense(member @ (x.power(2) if sp.issparse(x) else x**2), np.float64)
            if self.influence is not None:
                self.cross += self.influence[:, chunk] @ x

    def unit_means(self) -> np.ndarray:
        """Return the mean over the cells of each unit, ``(U, G)``."""
        member = (self.unit == np.arange(self.unit.max() + 1)[:, None]).astype(float)
        return member @ self.first / (member @ self.n_cells)[:, None]

    def deviations(self) -> np.ndarray:
        """Return the standard deviation over cells of each population, ``(Q, G)``."""
        return np.sqrt(self._squares() / (self.n_cells[:, None] - 1))

    def influence_correlation(self, contrast: int) -> np.ndarray:
        """Return the correlation of influence and gene over cells, within populations, ``(G,)``."""
        psi = self.influence[contrast]
        # Populations that have no part in the contrast have no influence either.
        part = np.bincount(self.place[self.place >= 0], psi[self.place >= 0] ** 2) > 0
        scale = np.sqrt((psi**2).sum() * self._squares()[part].sum(0))
        return np.divide(
            self.cross[contrast], scale, out=np.full(len(scale), np.nan), where=scale > 0
        )

    def _squares(self) -> np.ndarray:
        squares = self.second - self.first**2 / self.n_cells[:, None]
        # Differences of large sums: what is left of a constant gene is rounding.
        return np.where(squares > 1e-9 * self.second, squares, 0)


def _welch(
    mean_a: np.ndarray,
    sd_a: np.ndarray,
    n_a: int,
    mean_b: np.ndarray,
    sd_b: np.ndarray,
    n_b: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return difference, Welch's t and p-value of each gene; NaN for genes that do not vary.

    For genes that vary between the sides only, t is infinite and p zero.
    """
    difference = mean_b - mean_a
    # Sides are of different size, so that a constant's mean is rounded differently in each.
    rounding = _ROUNDING * np.maximum(np.abs(mean_a), np.abs(mean_b))
    sd_a, sd_b = (np.where(sd > rounding, sd, 0) for sd in (sd_a, sd_b))
    apart = np.where(np.abs(difference) > rounding, difference, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, p = stats.ttest_ind_from_stats(apart, sd_b, n_b, 0, sd_a, n_a, equal_var=False)
    return difference, t, p


def _within_blocks(
    mean: np.ndarray, units: Units, a: int, b: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return difference, t and p-value of each gene by least squares on group and block."""
    difference, variance = np.empty((2, mean.shape[1]))
    contrast = np.zeros(len(units.levels))
    contrast[[a, b]] = -1, 1
    for start in range(0, mean.shape[1], 64):  # the fit has a covariance, genes x genes
        piece = slice(start, start + 64)
        fit = fit_groups(mean[:, piece], units.groups, units.blocks)
        difference[piece] = contrast @ fit.effects
        variance[piece] = contrast @ fit.noise @ contrast * np.diag(fit.covariance)
    rounding = _ROUNDING * np.abs(mean).max(0)
    error = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.abs(difference) > rounding, difference, 0) / np.where(
            error > rounding, error, 0
        )
    return difference, t, 2 * stats.t.sf(np.abs(t), fit.df)


def _false_discovery_rate(p: np.ndarray) -> np.ndarray:
    """Return Benjamini-Hochberg adjusted p-values; those that are NaN stay so."""
    adjusted = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known])
    return adjusted
