from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from .._errors import require
from ..data import group_cells, population_table, require_label
from ._figures import PALETTE

_MAX_NAMES = 60


def intrinsic_dimension(
    adata: AnnData,
    key: str = "intrinsic_dimension",
    *,
    color: str | None = None,
    axes: Axes | tuple[Axes, Axes] | None = None,
) -> Axes | tuple[Axes, Axes]:
    """Draw the intrinsic dimension of every population, and the profiles of the autoencoders.

    Parameters
    ----------
    adata
        Data after :func:`scgde.tl.intrinsic_dimension`, or a part of them, of which only the
        populations are drawn that have cells.
    key
        Where that wrote.
    color
        Column of ``.obs``, constant within populations, to colour by; by default the groups that
        were compared.
    axes
        One axis, or two where there are profiles; a new figure by default.

    Returns
    -------
    The axes. Left: consensus with its 95 % interval, ascending, and in grey the range of the null.
    Right, where there are autoencoders: for each population the share of the variance that the
    first k latents leave, and in grey that of the nulls, each and, thick, in the mean.

    Raises
    ------
    KeyError, ValueError
        If there is no such result, the column is absent or no population has an estimate.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.low_rank_populations(3, 60, n_features=10)
    >>> quick = {"methods": ["dpa", "twonn"], "n_nulls": 2, "n_subsamples": 8}
    >>> quick |= {"dpa_kwargs": {"n_steps": 20}, "enable_progress_bar": False}
    >>> _ = scgde.tl.intrinsic_dimension(adata, "population", **quick)
    >>> dimensions, profiles = scgde.pl.intrinsic_dimension(adata)
    >>> dimensions.get_xlabel(), profiles.get_xlabel()
    ('intrinsic dimension (consensus, 60 cells)', 'latent variables k')
    """
    require("key", key, adata.uns.keys(), "adata.uns")
    result, details = adata.uns[key], adata.uns[f"{key}_details"]
    params = details["params"]
    groups = _groups(adata, list(params["population_key"]), color or params["groupby"] or None)
    found = result[result["estimate"].notna() & result.index.isin(groups.index)]
    found = found.sort_values("estimate")
    if not len(found):
        raise ValueError(f"adata.uns[{key!r}] has no population of adata with an estimate.")
    groups = groups.reindex(found.index)
    colours = {g: PALETTE[i % 7] for i, g in enumerate(sorted(groups.unique()))}
    profile = details.get("profile")
    if axes is None:
        shape = (1, 1 if profile is None else 2)
        height = min(max(4, 0.16 * len(found)), 9)
        axes = plt.subplots(*shape, figsize=(5 * shape[1], height), layout="constrained")[1]
    first = axes if isinstance(axes, Axes) else axes[0]
    _estimates(found, groups, colours, first)
    if profile is None:
        return first
    profile = profile[profile["population"].isin(found.index)]
    _profiles(profile, groups, colours, axes[1])
    return first, axes[1]


def _groups(adata: AnnData, keys: list[str], color: str | None) -> pd.Series:
    table = population_table(adata.obs, *group_cells(adata.obs, keys))
    if color is None:
        return pd.Series("all", index=table.index)
    require_label("color", color, table)
    return table[color].astype(object).where(table[color].notna(), "unknown").astype(str)


def _estimates(found: pd.DataFrame, groups: pd.Series, colours: dict, ax: Axes) -> None:
    place = np.arange(len(found))
    ax.hlines(place, found["null_low"], found["null_high"], color="0.85", linewidth=3)
    ax.plot(found["null"], place, "|", color="0.5", label="null: 95 % range")
    for group, colour in colours.items():
        of = (groups == group).to_numpy()
        ax.hlines(place[of], found["low"][of], found["high"][of], color=colour, linewidth=1)
        label = group if len(colours) > 1 else "cells, 95 % interval"
        ax.plot(found["estimate"][of], place[of], "o", color=colour, markersize=4, label=label)
    if len(found) <= _MAX_NAMES:
        ax.set_yticks(place, found.index, fontsize=6)
    else:
        ax.set_yticks([])
    n_cells = int(found["n_cells"].iloc[0])
    ax.set(
        xlabel=f"intrinsic dimension (consensus, {n_cells} cells)",
        ylabel="population",
        title="Intrinsic dimension",
    )
    ax.legend(frameon=False, fontsize=8)


def _profiles(profile: pd.DataFrame, groups: pd.Series, colours: dict, ax: Axes) -> None:
    for name, of in profile.groupby("population"):
        of = of.sort_values("k")
        if of["null_unexplained"].notna().all():
            ax.plot(of["k"], of["null_unexplained"], color="0.8", linewidth=0.6, zorder=1)
        ax.plot(of["k"], of["unexplained"], color=colours[groups[name]], linewidth=0.6, alpha=0.6)
    mean = profile.groupby("k")[["unexplained", "null_unexplained"]].mean()
    ax.plot(mean.index, mean["null_unexplained"], color="0.5", linewidth=2, label="null, mean")
    ax.plot(mean.index, mean["unexplained"], color="black", linewidth=2, label="cells, mean")
    ax.set(
        xlabel="latent variables k",
        ylabel="unexplained share of the variance, held out",
        title="Distributional principal autoencoders",
    )
    ax.legend(frameon=False, fontsize=8)
