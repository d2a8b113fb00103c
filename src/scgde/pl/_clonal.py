from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from .._errors import require, require_choice
from ._figures import PALETTE


def clonal_information(
    adata: AnnData,
    key: str = "gde_clonal_mi",
    *,
    basis: str = "umap",
    setting: str | None = None,
    estimator: str = "ksg",
    size: float = 8,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw where clones keep their fate: pointwise information over the cells' map, and estimates.

    Parameters
    ----------
    adata
        Cells after :func:`scgde.tl.clonal_mutual_information`.
    key
        Its ``key_added``.
    basis
        A map of the cells, ``.obsm["X_" + basis]``; its first two coordinates are drawn.
    setting
        Setting of the pointwise values, ``"transductive"`` or ``"inductive"``; by default that
        scored, and of both the transductive.
    estimator
        Estimator of the second panel.
    size
        Area of a cell in points squared.
    axes
        Two axes; a new figure by default.

    Returns
    -------
    Axes of the map (each cell by its clone's pointwise information in bits, by the normalised
    nearest-neighbour estimate; cells of no scored clone grey) and of the estimates with 95 %
    intervals (a grey line marks the mean estimate of shuffled clones).

    Raises
    ------
    KeyError, ValueError
        If the result or the map is absent, or was not made for that setting or estimator.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("weinreb2020")
    >>> _ = scgde.tl.clonal_mutual_information(
    ...     adata, "clone", "day", early=[2, 4], late=6, cell_type_key="cell_type",
    ...     enable_progress_bar=False,
    ... )
    >>> cells, estimates = scgde.pl.clonal_information(adata, basis="spring")
    >>> estimates.get_xlabel()
    'mutual information, early to late (bits)'
    """
    require("key", key, adata.uns.keys(), "adata.uns")
    maps = [name.removeprefix("X_") for name in adata.obsm if name.startswith("X_")]
    require("basis", basis, maps, "adata.obsm, where maps are called 'X_...'")
    result = adata.uns[key]
    scored, table = str(result["params"]["setting"]), result["table"]
    options = ["transductive", "inductive"] if scored == "both" else [scored]
    setting = options[0] if setting is None else setting
    require_choice("setting", setting, options)
    require_choice("estimator", estimator, list(pd.unique(table["estimator"])))
    column = f"{key}_inductive" if (scored, setting) == ("both", "inductive") else key
    require("key", column, adata.obs.columns, "adata.obs")
    if axes is None:
        axes = tuple(plt.subplots(1, 2, figsize=(10, 4), layout="constrained")[1])
    _map(axes[0], np.asarray(adata.obsm[f"X_{basis}"])[:, :2], adata.obs[column].to_numpy(), size)
    representation = result["params"]["representation"]
    axes[0].set(xlabel=f"{basis} 1", ylabel=f"{basis} 2", xticks=[], yticks=[])
    axes[0].set_title(f"Clones by {representation}, {setting}", fontsize="medium")
    _estimates(axes[1], table[table["estimator"] == estimator])
    n_clones = table["n_clones"].iloc[0]
    axes[1].set_title(f"{estimator}, {n_clones} clones (grey: shuffled)", fontsize="medium")
    return axes


def _map(ax: Axes, xy: np.ndarray, bits: np.ndarray, size: float) -> None:
    scored = np.isfinite(bits)
    ax.scatter(*xy[~scored].T, s=size, color="0.85", linewidth=0)
    points = ax.scatter(*xy[scored].T, s=size, c=bits[scored], cmap="viridis", linewidth=0)
    ax.figure.colorbar(points, ax=ax, label="pointwise information (bits)")


def _estimates(ax: Axes, table: pd.DataFrame) -> None:
    """Draw one row for each representation and setting, the first on top."""
    table = table.iloc[::-1]
    place = np.arange(len(table))
    colours = dict(zip(("transductive", "transductive_split", "inductive"), PALETTE, strict=False))
    for at, row in zip(place, table.itertuples(), strict=True):
        error = [[row.estimate - row.low], [row.high - row.estimate]]
        ax.errorbar(row.estimate, at, xerr=error, fmt="o", color=colours[row.setting], lw=1.5)
    ax.scatter(table["shuffled"], place, marker="|", s=120, color="0.5")
    one = len(set(table["setting"])) == 1
    names = table["representation"] + ("" if one else ", " + table["setting"])
    ax.set_yticks(place, names, fontsize="small")
    auc = table["metric"].iloc[0] == "auc"
    ax.axvline(0.5 if auc else 0, color="0.8", linewidth=1, zorder=0)
    ax.set_xlabel("retrieval AUC" if auc else "mutual information, early to late (bits)")
