from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import require
from ..data import as_dense


def to_genes(cells: AnnData, reference: AnnData, use_rep: str, loadings: str = "PCs") -> AnnData:
    """Turn cells in a principal component space back into genes.

    Parameters
    ----------
    cells
        Cells x components, such as drawn by a model that was set up with ``use_rep``.
    reference
        The data whose components they are: its matrix, ``.obsm[use_rep]`` and ``.varm[loadings]``,
        as ``sc.pp.pca`` leaves them.
    use_rep, loadings
        Keys of the components and of the loadings.

    Returns
    -------
    AnnData of cells x genes: those genes that have loadings. Values are in the units of the matrix
    that the components were computed from (say, log-normalised), without the variance that the
    components leave out. ``.obsm[use_rep]`` keeps the components.

    Raises
    ------
    KeyError, ValueError
        If there are no loadings, or matrix, loadings and components do not belong together.
    """
    require("use_rep", use_rep, reference.obsm.keys(), "adata.obsm")
    require("loadings", loadings, reference.varm.keys(), "adata.varm")
    components = np.asarray(reference.obsm[use_rep], dtype=np.float64)
    weights = np.asarray(reference.varm[loadings], dtype=np.float64)
    if weights.shape[1] != cells.n_vars:
        raise ValueError(
            f"adata.varm[{loadings!r}] has {weights.shape[1]} components and the cells "
            f"{cells.n_vars}; they must be of one PCA."
        )
    # Genes left out of the PCA (not highly variable) have no loadings.
    genes = np.flatnonzero(np.abs(weights).sum(1) > 0)
    params = reference.uns.get("pca", {}).get("params", {})
    layer = params.get("layer")
    matrix = (reference.X if layer is None else reference.layers[layer])[:, genes]
    mean = np.zeros(len(genes))
    if params.get("zero_center", True):
        mean = np.asarray(matrix.mean(0), dtype=np.float64).ravel()
    some = np.linspace(0, reference.n_obs - 1, min(reference.n_obs, 200)).astype(int)
    error = (as_dense(matrix[some]) - mean) @ weights[genes] - components[some]
    if np.abs(error).max() > 1e-2 * components.std():
        name = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
        raise ValueError(
            f"adata.obsm[{use_rep!r}] is not {name} times adata.varm[{loadings!r}]: the matrix was "
            "changed after the PCA, or the components were (by integration, say). Genes cannot be "
            "had from it; run sc.pp.pca(adata) again and set up with its result."
        )
    values = as_dense(cells.X) @ weights[genes].T + mean
    var = pd.DataFrame(index=reference.var_names[genes])
    return AnnData(
        values.astype(np.float32), obs=cells.obs.copy(), var=var, obsm={use_rep: as_dense(cells.X)}
    )
