from __future__ import annotations

from collections.abc import Callable

import numpy as np
import ot
import pandas as pd
import torch
from anndata import AnnData
from rich.progress import track
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from .._errors import listed, require_choice, require_counts
from ..data import as_dense, log_normalized
from ..distances import (
    bures_wasserstein,
    gmm_wasserstein,
    sinkhorn_divergence,
    sliced_wasserstein,
    wasserstein,
)
from ..model import GDE

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

TRANSPORT: dict[str, Distance] = {
    "gaussian": bures_wasserstein,
    "mixture": gmm_wasserstein,
    "exact": wasserstein,
    "sliced": sliced_wasserstein,
    "sinkhorn": lambda x, y: sinkhorn_divergence(x, y).clamp_min(0).sqrt(),
}


def wasserstein_geometry(
    adata: AnnData,
    model: GDE,
    populations: list[str] | None = None,
    *,
    transport: str | pd.DataFrame = "gaussian",
    n_paths: int = 0,
    n_steps: int = 5,
    max_cells: int = 500,
    max_pairs: int = 5_000,
    n_bootstrap: int = 500,
    seed: int = 0,
    key_added: str = "gde_geometry",
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Compare distances and straight lines between embeddings with optimal transport.

    GDE paper, Sec. 5: distances between embeddings follow the Wasserstein distances between
    populations, and straight lines decode to populations near the Wasserstein geodesic. Published
    on the populations trained on; here on held-out ones.

    Parameters
    ----------
    adata
        Cells: the model's training data, or other data with the same features.
    model
        A trained model.
    populations
        Names of populations; by default those whose names were not among the trained ones.
    transport
        Distance between populations: ``"gaussian"`` (W2 of their first two moments), ``"exact"``,
        ``"mixture"`` (of fitted Gaussian mixtures), ``"sliced"`` or ``"sinkhorn"``, on the cells'
        values, their logarithms where the model takes counts. Or known distances as a DataFrame,
        populations x populations.
    n_paths
        Random pairs whose interpolation is compared with the geodesic.
    n_steps
        Points of a path, both ends included.
    max_cells
        Cells of a population, drawn at random, in distances and paths.
    max_pairs
        Pairs of populations, drawn at random, in the correlation.
    n_bootstrap
        Resamplings of populations for the intervals.
    seed
        Seed of all draws.
    key_added
        Where to write.
    enable_progress_bar
        Show progress.

    Returns
    -------
    DataFrame of ``estimate``, ``low``, ``high`` (95 % bootstrap interval over populations or, from
    five on, paths), indexed by measure: ``spearman``, the rank correlation of latent L2 and
    transport distance. With paths, exact W2 to the geodesic in units of the ends' W2:
    ``path_deviation`` of decoded points between the ends; ``mixture_deviation`` of mixtures of the
    ends' own cells, what no model at all would give; ``end_deviation`` of the decoded ends, the
    part that is not the path's fault. Also written to ``.uns[key_added]``: ``scores``, that table,
    ``pairs`` and ``params``.

    Raises
    ------
    KeyError, ValueError
        If a population is unknown, fewer than four are left, none was held out, or known distances
        do not cover them.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> names = list(adata.obs["population"].unique())
    >>> table = scgde.tl.wasserstein_geometry(
    ...     adata, model, names, n_bootstrap=20, enable_progress_bar=False
    ... )
    >>> table.columns.tolist()
    ['estimate', 'low', 'high']
    """
    require_counts(max_cells=max_cells, max_pairs=max_pairs, n_bootstrap=n_bootstrap)
    if n_steps < 3:
        raise ValueError(f"n_steps={n_steps!r} must be at least 3: ends and a point between.")
    names = _names(adata, model, populations)
    rng = np.random.default_rng(seed)
    embedding = model.get_population_embedding(adata, names)
    latent = cdist(embedding, embedding)
    i, j = np.triu_indices(len(names), 1)
    if len(i) > max_pairs:
        kept = np.sort(rng.choice(len(i), max_pairs, replace=False))
        i, j = i[kept], j[kept]
    cells = _Cells(adata, model, max_cells, rng)
    if isinstance(transport, pd.DataFrame):
        missing = [n for n in names if n not in transport.index or n not in transport.columns]
        if missing:
            raise ValueError(f"transport has no row or column {missing[0]!r}: add it.")
        apart, kind = transport.loc[names, names].to_numpy()[i, j], "given"
    else:
        require_choice("transport", transport, TRANSPORT)
        distance, kind = TRANSPORT[transport], transport
        pairs = [(names[a], names[b]) for a, b in zip(i, j, strict=True)]
        quiet = not enable_progress_bar or len(pairs) < 100
        pairs = track(pairs, "Transport", disable=quiet)
        apart = np.array([distance(cells[a], cells[b]).item() for a, b in pairs])
    scores = {"spearman": _correlation(latent[i, j], apart, i, j, n_bootstrap, rng)}
    if n_paths:
        ends = [rng.choice(len(names), 2, replace=False) for _ in range(n_paths)]
        deviations = [
            _deviations(model, adata, cells, names[a], names[b], n_steps, seed)
            for a, b in track(ends, "Paths", disable=not enable_progress_bar)
        ]
        for name, values in pd.DataFrame(deviations).items():
            interval = (np.nan, np.nan)  # of a handful of paths it would pretend to be narrow
            if n_paths >= 5:
                draws = rng.choice(values.to_numpy(), (n_bootstrap, n_paths)).mean(1)
                interval = np.quantile(draws, [0.025, 0.975])
            scores[name] = (values.mean(), *interval)
    table = pd.DataFrame.from_dict(scores, orient="index", columns=["estimate", "low", "high"])
    table.index.name = "measure"
    adata.uns[key_added] = {
        "scores": table,
        "pairs": pd.DataFrame(
            {
                "population_1": embedding.index[i].to_numpy(),
                "population_2": embedding.index[j].to_numpy(),
                "latent": latent[i, j],
                "transport": apart,
            },
            index=[str(k) for k in range(len(i))],
        ),
        "params": {
            "transport": kind,
            "n_populations": len(names),
            "n_paths": n_paths,
            "n_steps": n_steps,
            "n_bootstrap": n_bootstrap,
            "max_cells": max_cells,
            "seed": seed,
            "interval": "95 %, bootstrap over populations or paths",
        },
    }
    return table


def _names(adata: AnnData, model: GDE, populations: str | list[str] | None) -> list[str]:
    if populations is None:
        names = model.get_population_table(adata).index
        names = names.difference(model.trained_populations_, sort=False)
        if len(names) == 0:
            raise ValueError(
                "All populations of adata have the names of populations that were trained on, on "
                "which the geometry would look better than it is. Train with train_size below 1, "
                "pass other data, or, if these are others of the same names, name populations."
            )
        populations = list(names)
    populations = [str(p) for p in ([populations] if np.ndim(populations) == 0 else populations)]
    if len(populations) < 4:
        raise ValueError(
            f"populations has {len(populations)} names ({listed(populations)}); a correlation "
            "needs four. By default these are populations held out: train with a lower train_size, "
            "or name them."
        )
    return populations


class _Cells:
    """Some cells of each population, as ``(1, n, d)`` tensors, logarithms if counts."""

    def __init__(self, adata: AnnData, model: GDE, max_cells: int, rng: np.random.Generator):
        if model.modality_names:
            raise ValueError(
                "Transport distances are between cells of one modality, and the model has "
                f"{listed(model.modality_names)}. Compare a model of one of them."
            )
        self.dataset = model._dataset(model._validate_anndata(adata))
        self.generator = model.module.generator
        self.max_cells, self.rng, self._kept = max_cells, rng, {}

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._kept:
            index = self.dataset.index
            rows = index.cells(index.names.get_loc(name))
            if len(rows) > self.max_cells:
                rows = self.rng.choice(rows, self.max_cells, replace=False)
            self._kept[name] = self.values(self.dataset.source[rows])
        return self._kept[name]

    def values(self, x) -> torch.Tensor:
        if self.generator.space == "counts":
            x = log_normalized(x) if self.generator.uses_library else np.log1p(x)
        return torch.from_numpy(as_dense(x))[None]


def _correlation(
    latent: np.ndarray,
    transport: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Return the rank correlation over pairs, and its interval by resampling populations."""
    present, places = np.unique([i, j], return_inverse=True)
    a, b = places.reshape(2, -1)
    draws = []
    for _ in range(n_bootstrap):
        times = np.bincount(rng.integers(len(present), size=len(present)), minlength=len(present))
        pairs = np.repeat(np.arange(len(i)), times[a] * times[b])
        # Few populations, drawn often, may leave no pair or one.
        if len(np.unique(pairs)) > 1:
            draws.append(spearmanr(latent[pairs], transport[pairs]).statistic)
    return spearmanr(latent, transport).statistic, *np.quantile(draws, [0.025, 0.975])


def _deviations(
    model: GDE, adata: AnnData, cells: _Cells, start: str, end: str, n_steps: int, seed: int
) -> dict[str, float]:
    x, y = cells[start].double(), cells[end].double()
    n, m = x.shape[1], y.shape[1]
    length = wasserstein(x, y).item()
    if length == 0:
        raise ValueError(f"Populations {start!r} and {end!r} have the same cells: no path.")
    plan = ot.emd([], [], ot.dist(x[0].numpy(), y[0].numpy()), numItermax=10_000_000)
    rows, columns = plan.nonzero()
    weight = torch.from_numpy(plan[rows, columns])[None]
    weight = weight / weight.sum()
    path = model.interpolate(
        start, end, n_steps, n_cells=max(n, m), adata=adata, seed=seed, enable_progress_bar=False
    )
    position = path.obs["position"].to_numpy()
    found: dict[str, list[float]] = {
        "path_deviation": [],
        "mixture_deviation": [],
        "end_deviation": [],
    }
    both = torch.cat([x, y], 1)
    for t in np.unique(position):
        # McCann's displacement interpolation: mass moves along straight lines of the plan.
        geodesic = (1 - t) * x[:, rows] + t * y[:, columns]
        decoded = cells.values(path.X[position == t]).double()
        off = wasserstein(decoded, geodesic, wy=weight).item() / length
        if t in (0.0, 1.0):
            found["end_deviation"].append(off)
            continue
        found["path_deviation"].append(off)
        mixed = torch.cat([torch.full((n,), (1 - t) / n), torch.full((m,), t / m)])[None].double()
        off = wasserstein(both, geodesic, wx=mixed, wy=weight).item() / length
        found["mixture_deviation"].append(off)
    return {name: float(np.mean(values)) for name, values in found.items()}
