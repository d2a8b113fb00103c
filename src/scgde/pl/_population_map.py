from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Ellipse
from sklearn.decomposition import PCA

from .._errors import require_type
from ..data import group_cells, population_table, require_label
from ..stats import hotelling_radius
from ._figures import PALETTE

_UNKNOWN = "0.7"
_MARKERS = "os^Dv<>P"  # where there are more levels than colours

_MOST_IN_AXES, _MOST_IN_COLUMN = 8, 18  # levels in the legend


def population_map(
    adata: AnnData,
    color: str | None = None,
    *,
    embedding_key: str = "gde",
    annotate: bool = False,
    ellipses: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw populations on the first two principal components of their embeddings.

    Parameters
    ----------
    adata
        Cells after ``tl.embed_populations``, or populations from ``model.get_population_adata``.
    color
        Column of ``.obs``, constant within populations, to colour by.
    embedding_key
        Where ``tl.embed_populations`` wrote, for cells.
    annotate
        Write each population's name beside it.
    ellipses
        Draw the joint 95 % region of the two coordinates given each population's cells, from its
        sampling covariance; for cells, embedded with their covariances. Populations of fewer than
        four cells have none. They are of new cells under this encoder: that two ellipses are apart
        proves no difference of populations that it was trained on
        (:func:`scgde.tl.compare_populations`).
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    The axes: a point a population, its area by its number of cells.

    Raises
    ------
    KeyError
        If the embedding, its covariance or the column is absent, or the column varies within
        populations.
    TypeError
        If ``adata`` is no AnnData or ``color`` no string.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.embed_populations(adata, model)
    >>> ax = scgde.pl.population_map(adata, color="mean")
    >>> ax.get_title()
    'Populations (area: number of cells)'
    """
    require_type("adata", adata, AnnData, "Of a MuData pass model.get_population_adata(mdata).")
    covariance = None
    if "gde_params" in adata.uns:
        table, embedding, n_cells = adata.obs, np.asarray(adata.X), adata.obs["n_cells"].to_numpy()
    else:
        if embedding_key not in adata.uns:
            raise KeyError(
                f"embedding_key={embedding_key!r} is not in adata.uns. Call "
                "scgde.tl.embed_populations(adata, model) first."
            )
        result = adata.uns[embedding_key]
        covariance = result.get("covariance")
        embedding, n_cells = result["embedding"].to_numpy(), np.asarray(result["n_cells"])
        keys = list(result["params"]["population_key"])
        table = population_table(adata.obs, *group_cells(adata.obs, keys))
        table = table.loc[result["embedding"].index]
    if ellipses and covariance is None:
        raise KeyError(
            "ellipses=True needs the embeddings' covariances: pass the cells, after "
            "scgde.tl.embed_populations(adata, model, covariance=True)."
        )
    pca = PCA(2).fit(embedding)
    xy, share = pca.transform(embedding), 100 * pca.explained_variance_ratio_
    if color is not None:
        require_label("color", color, table)
    n_columns = 0 if color is None else _columns_of_legend(table[color])
    if ax is None:
        ax = plt.subplots(figsize=(5 + 1.7 * n_columns, 4), layout="constrained")[1]
    # Beside ellipses points are small, or they would cover them.
    size = (5 + 40 * n_cells / n_cells.max()) if ellipses else (15 + 150 * n_cells / n_cells.max())
    if color is None:
        ax.scatter(*xy.T, s=size, color=PALETTE[0], alpha=0.8, linewidth=0)
        colours = np.tile(to_rgba(PALETTE[0]), (len(xy), 1))
    elif pd.api.types.is_numeric_dtype(table[color].dtype):
        colours = _scatter_numbers(ax, xy, size, table[color])
    else:
        colours = _scatter_levels(ax, xy, size, table[color], n_columns)
    if ellipses:
        for i in np.flatnonzero(n_cells > 3):
            seen = pca.components_ @ covariance[i] @ pca.components_.T
            ax.add_patch(_region(xy[i], seen, int(n_cells[i]), colours[i]))
        ax.autoscale_view()
    if annotate:
        for name, point in zip(table.index, xy, strict=True):
            ax.annotate(str(name), point, fontsize=6, xytext=(4, 3), textcoords="offset points")
    ax.set(
        xlabel=f"embedding PC1 ({share[0]:.0f} %)",
        ylabel=f"embedding PC2 ({share[1]:.0f} %)",
        title="Populations (area: number of cells"
        + ("; ellipses: 95 % given the cells)" if ellipses else ")"),
    )
    return ax


def _scatter_numbers(ax: Axes, xy: np.ndarray, size: np.ndarray, values: pd.Series) -> np.ndarray:
    """Draw points by a number; return their colours ``(P, 4)``, grey where it is unknown."""
    known = values.notna().to_numpy()
    numbers = values[known].astype(float)
    style = {"alpha": 0.8, "linewidth": 0}
    ax.scatter(*xy[~known].T, s=size[~known], color=_UNKNOWN, **style)
    points = ax.scatter(*xy[known].T, s=size[known], c=numbers, cmap="viridis", **style)
    ax.figure.colorbar(points, ax=ax, label=values.name)
    colours = np.tile(to_rgba(_UNKNOWN), (len(xy), 1))
    colours[known] = points.to_rgba(numbers)
    return colours


def _scatter_levels(
    ax: Axes, xy: np.ndarray, size: np.ndarray, values: pd.Series, n_columns: int
) -> np.ndarray:
    """Draw points by a level, with a legend; return their colours ``(P, 4)``."""
    levels = pd.Categorical(values).remove_unused_categories()
    colours = np.tile(to_rgba(_UNKNOWN), (len(xy), 1))
    for i, level in enumerate(levels.categories):
        at = levels.codes == i
        colours[at] = to_rgba(PALETTE[i % 8])
        marker, style = _MARKERS[i // 8 % len(_MARKERS)], {"alpha": 0.8, "linewidth": 0}
        ax.scatter(*xy[at].T, s=size[at], color=PALETTE[i % 8], marker=marker, label=level, **style)
    unknown = levels.codes < 0
    if unknown.any():
        style = {"color": _UNKNOWN, "label": "unknown", "linewidth": 0}
        ax.scatter(*xy[unknown].T, s=size[unknown], **style)
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1), "fontsize": "x-small"}
    legend = ax.legend(
        title=values.name, frameon=False, **(beside | {"ncols": n_columns} if n_columns else {})
    )
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    return colours


def _region(center: np.ndarray, covariance: np.ndarray, n_cells: int, colour: tuple) -> Ellipse:
    """Return the joint 95 % region of two coordinates of a mean of ``n_cells``."""
    values, vectors = np.linalg.eigh(covariance)
    width = 2 * np.sqrt(hotelling_radius(n_cells, 2) * np.maximum(values, 0))
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    return Ellipse(center, width[1], width[0], angle=angle, facecolor=colour, alpha=0.25)


def _columns_of_legend(values: pd.Series) -> int:
    """Return columns of a legend beside the axes; none where it has room within or is a bar."""
    n_levels = values.nunique()
    if pd.api.types.is_numeric_dtype(values.dtype) or n_levels <= _MOST_IN_AXES:
        return 0
    return -(-n_levels // _MOST_IN_COLUMN)
