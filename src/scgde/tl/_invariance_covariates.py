"""What is technical about populations, and how it goes with the axes of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from rich.progress import track
from scipy.stats import false_discovery_control, norm, rankdata, zscore
from sklearn.decomposition import PCA

from .._errors import require
from .._scvi import X_KEY, state_of
from ..model import GDE

_N_PERMUTATIONS, _AT_ONCE = 9_999, 1_111
_CHUNK = 4096
TAKEN = (
    "order",
    "repetition",
    "weights",
    "subsampling",
    "slope",
    "n_cells",
    "depth",
    "mitochondrial_share",
)
_FEWEST = 5  # populations; of four no permutation p-value is below 0.04


def covariates(
    model: GDE,
    adata: AnnData | MuData,
    mito_prefix: str,
    obs_keys: Sequence[str],
    enable_progress_bar: bool,
) -> dict[str, np.ndarray | str]:
    """Return each technical covariate of populations ``(P,)``, or in words why there is none."""
    dataset = model._dataset(adata)
    index = dataset.index
    found: dict[str, np.ndarray | str] = {"n_cells": index.sizes.astype(float)}
    if state_of(model._validated_manager(adata).registry, X_KEY)["is_counts"]:
        mitochondrial = np.array(
            [name.startswith(mito_prefix) for name in model.get_feature_names().astype(str)]
        )
        totals = np.zeros((len(index), 2))
        quiet = not enable_progress_bar or len(index.order) < 100_000
        for start in track(range(0, len(index.order), _CHUNK), "Depth", disable=quiet):
            rows = index.order[start : start + _CHUNK]
            x = dataset.source[rows][:, : len(mitochondrial)]  # no indicators of modalities
            both = [np.asarray(part.sum(1)).ravel() for part in (x, x[:, mitochondrial])]
            np.add.at(totals, index.codes[rows], np.stack(both, 1))
        found["depth"] = totals[:, 0] / index.sizes
        found["mitochondrial_share"] = (
            totals[:, 1] / totals[:, 0]
            if mitochondrial.any()
            else f"not available: no gene starts with {mito_prefix!r}"
        )
    else:
        found["depth"] = found["mitochondrial_share"] = (
            "does not apply to real-valued features; name columns of .obs in obs_keys"
        )
    obs = model._obs(adata)
    own = index.codes >= 0
    for key in [obs_keys] if isinstance(obs_keys, str) else obs_keys:
        if key in TAKEN:
            raise ValueError(
                f"obs_keys: {key!r} is the name of a check of the report; rename the column."
            )
        require("obs_keys", key, obs.columns, "adata.obs")
        if not pd.api.types.is_numeric_dtype(obs[key].dtype):
            raise ValueError(f"obs_keys: column {key!r} is not numeric; leave it out.")
        means = obs[key].astype(float)[own].groupby(index.codes[own]).mean()
        found[key] = means.reindex(range(len(index))).to_numpy()
    return found


def correlations(
    pca: PCA, z: pd.DataFrame, covariates: dict[str, np.ndarray | str], seed: int
) -> pd.DataFrame:
    """Return the rank correlation of every covariate with every principal axis.

    Parameters
    ----------
    pca
        Fitted on the embeddings.
    z
        Embeddings, populations x ``n_latent``.
    covariates
        As from :func:`covariates`; populations where one is NaN do not count for it.
    seed
        Seed of permutations.

    Returns
    -------
    DataFrame of ``covariate``, ``axis``, ``variance_share`` (of the axis), ``spearman``, ``low``,
    ``high``, ``p_value``, ``p_adjusted`` (over all rows), ``note``.
    """
    scores, rng = pca.transform(z), np.random.default_rng(seed)
    tables = []
    for name, values in covariates.items():
        table = pd.DataFrame(_correlations(values, scores, rng), index=range(scores.shape[1]))
        table.insert(0, "variance_share", pca.explained_variance_ratio_)
        table.insert(0, "axis", [f"PC{i + 1}" for i in table.index])
        table.insert(0, "covariate", name)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    tested = table["p_value"].notna()
    table["p_adjusted"] = np.nan
    if tested.any():
        table.loc[tested, "p_adjusted"] = false_discovery_control(table.loc[tested, "p_value"])
    return table


def _correlations(values: np.ndarray | str, scores: np.ndarray, rng: np.random.Generator) -> dict:
    """Return Spearman's correlations, intervals (Bonett & Wright 2000) and permutation p-values."""
    none = {"spearman": np.nan, "low": np.nan, "high": np.nan, "p_value": np.nan}
    if isinstance(values, str):
        return {**none, "note": values}
    known = np.isfinite(values)
    n = int(known.sum())
    if n < _FEWEST:
        return {**none, "note": f"known of {n} populations; {_FEWEST} are needed"}
    if np.ptp(values[known]) == 0:
        return {**none, "note": "the same in all populations"}
    x, y = zscore(rankdata(values[known])), zscore(rankdata(scores[known], axis=0), axis=0) / n
    rho = x @ y
    beyond = np.ones(len(rho))
    for _ in range(_N_PERMUTATIONS // _AT_ONCE):
        null = rng.permuted(np.broadcast_to(x, (_AT_ONCE, n)), axis=1) @ y
        beyond += (np.abs(null) >= np.abs(rho) - 1e-12).sum(0)
    centre = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    half = norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return {
        "spearman": rho,
        "low": np.tanh(centre - half),
        "high": np.tanh(centre + half),
        "p_value": beyond / (_N_PERMUTATIONS + 1),
        "note": "",
    }
