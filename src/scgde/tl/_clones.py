from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import ArrayLike

from .._errors import require
from ..data import clone_labels
from ..data._clones import clone_counts
from ._clonal_sets import require_key


def assign_clones(
    adata: AnnData,
    clone_matrix: str | ArrayLike | sp.spmatrix | sp.sparray | pd.DataFrame = "X_clone",
    clone_names: Iterable[str | bytes] | None = None,
    *,
    min_count: float = 1,
    multiple: Literal["drop", "combine"] = "drop",
    key_added: str = "clone",
) -> None:
    """Write each cell's clone, read from a matrix of cells x clones.

    Parameters
    ----------
    adata
        Cells.
    clone_matrix
        The matrix, a row for each cell of ``adata`` in the same order (a DataFrame: with the same
        index), or its key in ``.obsm``.
    clone_names, min_count, multiple
        As in :func:`scgde.data.clone_labels`.
    key_added
        Where to write.

    Returns
    -------
    None. Written are:

    ``.obs[key_added]``
        The clone; missing for cells of none or of several, which populations then leave out.
    ``.obs[key_added + "_status"]``
        ``"single"``, ``"none"`` or ``"multiple"``.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the matrix is absent or not one of these cells, or as :func:`scgde.data.clone_labels`.

    Examples
    --------
    >>> import scgde, anndata, numpy as np
    >>> adata = anndata.AnnData(np.ones((3, 2), dtype="float32"))
    >>> adata.obsm["X_clone"] = np.array([[0, 1], [0, 0], [1, 1]])
    >>> scgde.tl.assign_clones(adata)
    >>> adata.obs["clone"].tolist(), adata.obs["clone_status"].tolist()
    (['clone_1', nan, nan], ['single', 'none', 'multiple'])
    """
    require_key(key_added=key_added)
    if isinstance(clone_matrix, str):
        require("clone_matrix", clone_matrix, adata.obsm.keys(), "adata.obsm")
        clone_matrix = adata.obsm[clone_matrix]
    counts = clone_counts("clone_matrix", clone_matrix)
    if counts.shape[0] != adata.n_obs:
        remedy = (
            "It is clones x cells: pass clone_matrix.T."
            if counts.shape[1] == adata.n_obs
            else "Give it a row for each cell of adata, in the same order."
        )
        raise ValueError(
            f"clone_matrix has {counts.shape[0]} rows, but adata has {adata.n_obs} cells. {remedy}"
        )
    if isinstance(clone_matrix, pd.DataFrame):
        if not clone_matrix.index.equals(adata.obs_names):
            raise ValueError(
                "clone_matrix has other cells than adata, or another order. Use "
                "clone_matrix.loc[adata.obs_names]."
            )
        clone_names = clone_matrix.columns if clone_names is None else clone_names
    labels = clone_labels(counts, clone_names, min_count=min_count, multiple=multiple)
    adata.obs[key_added] = labels["clone"].array
    adata.obs[f"{key_added}_status"] = labels["status"].array
