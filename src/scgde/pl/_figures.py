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
from ..data import as_dense, is_counts, log_normalized

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


def resampled_cells(
    real: AnnData,
    generated: AnnData,
    *,
    layer: str | None = None,
    log_normalize: bool | None = None,
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
        Draw ``log(1 + 10^4 x / total)``; by default where both are counts.
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

    Raises
    ------
    KeyError
        If there is no such layer.
    ValueError
        If generated cells are counts and the real ones are not.

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
    if layer is not None:
        require("layer", layer, real.layers.keys(), "real.layers")
    matrices = real.X if layer is None else real.layers[layer], generated.X
    real_counts, generated_counts = map(is_counts, matrices)
    if generated_counts and not real_counts:
        raise ValueError(
            "generated holds counts, real does not: name the layer that the model was set up with, "
            "layer='counts'."
        )
    if log_normalize is None:
        log_normalize = real_counts and generated_counts
    x, y = (_matrix(m, log_normalize) for m in matrices)
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
