"""What is known of the things that are perturbed, before any is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from sklearn.decomposition import PCA

from .._errors import listed, require
from ..data import RowSource, as_dense, log_normalized

_MAX_CELLS = 5_000


def given_features(features: pd.DataFrame | str | dict, adata: AnnData | None) -> pd.DataFrame:
    """Return features of parts, parts x features, as float32.

    Parameters
    ----------
    features
        A DataFrame, the key of one in ``adata.uns``, or the dict that :func:`as_plain` made.
    adata
        The training data.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the key is absent, or the table is none, repeats a name or has values that are no finite
        numbers.
    """
    if isinstance(features, dict):
        return pd.DataFrame(features["values"], features["names"], features["columns"])
    where = "features"
    if isinstance(features, str):
        require("features", features, adata.uns.keys(), "adata.uns")
        where, features = f"adata.uns[{features!r}]", adata.uns[features]
    if not isinstance(features, pd.DataFrame):
        raise TypeError(
            f"{where} must be a DataFrame of genes x features, got {type(features).__name__}."
        )
    names = features.index.astype(str)
    if not names.is_unique:
        raise ValueError(
            f"{where} has rows of the same name ({listed(names[names.duplicated()].unique(), 5)}). "
            "Keep one each: features[~features.index.duplicated()]."
        )
    try:
        values = features.to_numpy(dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where} has columns that are no numbers. Genes are its index, features its columns: "
            "pd.read_csv(..., index_col=0)."
        ) from error
    lost = ~np.isfinite(values).all(1)
    if lost.any():
        raise ValueError(
            f"{where} has NaN or infinite values for {listed(names[lost], 5)}. Drop these rows: "
            "features.dropna()."
        )
    return pd.DataFrame(values, names, features.columns.astype(str))


def as_plain(features: pd.DataFrame) -> dict:
    """Return features in a form that a saved model keeps."""
    return {
        "names": features.index.to_numpy(dtype=object),
        "columns": features.columns.to_numpy(dtype=object),
        "values": features.to_numpy(),
    }


def coexpression_features(
    source: RowSource,
    controls: np.ndarray,
    names: pd.Index,
    is_counts: bool,
    n: int = 32,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the loadings of genes on the principal components of control cells.

    Genes that vary together without any perturbation have similar loadings. Each component is
    scaled by its standard deviation, each gene by its own, so rows are correlations of the gene
    with the components.

    Parameters
    ----------
    source, controls
        The cells, and the control population that each belongs to, -1 for none, ``(n_cells,)``.
        Differences between controls (of cell lines) are no co-expression and are left out.
    names
        Names of the genes.
    is_counts
        Whether the cells are counts, which are log-normalised.
    n
        Components, at most.
    seed
        Seed of the cells drawn where there are more than 5,000.

    Raises
    ------
    ValueError
        If there are fewer than three cells.
    """
    rows = np.flatnonzero(controls >= 0)
    if len(rows) < 3:
        raise ValueError(
            f"There are {len(rows)} control cells, too few for the genes' co-expression. Pass "
            "features, a DataFrame of genes x features."
        )
    if len(rows) > _MAX_CELLS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _MAX_CELLS, replace=False))
    block = source[rows]
    x = as_dense(log_normalized(block) if is_counts else block)
    for control in np.unique(controls[rows]):
        x[controls[rows] == control] -= x[controls[rows] == control].mean(0)
    varies = x.std(0) > 1e-6
    x = x[:, varies] / x[:, varies].std(0)
    pca = PCA(min(n, len(x) - 1, x.shape[1]), random_state=seed).fit(x)
    loadings = pca.components_.T * np.sqrt(pca.explained_variance_)
    columns = [f"coexpression_{i}" for i in range(loadings.shape[1])]
    return pd.DataFrame(loadings.astype(np.float32), names[varies], columns)
