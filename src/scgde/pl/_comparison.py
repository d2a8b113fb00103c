from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from .._errors import require, require_counts
from ._figures import PALETTE


def comparison(
    adata: AnnData,
    contrast: str | None = None,
    *,
    key: str = "gde_comparison",
    n_genes: int = 15,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw a contrast of ``tl.compare_populations``: units along its direction, and its genes.

    The direction was fitted to these units, so that groups look further apart than new ones would
    be: the distance in the title, with its interval, has that taken out.

    Parameters
    ----------
    adata
        Data after :func:`scgde.tl.compare_populations`.
    contrast
        Row of its table, as "severe vs mild"; the first by default.
    key
        Its ``key_added``.
    n_genes
        Genes of the lowest p-values to show.
    axes
        Two axes; a new figure by default.

    Returns
    -------
    Axes of units (donors, or populations with 95 % intervals of sampling their cells) and of genes
    (filled where significant at a false discovery rate of 5 %); the latter is empty where genes
    were not compared.

    Raises
    ------
    KeyError, TypeError, ValueError
        If there is no such result or contrast, or ``n_genes`` is no whole number above zero.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> adata.obs["group"] = np.where(adata.obs["mean"] > 2.5, "high", "low")
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.embed_populations(adata, model)
    >>> _ = scgde.tl.compare_populations(adata, groupby="group", genes=False)
    >>> units, genes = scgde.pl.comparison(adata)
    >>> len(units.get_yticklabels()) > 0
    True
    """
    require("key", key, adata.uns.keys(), "adata.uns")
    require_counts(n_genes=n_genes)
    result = adata.uns[key]
    tests = result["tests"]
    contrast = tests.index[0] if contrast is None else contrast
    require("contrast", contrast, list(tests.index), "the contrasts")
    if axes is None:
        axes = tuple(plt.subplots(1, 2, figsize=(9, 4), layout="constrained")[1])
    scores = result["scores"]
    _units(axes[0], tests.loc[contrast], scores[scores["contrast"] == contrast])
    axes[0].set_title(_title(contrast, tests.loc[contrast]), fontsize="medium")
    if "genes" in result:
        genes = result["genes"]
        _genes(axes[1], genes[genes["contrast"] == contrast].head(n_genes), tests.loc[contrast])
    else:
        axes[1].set_axis_off()
    return axes


def _title(contrast: str, test: pd.Series) -> str:
    p = test["p_adjusted"]
    p = "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"
    distance = f"{test['distance']:.1f} [{test['low']:.1f}, {test['high']:.1f}]"
    return f"{contrast}: {p}\ndistance {distance} sd of {test['unit']}"


def _units(ax: Axes, test: pd.Series, scores: pd.DataFrame) -> None:
    """Draw scores in one column a group, those of the contrast first."""
    others = [g for g in pd.unique(scores["group"]) if g not in (test["a"], test["b"])]
    groups = [test["a"], test["b"], *others]
    colours = [PALETTE[0], PALETTE[1], *["0.7"] * len(others)]
    rng = np.random.default_rng(0)
    for place, (group, colour) in enumerate(zip(groups, colours, strict=True)):
        own = scores[scores["group"] == group]
        x = place + rng.uniform(-0.15, 0.15, len(own))
        error = None if own["standard_error"].isna().all() else 1.96 * own["standard_error"]
        ax.errorbar(
            x, own["score"], yerr=error, fmt="o", color=colour, alpha=0.8, markersize=5, lw=1
        )
    ax.set_xticks(range(len(groups)), [g or "others" for g in groups])
    ax.set(xlim=(-0.6, len(groups) - 0.4), ylabel="embedding along the discriminating direction")
    ax.tick_params(axis="x", labelrotation=30 if len(groups) > 3 else 0)


def _genes(ax: Axes, genes: pd.DataFrame, test: pd.Series) -> None:
    genes = genes.dropna(subset=["p_value"]).iloc[::-1]
    place = np.arange(len(genes))
    for sign, colour in ((-1, PALETTE[0]), (1, PALETTE[1])):
        own = (np.sign(genes["t"]) == sign).to_numpy()
        sure = (genes["p_adjusted"] <= 0.05).to_numpy()
        for part, face in ((own & sure, colour), (own & ~sure, "none")):
            ax.barh(place[part], genes["t"][part], facecolor=face, edgecolor=colour, height=0.7)
    ax.axvline(0, color="0.5", linewidth=1)
    ax.set_yticks(place, genes["gene"], fontsize="small")
    ax.set(
        xlabel=f"t over {test['unit']}: lower or higher in {test['b']}",
        title="Genes (filled: FDR of 5 %)",
    )
