from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from sklearn.neighbors import NearestNeighbors

from .._errors import require, require_counts
from ..tl._score import basis_key
from ._figures import PALETTE


def free_energy_path(
    adata: AnnData,
    basis: str = "umap",
    *,
    key: str = "free_energy_path",
    n_neighbors: int = 15,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw a free-energy path on a map of the cells, and the energy along it.

    Parameters
    ----------
    adata
        Cells after :func:`scgde.tl.free_energy_path`.
    basis
        The map, of which the first two columns are drawn: its key in ``.obsm`` or its name without
        ``X_``.
    key
        Where :func:`~scgde.tl.free_energy_path` wrote.
    n_neighbors
        The path has no place on the map of its own: each point is drawn at the mean place of as
        many cells nearest in the representation, the nearer the heavier.
    axes
        Two axes; a new figure by default.

    Returns
    -------
    The axes. Left: cells, coloured by their place along the path, with the path. Right: energy over
    arc length with its 95 % interval, and that of each population in grey.

    Raises
    ------
    KeyError, TypeError, ValueError
        If there is no such result, map or representation, or the map has one column.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.muller_brown(20_000, every=20, enable_progress_bar=False)
    >>> adata.obsm["X_map"] = adata.X
    >>> low = adata.X[:, 1].argmin(), adata.X[:, 1].argmax()
    >>> start, end = adata.obs_names[list(low)]
    >>> _ = scgde.tl.free_energy_path(adata, start, end, use_rep="X_map", enable_progress_bar=False)
    >>> cells, energy = scgde.pl.free_energy_path(adata, basis="map")
    >>> energy.get_ylabel()
    'free energy (kT) above the start'
    """
    require("key", key, adata.uns.keys(), "adata.uns")
    basis = basis_key(adata, basis)
    require_counts(n_neighbors=n_neighbors)
    result, place = adata.uns[key], np.asarray(adata.obsm[basis], dtype=float)
    if place.ndim != 2 or place.shape[1] < 2:
        raise ValueError(f"basis={basis!r} has the shape {place.shape}; a map has two columns.")
    if axes is None:
        axes = tuple(plt.subplots(1, 2, figsize=(10, 4), layout="constrained")[1])
    _map(adata, result, key, place[:, :2], basis, n_neighbors, axes[0])
    _profile(result, axes[1])
    return axes


def _map(
    adata: AnnData,
    result: dict,
    key: str,
    place: np.ndarray,
    basis: str,
    n_neighbors: int,
    ax: Axes,
) -> None:
    params = result["params"]
    require("use_rep", params["use_rep"], adata.obsm.keys(), "adata.obsm")
    x = adata.obsm[params["use_rep"]]
    x = np.asarray(x.toarray() if hasattr(x, "toarray") else x)[:, : params["n_dims"]]
    tree = NearestNeighbors(n_neighbors=min(n_neighbors, len(x))).fit(x)
    distance, nearest = tree.kneighbors(result["points"])
    weight = np.exp(-0.5 * np.square(distance / np.maximum(distance[:, -1:], 1e-300)))
    path = (weight[..., None] * place[nearest]).sum(1) / weight.sum(1, keepdims=True)
    along = adata.obs[key].to_numpy(dtype=float)
    near = np.isfinite(along)
    size = np.clip(20_000 / len(place), 1, 20)
    ax.scatter(*place[~near].T, s=size, color="0.85", linewidth=0, rasterized=True)
    points = ax.scatter(
        *place[near].T, s=size, c=along[near], cmap="viridis", linewidth=0, rasterized=True
    )
    ax.figure.colorbar(points, ax=ax, label="arc length along the path")
    ax.plot(*path.T, color=PALETTE[1], linewidth=2)
    for end, marker in ((0, "o"), (-1, "s")):
        ax.plot(*path[end], marker, color=PALETTE[1], markeredgecolor="white", markersize=8)
    for name, end in (("start", 0), ("end", -1)):
        ax.annotate(params[name], path[end], xytext=(6, 6), textcoords="offset points")
    name = basis.removeprefix("X_")
    ax.set(xlabel=f"{name} 1", ylabel=f"{name} 2", title="Path", xticks=[], yticks=[])


def _profile(result: dict, ax: Axes) -> None:
    path = result["path"]
    at = path["arc_length"]
    for i, energy in enumerate(result["population_energy"]):
        ax.plot(at, energy, color="0.75", linewidth=0.8, label="" if i else "one population")
    if path["low"].notna().all():
        ax.fill_between(at, path["low"], path["high"], color=PALETTE[0], alpha=0.25, linewidth=0)
    ax.plot(at, path["energy"], color=PALETTE[0], linewidth=2, label="all cells")
    barrier = result["barriers"].iloc[0]
    title = f"Barrier {barrier['estimate']:.1f} kT"
    if np.isfinite(barrier["low"]):
        title += f" ({barrier['low']:.1f} to {barrier['high']:.1f})"
    ax.set(xlabel="arc length", ylabel="free energy (kT) above the start", title=title)
    if len(result["population_energy"]):
        # The tails of single kernels would squeeze everything else.
        low, high = path["energy"].min(), path["energy"].max()
        ax.set_ylim(low - 0.5 * (high - low) - 1, high + (high - low) + 1)
        ax.legend(frameon=False)
