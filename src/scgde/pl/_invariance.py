from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from mudata import MuData

from .._errors import require
from ._figures import PALETTE


def invariance_report(
    adata: AnnData | MuData,
    *,
    key: str = "gde_invariance",
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw drift against the number of cells, and correlations with what is technical.

    Parameters
    ----------
    adata
        Data after :func:`scgde.tl.invariance_report`.
    key
        Where that wrote.
    axes
        Two axes; a new figure by default.

    Returns
    -------
    The axes. Left, on logarithmic scales: the drift of every population when it is subsampled, with
    the fitted line and the line of slope -1/2. Right: Spearman correlations of covariates with the
    embedding's axes; a star marks an adjusted p of at most 0.05.

    Raises
    ------
    KeyError
        If there is no such result.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> _ = scgde.tl.invariance_report(model, adata, enable_progress_bar=False)
    >>> drift, correlations = scgde.pl.invariance_report(adata)
    >>> drift.get_xscale()
    'log'
    """
    require("key", key, adata.uns.keys(), "adata.uns")
    result = adata.uns[key]
    if axes is None:
        axes = tuple(plt.subplots(1, 2, figsize=(10, 4), layout="constrained")[1])
    _drift(result, axes[0])
    _correlations(result["correlations"], axes[1])
    return axes


def _drift(result: dict, ax: Axes) -> None:
    drift, slope = result["drift"], result["checks"].loc["slope"]
    for _, of in drift.groupby("population"):
        ax.plot(of["m"], of["drift"], color="0.8", linewidth=0.8, zorder=1)
    by_size = np.log(drift[drift["drift"] > 0].set_index("m")["drift"]).groupby("m").mean()
    m, middle = by_size.index.to_numpy(dtype=float), by_size.mean()
    ax.plot(m, np.exp(by_size), "o", color=PALETTE[0], label="geometric mean over populations")
    centred = np.log(m) - np.log(m).mean()
    if np.isfinite(slope["value"]):
        label = f"slope {slope['value']:.2f} ({slope['low']:.2f} to {slope['high']:.2f})"
        ax.plot(m, np.exp(middle + slope["value"] * centred), color=PALETTE[1], label=label)
    ax.plot(m, np.exp(middle - 0.5 * centred), "--", color="0.3", linewidth=1, label="slope -0.5")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="cells subsampled from a population",
        ylabel="drift (standard deviations between populations)",
        title="Sampling",
    )
    ax.legend(frameon=False, fontsize=8)


def _correlations(table: pd.DataFrame, ax: Axes) -> None:
    known = table[table["spearman"].notna()]
    names, components = known["covariate"].unique(), known["axis"].unique()
    width = 0.8 / max(len(components), 1)
    for i, axis in enumerate(components):
        of = known[known["axis"] == axis].set_index("covariate").reindex(names)
        at = np.arange(len(names)) + (i - (len(components) - 1) / 2) * width
        ax.bar(at, of["spearman"], width, color=PALETTE[i % len(PALETTE)], label=axis)
        for x, rho, p in zip(at, of["spearman"], of["p_adjusted"], strict=True):
            if p <= 0.05:
                vertical = "bottom" if rho > 0 else "top"
                ax.annotate("*", (x, rho), ha="center", va=vertical)
    ax.axhline(0, color="0.3", linewidth=1)
    ax.set(ylim=(-1.1, 1.1), ylabel="Spearman correlation", title="Axes and technical covariates")
    ax.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
    ax.legend(frameon=False, fontsize=8, ncols=2)
