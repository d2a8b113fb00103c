from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from .._errors import require, require_counts, require_positive, require_type
from ..data import group_cells, text_categories
from ..stats import KernelEnergy, arc_length, evenly_spaced, string_method

_MIN_CELLS = 20  # of a population, for a density of its own
_MIN_POPULATIONS = 6  # for an interval over them
_STEP, _LONGEST_MOVE = 0.3, 0.5  # of a string's points: of h^2 times the gradient, and of h
_HIGHEST = 500.0  # energies above are as good as infinite; exp still holds them


def free_energy_path(
    adata: AnnData,
    start: str,
    end: str,
    *,
    groupby: str | None = None,
    use_rep: str = "X_pca",
    n_dims: int | None = 10,
    population_key: str | None = None,
    score: Callable[[np.ndarray], np.ndarray] | None = None,
    bandwidth: float | None = None,
    n_points: int = 50,
    n_neighbors: int = 15,
    max_distance: float | None = None,
    max_cells: int = 5_000,
    n_bootstrap: int = 200,
    max_steps: int = 500,
    key_added: str = "free_energy_path",
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    r"""Find the way from one cell state to another along which there are cells.

    With the free energy :math:`F = -\log p` (kT = 1) of the cells' density in a representation, the
    path is the minimum-energy path between two cells: the way through the valley of many cells and
    over the lowest pass, not the straight line. Of all ways the one of largest flux on the cells'
    neighbour graph (the least :math:`\int e^F dl`; Berkowitz et al., J. Chem. Phys. 79, 1983) is
    where the string method (E, Ren & Vanden-Eijnden 2007) starts, which then finds the floor of the
    valley.

    Parameters
    ----------
    adata
        Cells.
    start, end
        Two categories of ``groupby``; without it, names of two cells.
    groupby
        Column of ``.obs`` with cell states. A state's end of the path is its mode: the cell of the
        highest density among the cells of the state.
    use_rep
        Key of ``.obsm``: principal components, or ``model.DPA``'s latent.
    n_dims
        Leading columns of it that are used; None for all. A density of many dimensions rests on few
        cells anywhere: keep them few.
    population_key
        Column of ``.obs`` with donors, clones or perturbations: energies are also given for each of
        them along the common path, and the interval of the whole is over populations if there are
        six or more.
    score
        Gradient of the log density, ``(n, d) -> (n, d)``, in the same columns: of a score model,
        instead of the kernel density. Energies are then its line integral along the path, without
        interval.
    bandwidth
        Of the Gaussian kernel; by default that of the highest leave-one-out likelihood.
    n_points
        Points of the path.
    n_neighbors
        Of the neighbour graph.
    max_distance
        Cells within this distance of the path get a coordinate; by default two bandwidths times the
        root of the number of dimensions.
    max_cells
        Cells by which the density is estimated; more are drawn from, without replacement.
    n_bootstrap
        Bootstrap draws of the interval.
    max_steps
        Steps of the string method.
    key_added
        Where to write; not a column of ``.obs`` that is there, unless an earlier path wrote it.
    seed
        Seed of draws.
    enable_progress_bar
        Show progress.

    Returns
    -------
    DataFrame of barriers in kT: ``population`` ("" for all cells), ``direction`` (``"forward"``
    from the start to the top, ``"backward"`` from the end), ``estimate``, ``low``, ``high`` (95 %),
    ``cells_at_top`` (what the density at the highest point rests on: below 1, the barrier is a tail
    of the kernel and only says "high"), ``n_cells``. Written are:

    ``.uns[key_added]``
        ``barriers``, that table; ``path``, DataFrame of points: ``arc_length``, ``energy`` (0 at
        the start), ``low``, ``high``, ``nearest_cell``; ``points (n_points, d)``; ``populations``
        and ``population_energy (P, n_points)``; ``params``.
    ``.obs[key_added]``
        Arc length of each cell's nearest place on the path; NaN far from it.

    Notes
    -----
    Energies depend on the representation and on how cells were sampled: sorted or enriched states
    are lower than they were in the tissue. Intervals are of the density on the path as found, from
    resampled cells or populations, at one bandwidth; that another path would have been found is not
    in them. A highest point is found too high rather than too low.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a key, category or cell is absent, values are not finite, both ends are one cell or one
        name that several cells have, the neighbour graph does not join them, ``score`` does not
        return what it must, ``key_added`` is taken, or an argument is out of range.

    Examples
    --------
    >>> import scanpy as sc, scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> sc.pp.normalize_total(adata), sc.pp.log1p(adata), sc.pp.pca(adata)
    (None, None, None)
    >>> barriers = scgde.tl.free_energy_path(
    ...     adata, *adata.obs_names[:2], n_dims=3, n_bootstrap=20, enable_progress_bar=False
    ... )
    >>> barriers["direction"].tolist()
    ['forward', 'backward']
    """
    _require_writable(adata, key_added)
    require_counts(
        n_points=n_points,
        n_neighbors=n_neighbors,
        max_cells=max_cells,
        n_bootstrap=n_bootstrap,
        max_steps=max_steps,
    )
    if max_distance is not None:
        require_positive(max_distance=max_distance)
    if score is not None and not callable(score):
        raise TypeError(f"score must be a function of points, got {type(score).__name__}.")
    x = _representation(adata, use_rep, n_dims)
    rng = np.random.default_rng(seed)
    ends = [
        _end(adata, x, argument, value, groupby, bandwidth, max_cells, rng)
        for argument, value in (("start", start), ("end", end))
    ]
    if (x[ends[0]] == x[ends[1]]).all():
        raise ValueError(f"start={start!r} and end={end!r} are at one place: there is no way.")
    codes, names = np.zeros(len(x), dtype=int), pd.Index([])
    if population_key is not None:
        require("population_key", population_key, adata.obs.columns, "adata.obs")
        codes, names = group_cells(adata.obs, [population_key])
    rows = rng.permutation(len(x))[:max_cells]
    rows = np.unique(np.r_[rows, ends])  # sorted, so that the ends are found again
    energy = KernelEnergy(x[rows], bandwidth, seed)
    route = _route(x[rows], energy, *np.searchsorted(rows, ends), n_neighbors)
    step = _STEP * energy.bandwidth**2
    string = string_method(
        energy.gradient if score is None else lambda points: -_checked(score, points),
        x[rows][route],
        n_points=n_points,
        step=step,
        max_gradient=_LONGEST_MOVE * energy.bandwidth / step,
        max_steps=max_steps,
        fixed_ends=True,
        enable_progress_bar=enable_progress_bar and max_cells * n_points > 100_000,
    )
    if not string.converged:
        warnings.warn(
            f"The path still moved after max_steps={max_steps}; take more of them, or a wider "
            f"bandwidth than {energy.bandwidth:.3g}.",
            UserWarning,
            stacklevel=2,
        )
    points, along = string.points, arc_length(string.points)
    if score is None:
        weights = _resamples(codes[rows], names, n_bootstrap, rng)
        profile, draws = energy(points), energy(points, weights)
    else:
        profile = _integrated(score, points)
        draws = np.full((n_bootstrap, n_points), np.nan)
    barriers = [_barriers("", profile, draws, energy.cells_near(points), len(rows))]
    of_population = np.full((len(names), n_points), np.nan)
    for p, name in enumerate(names):
        own = rows[codes[rows] == p]
        if len(own) < _MIN_CELLS or score is not None:
            continue
        local = KernelEnergy(x[own], energy.bandwidth)
        of_population[p] = local(points)
        drawn = local(points, _resamples(np.zeros(len(own)), [], n_bootstrap, rng))
        barriers.append(
            _barriers(str(name), of_population[p], drawn, local.cells_near(points), len(own))
        )
    table = pd.concat(barriers, ignore_index=True)
    table.index = table.index.astype(str)
    low, high = np.quantile(draws - draws[:, :1], [0.025, 0.975], axis=0)
    tree = NearestNeighbors(n_neighbors=1).fit(x)
    nearest = tree.kneighbors(points, return_distance=False)[:, 0]
    if max_distance is None:
        max_distance = 2 * energy.bandwidth * np.sqrt(x.shape[1])
    adata.obs[key_added] = _coordinate(x, points, max_distance)
    adata.uns[key_added] = {
        "barriers": table,
        "path": pd.DataFrame(
            {
                "arc_length": along,
                "energy": profile - profile[0],
                "low": low,
                "high": high,
                "nearest_cell": adata.obs_names[nearest].astype(str),
            },
            index=pd.RangeIndex(n_points).astype(str),
        ),
        "points": points,
        "populations": np.array([str(name) for name in names], dtype=object),
        "population_energy": of_population - of_population[:, :1],
        "params": {
            "start": _name(start),
            "end": _name(end),
            "start_cell": str(adata.obs_names[ends[0]]),
            "end_cell": str(adata.obs_names[ends[1]]),
            "groupby": groupby or "",
            "population_key": population_key or "",
            "use_rep": use_rep,
            "n_dims": x.shape[1],
            "bandwidth": energy.bandwidth,
            "max_distance": float(max_distance),
            "n_cells": len(rows),
            "energy": "kernel density" if score is None else "score",
            "converged": string.converged,
            "interval": "95 %, bootstrap over "
            + ("populations" if len(names) >= _MIN_POPULATIONS else "cells"),
            "seed": seed,
        },
    }
    return table


def _require_writable(adata: AnnData, key_added: str) -> None:
    require_type("adata", adata, AnnData, "Of a MuData pass one modality: mdata.mod['rna'].")
    before = adata.uns.get(key_added)
    if isinstance(before, Mapping) and "barriers" in before:
        return
    for where, keys in ((".obs", adata.obs.columns), (".uns", adata.uns.keys())):
        if key_added in keys:
            raise ValueError(
                f"key_added={key_added!r} is in adata{where} and no free-energy path wrote it: it "
                "would be lost. Choose another name."
            )


def _representation(adata: AnnData, use_rep: str, n_dims: int | None) -> np.ndarray:
    require("use_rep", use_rep, adata.obsm.keys(), "adata.obsm")
    x = adata.obsm[use_rep]
    x = np.asarray(x.toarray() if hasattr(x, "toarray") else x, dtype=float)
    if n_dims is not None:
        require_counts(n_dims=n_dims)
        x = x[:, :n_dims]
    if not np.isfinite(x).all():
        raise ValueError(
            f"adata.obsm[{use_rep!r}] has cells with values that are NaN or infinite: leave these "
            "out."
        )
    return x


def _end(
    adata: AnnData,
    x: np.ndarray,
    argument: str,
    value: str,
    groupby: str | None,
    bandwidth: float | None,
    max_cells: int,
    rng: np.random.Generator,
) -> int:
    """Return the row of a named cell, or of the mode of a state."""
    if groupby is None:
        require(argument, value, adata.obs_names, "adata.obs_names; for cell states pass groupby")
        rows = np.flatnonzero(adata.obs_names == value)
        if len(rows) > 1:
            raise ValueError(
                f"{argument}={value!r} is the name of {len(rows)} cells. Run "
                "adata.obs_names_make_unique() and name one of them."
            )
        return int(rows[0])
    require("groupby", groupby, adata.obs.columns, "adata.obs")
    states = text_categories(adata.obs[groupby])
    require(argument, _name(value), states.categories, f"adata.obs[{groupby!r}]")
    rows = rng.permutation(np.flatnonzero(states == _name(value)))[:max_cells]
    if len(rows) < 3 or (x[rows] == x[rows[0]]).all():
        return int(rows[0])
    return int(rows[KernelEnergy(x[rows], bandwidth)(x[rows]).argmin()])


def _name(value: object) -> str:
    """Return a state as :func:`~scgde.data.text_categories` names it: 1.0 is "1"."""
    names = text_categories(pd.Series([value])).categories
    return str(names[0]) if len(names) else str(value)


def _route(
    x: np.ndarray, energy: KernelEnergy, start: int, end: int, n_neighbors: int
) -> np.ndarray:
    """Return the cells of the path of largest flux on the neighbour graph, in order."""
    n_neighbors = min(n_neighbors, len(x) - 1)
    # A length of 0 would be no edge.
    graph = kneighbors_graph(x, n_neighbors, mode="distance").tocoo()
    of_cell = energy(x)
    resistance = np.exp(np.minimum(of_cell - of_cell.min(), _HIGHEST))
    mean = (resistance[graph.row] + resistance[graph.col]) / 2
    length = np.maximum(graph.data, 1e-9 * energy.bandwidth)
    costs = csr_matrix((length * mean, (graph.row, graph.col)), shape=graph.shape)
    cost, before = dijkstra(costs, directed=False, indices=start, return_predecessors=True)
    if not np.isfinite(cost[end]):
        raise ValueError(
            f"start and end are in parts of the neighbour graph that nothing joins: raise "
            f"n_neighbors={n_neighbors}, or choose states between which there are cells."
        )
    route = [end]
    while route[-1] != start:
        route.append(before[route[-1]])
    return np.array(route[::-1])


def _resamples(
    codes: np.ndarray, names: pd.Index | list, n_bootstrap: int, rng: np.random.Generator
) -> np.ndarray:
    """Return how often each cell counts, ``(n_bootstrap, n)``: of drawn cells, or populations."""
    n = len(codes)
    if len(names) < _MIN_POPULATIONS:
        return rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap).astype(float)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_bootstrap)
    # Cells in no population are in none of the draws.
    return np.where(codes >= 0, times[:, np.maximum(codes, 0)], 0).astype(float)


