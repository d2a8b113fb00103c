from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from matplotlib.axes import Axes
from sklearn.decomposition import PCA

from .._errors import require
from ..data import as_dense, group_cells, log_normalized, population_table

# Okabe & Ito (2008): told apart with every common colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")


def training_curve(history: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """Draw training and validation loss over epochs.

    Parameters
    ----------
    history
        ``model.history``.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    The axes: loss in nats per cell and feature, a point an epoch.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> ax = scgde.pl.training_curve(model.history)
    >>> ax.get_title()
    'Training'
    """
    ax = _axes(ax)
    for name, colour in (("train_loss", PALETTE[0]), ("validation_loss", PALETTE[1])):
        if name in history:
            values = history[name][name].astype(float)
            label = name.removesuffix("_loss").replace("train", "training")
            ax.plot(np.arange(1, len(values) + 1), values, color=colour, marker=".", label=label)
    ax.set(xlabel="epoch (100 steps)", ylabel="loss (nats per cell and feature)", title="Training")
    ax.legend(frameon=False)
    return ax


def population_map(
    adata: AnnData,
    color: str | None = None,
    *,
    embedding_key: str = "gde",
    annotate: bool = False,
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
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    The axes: a point a population, its area by its number of cells.

    Raises
    ------
    KeyError
        If the embedding or the column is absent, or the column varies within populations.

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
    if "gde_params" in adata.uns:
        table, embedding, n_cells = adata.obs, np.asarray(adata.X), adata.obs["n_cells"].to_numpy()
    else:
        require("embedding_key", embedding_key, adata.uns.keys(), "adata.uns")
        result = adata.uns[embedding_key]
        embedding, n_cells = result["embedding"].to_numpy(), np.asarray(result["n_cells"])
        keys = list(result["params"]["population_key"])
        table = population_table(adata.obs, *group_cells(adata.obs, keys))
        table = table.loc[result["embedding"].index]
    pca = PCA(2).fit(embedding)
    xy, share = pca.transform(embedding), 100 * pca.explained_variance_ratio_
    ax = _axes(ax)
    size = 15 + 150 * n_cells / n_cells.max()
    if color is None:
        ax.scatter(*xy.T, s=size, color=PALETTE[0], alpha=0.8, linewidth=0)
    else:
        require("color", color, table.columns, "adata.obs")
        values = table[color]
        if pd.api.types.is_numeric_dtype(values.dtype):
            points = ax.scatter(*xy.T, s=size, c=values, cmap="viridis", alpha=0.8, linewidth=0)
            ax.figure.colorbar(points, ax=ax, label=color)
        else:
            for i, level in enumerate(pd.Categorical(values).categories):
                at = (values == level).to_numpy()
                ax.scatter(
                    *xy[at].T,
                    s=size[at],
                    color=PALETTE[i % 8],
                    label=str(level),
                    alpha=0.8,
                    linewidth=0,
                )
            unknown = values.isna().to_numpy()
            if unknown.any():
                ax.scatter(
                    *xy[unknown].T, s=size[unknown], color="0.7", label="unknown", linewidth=0
                )
            legend = ax.legend(title=color, frameon=False)
            for handle in legend.legend_handles:
                handle.set_sizes([40])
    if annotate:
        for name, point in zip(table.index, xy, strict=True):
            ax.annotate(str(name), point, fontsize=6, xytext=(4, 3), textcoords="offset points")
    ax.set(
        xlabel=f"embedding PC1 ({share[0]:.0f} %)",
        ylabel=f"embedding PC2 ({share[1]:.0f} %)",
        title="Populations (area: number of cells)",
    )
    return ax


def resampled_cells(
    real: AnnData,
    generated: AnnData,
    *,
    layer: str | None = None,
    log_normalize: bool = True,
    n_cells: int = 1_000,
    seed: int = 0,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw real against resampled cells: on a map, and by each feature's variance.

    Parameters
    ----------
    real, generated
        Cells of one population, as observed and as from ``model.sample``.
    layer
        Layer of the real cells that the model was trained on; ``.X`` by default.
    log_normalize
        Draw ``log(1 + 10^4 x / total)``; for counts.
    n_cells
        Points of each kind at most, drawn at random.
    seed
        Seed of that draw.
    axes
        Two axes; a new figure by default.

    Returns
    -------
    Axes of the map (two principal components of the real cells) and of the variances, a point a
    feature.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.poisson_populations(6, 40)
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> real = adata[adata.obs["population"] == "population_0000"]
    >>> generated = model.sample("population_0000", n_cells=40)
    >>> left, right = scgde.pl.resampled_cells(real, generated)
    >>> right.get_xlabel()
    'variance of log-normalised counts, real'
    """
    x, y = (
        _matrix(m, log_normalize)
        for m in (real.X if layer is None else real.layers[layer], generated.X)
    )
    if axes is None:
        axes = tuple(plt.subplots(1, 2, figsize=(9, 4), layout="constrained")[1])
    rng = np.random.default_rng(seed)
    pca = PCA(2).fit(x)
    for values, label, colour in ((x, "real", PALETTE[0]), (y, "resampled", PALETTE[1])):
        few = rng.choice(len(values), min(n_cells, len(values)), replace=False)
        axes[0].scatter(
            *pca.transform(values[few]).T, s=6, color=colour, alpha=0.5, label=label, linewidth=0
        )
    axes[0].set(xlabel="PC1 of real cells", ylabel="PC2 of real cells", title="Cells")
    axes[0].legend(frameon=False, markerscale=2)
    axes[1].scatter(x.var(0), y.var(0), s=6, color=PALETTE[2], alpha=0.6, linewidth=0)
    top = max(x.var(0).max(), y.var(0).max()) * 1.05
    axes[1].plot([0, top], [0, top], color="0.5", linewidth=1)
    scale = " of log-normalised counts" if log_normalize else ""
    axes[1].set(
        xlabel=f"variance{scale}, real", ylabel=f"variance{scale}, resampled", title="Features"
    )
    return axes


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots(figsize=(5, 4), layout="constrained")[1] if ax is None else ax


def _matrix(x: np.ndarray | sp.spmatrix, log_normalize: bool) -> np.ndarray:
    return as_dense(log_normalized(x) if log_normalize else x)
