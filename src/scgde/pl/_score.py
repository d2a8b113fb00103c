from __future__ import annotations

from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors

from .._errors import require, require_choice, require_counts
from ..tl._score import basis_key
from ._figures import PALETTE

_MIN_MASS = 0.05  # of the most crowded grid point; where there are fewer cells no arrow is drawn


def score_arrows(
    adata: AnnData,
    basis: str = "umap",
    *,
    key: str = "score",
    kind: Literal["stream", "arrows"] = "stream",
    color: str | None = None,
    n_grid: int = 40,
    ax: Axes | None = None,
) -> Axes:
    """Draw on a map where the density of cells rises: the score's arrows, averaged on a grid.

    Parameters
    ----------
    adata
        Cells after ``tl.score_field(adata, model, basis=basis)``.
    basis
        The map, of two dimensions: its key in ``.obsm`` or its name without ``X_``.
    key
        ``key_added`` of :func:`scgde.tl.score_field`.
    kind
        Streamlines, or arrows whose length is that of the projection (on a nonlinear map no
        measure of the score itself).
    color
        Column of ``.obs`` to colour cells by.
    n_grid
        Points of the grid along each axis, two at least.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError, ValueError
        If the map or its arrows are absent, the map has not two dimensions, or ``n_grid`` is below
        two.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.manifold("parabola", 200, noise=0.1)
    >>> scgde.model.RegularizedAE.setup_anndata(adata)
    >>> model = scgde.model.RegularizedAE(adata, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> adata.obsm["X_map"] = adata.X
    >>> scgde.tl.score_field(adata, model, basis="map")
    >>> ax = scgde.pl.score_arrows(adata, basis="map", kind="arrows")
    >>> ax.get_xlabel()
    'map 1'
    """
    require_choice("kind", kind, ("stream", "arrows"))
    require_counts(n_grid=n_grid)
    if n_grid < 2:
        raise ValueError(f"n_grid={n_grid} must be 2 or more: arrows are drawn between cells.")
    xy = _plane(adata, basis)
    name = basis.removeprefix("X_")
    if f"{key}_{name}" not in adata.obsm:
        raise KeyError(
            f"adata.obsm has no {key + '_' + name!r}: run tl.score_field(adata, model, "
            f"key_added={key!r}, basis={basis!r}) first."
        )
    ax = _cells(adata.obs, xy, color, ax)
    ticks = [np.linspace(*np.quantile(v, [0, 1]), n_grid) for v in xy.T]
    grid = np.stack(np.meshgrid(*ticks), -1)
    arrows = _on_grid(xy, np.asarray(adata.obsm[f"{key}_{name}"]), grid.reshape(-1, 2), ticks)
    u, v = arrows.reshape(n_grid, n_grid, 2).transpose(2, 0, 1)
    if kind == "stream":
        ax.streamplot(*ticks, u, v, color="0.1", density=1.3, linewidth=0.8, arrowsize=0.8)
    else:
        ax.quiver(grid[..., 0], grid[..., 1], u, v, color="0.1", angles="xy", width=0.002)
    ax.set(xlabel=f"{name} 1", ylabel=f"{name} 2", title="Where the density of cells rises")
    return ax


def density_ridges(
    adata: AnnData,
    *,
    key: str = "ridge",
    dims: tuple[int, int] = (0, 1),
    show_cells: bool = True,
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw cells and the ridge points they were moved to, in two features of the model.

    Parameters
    ----------
    adata
        Cells after :func:`scgde.tl.density_ridges`.
    key
        ``key_added`` of it.
    dims
        The two features (of a model of components, the components).
    show_cells
        Draw the cells behind the ridge, as the model sees them; otherwise ridge points alone.
    color
        Column of ``.obs`` to colour cells by; ridge points where they are alone.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    The axes. Points that did not arrive on a ridge are left out.

    Raises
    ------
    KeyError, ValueError
        If there is no such result, or a feature is out of range.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.manifold("parabola", 200, noise=0.1)
    >>> scgde.model.RegularizedAE.setup_anndata(adata)
    >>> model = scgde.model.RegularizedAE(adata, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.density_ridges(adata, model, max_steps=3, enable_progress_bar=False)
    >>> ax = scgde.pl.density_ridges(adata)
    >>> ax.get_xlabel()
    'x_0'
    """
    require("key", key, adata.uns.keys(), "adata.uns")
    ridge, cells = (np.asarray(adata.obsm[name]) for name in (key, f"{key}_cells"))
    if len(dims) != 2 or min(dims) < 0 or max(dims) >= ridge.shape[1]:
        raise ValueError(f"dims={dims!r} must be two features from 0 to {ridge.shape[1] - 1}.")
    arrived = np.asarray(adata.obs[f"{key}_converged"], dtype=bool)
    ridge, cells = ridge[arrived][:, list(dims)], cells[:, list(dims)]
    if show_cells:
        ax = _cells(adata.obs, cells, color, ax)
        ax.scatter(*ridge.T, s=3, color="0.1", linewidth=0)
    else:
        ax = _cells(adata.obs[arrived], ridge, color, ax)
    names = adata.uns[key]["features"]
    ax.set(xlabel=names[dims[0]], ylabel=names[dims[1]])
    n_dims = adata.uns[key]["n_dims"]
    what = "Modes" if n_dims == 0 else f"Ridge of dimension {n_dims}"
    ax.set_title(f"{what}, {arrived.mean():.0%} of cells")
    return ax


def _plane(adata: AnnData, basis: str) -> np.ndarray:
    xy = np.asarray(adata.obsm[basis_key(adata, basis)], dtype=np.float64)
    if xy.shape[1] != 2:
        raise ValueError(f"basis={basis!r} has {xy.shape[1]} dimensions; a map has two.")
    return xy


def _cells(obs: pd.DataFrame, xy: np.ndarray, color: str | None, ax: Axes | None) -> Axes:
    """Draw cells as points behind what is to be shown."""
    if ax is None:
        ax = plt.subplots(figsize=(5, 4), layout="constrained")[1]
    style = {"s": 6, "linewidth": 0, "alpha": 0.6}
    if color is None:
        ax.scatter(*xy.T, color="0.75", **style)
    else:
        require("color", color, obs.columns, "adata.obs")
        values = obs[color]
        if pd.api.types.is_numeric_dtype(values.dtype) and values.dtype != bool:
            points = ax.scatter(*xy.T, c=values, cmap="viridis", **style)
            ax.figure.colorbar(points, ax=ax, label=color)
        else:
            groups = values.groupby(values, observed=True).indices
            for i, (group, rows) in enumerate(groups.items()):
                colour = PALETTE[i % len(PALETTE)]
                ax.scatter(*xy[rows].T, color=colour, label=str(group), **style)
            ax.legend(title=color, frameon=False, fontsize=8, markerscale=2)
    return ax


def _on_grid(
    xy: np.ndarray, arrows: np.ndarray, grid: np.ndarray, ticks: list[np.ndarray]
) -> np.ndarray:
    """Return the cells' arrows averaged around grid points ``(m, 2)``; NaN where no cells are."""
    spacing = np.array([t[1] - t[0] for t in ticks])
    found = NearestNeighbors(n_neighbors=min(50, len(xy))).fit(xy / spacing)
    distance, rows = found.kneighbors(grid / spacing)
    weight = norm.pdf(distance)
    mass = weight.sum(1)
    mean = np.einsum("mk,mkd->md", weight, arrows[rows]) / np.maximum(mass, 1e-12)[:, None]
    mean[mass < _MIN_MASS * mass.max()] = np.nan
    return mean