def _checked(score: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> np.ndarray:
    """Return the score at points ``(n, d)``, once it is known to be one number a coordinate."""
    force = np.asarray(score(points), dtype=float)
    if force.shape != points.shape:
        raise ValueError(
            f"score returned the shape {force.shape} of points of the shape {points.shape}: it "
            "must return the gradient of the log density, (n, d) -> (n, d)."
        )
    if not np.isfinite(force).all():
        raise ValueError("score returned values that are NaN or infinite.")
    return force


def _integrated(score: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> np.ndarray:
    """Return the energy along a path from its gradient, by the trapezoid rule on a finer path."""
    fine = evenly_spaced(points, 10 * (len(points) - 1) + 1)
    force = _checked(score, fine)
    work = ((force[1:] + force[:-1]) / 2 * np.diff(fine, axis=0)).sum(1)
    return -np.r_[0.0, work.cumsum()][::10]


def _barriers(
    name: str, profile: np.ndarray, draws: np.ndarray, cells_near: np.ndarray, n_cells: int
) -> pd.DataFrame:
    ends = {"forward": 0, "backward": -1}
    rows = []
    for direction, place in ends.items():
        drawn = draws.max(1) - draws[:, place]
        estimate = profile.max() - profile[place]
        rows.append((name, direction, estimate, *np.quantile(drawn, [0.025, 0.975])))
    table = pd.DataFrame(rows, columns=["population", "direction", "estimate", "low", "high"])
    return table.assign(cells_at_top=cells_near[profile.argmax()], n_cells=n_cells)


def _coordinate(x: np.ndarray, points: np.ndarray, max_distance: float) -> np.ndarray:
    """Return the arc length of the nearest place on a path, NaN for cells far from it, ``(n,)``."""
    fine = evenly_spaced(points, 10 * len(points))
    distance, place = NearestNeighbors(n_neighbors=1).fit(fine).kneighbors(x)
    return np.where(distance[:, 0] <= max_distance, arc_length(fine)[place[:, 0]], np.nan)
