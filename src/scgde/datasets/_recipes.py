"""Normalisation and choice of genes, as in the papers."""

from __future__ import annotations

import numpy as np
from anndata import AnnData

from .._errors import require_counts
from ..data import is_counts


def variable_log_counts(
    adata: AnnData, n_top_genes: int = 2_000, *, fit_on: np.ndarray | None = None
) -> AnnData:
    """Return log-normalised counts of the most variable genes.

    ``log(1 + 10^4 x / total)`` cell by cell, then the genes of highest dispersion (scanpy's
    ``highly_variable_genes``). With 2,000 genes it is the recipe for patients (GDE,
    arXiv 2505.18150, App. B.3), with 10,000 that for perturbations (App. B.5).

    Parameters
    ----------
    adata
        Cells with counts in ``.X``, in memory. Not changed.
    n_top_genes
        Genes to keep; all, if there are no more.
    fit_on
        Cells from which genes are chosen, a mask ``(n_cells,)``: leave out held-out populations,
        whose cells may not decide which genes count. All by default.

    Returns
    -------
    New AnnData, genes in their old order: ``.X`` log-normalised, ``.layers["counts"]`` as given.

    Raises
    ------
    ValueError
        If ``.X`` does not hold counts, or ``fit_on`` is no mask of these cells.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> scgde.datasets.variable_log_counts(adata, 200).shape
    (5494, 200)
    """
    from ..data import log_normalized  # takes seconds to import

    require_counts(n_top_genes=n_top_genes)
    if not is_counts(adata.X):
        raise ValueError(
            "adata.X does not hold counts (whole numbers, zero or above). Put them there: "
            "scgde.datasets.counts_in_x(adata) takes them from adata.raw."
        )
    result = adata.copy()
    result.layers["counts"] = result.X
    result.X = log_normalized(result.X)
    return with_variable_genes(result, n_top_genes, fit_on)


def with_variable_genes(
    adata: AnnData, n_top_genes: int, fit_on: np.ndarray | None = None
) -> AnnData:
    """Return the genes of highest dispersion of log-normalised cells."""
    import scanpy as sc  # takes seconds to import

    fit_on = np.ones(adata.n_obs, bool) if fit_on is None else np.asarray(fit_on)
    if fit_on.shape != (adata.n_obs,) or fit_on.dtype != bool or not fit_on.any():
        raise ValueError(
            f"fit_on must be a mask of the {adata.n_obs} cells with some of them True; its shape "
            f"is {fit_on.shape} and its type {fit_on.dtype}."
        )
    if n_top_genes >= adata.n_vars:
        return adata.copy()
    chosen = AnnData(adata.X[fit_on], var=adata.var[[]])
    # The number is applied here: scanpy's would give more genes at ties, and fail if none varies.
    table = sc.pp.highly_variable_genes(chosen, inplace=False)
    order = np.argsort(
        -np.nan_to_num(table["dispersions_norm"].to_numpy(), nan=-np.inf), kind="stable"
    )
    return adata[:, np.sort(order[:n_top_genes])].copy()


def counts_in_x(adata: AnnData) -> AnnData:
    """Return cells with counts in ``.X``, taken from ``.raw`` where ``.X`` is normalised.

    CELLxGENE's files hold counts in ``.raw.X`` where ``.X`` is normalised, and in ``.X`` otherwise.
    The first thousand cells are looked at.

    Parameters
    ----------
    adata
        Cells, in memory. Not changed.

    Returns
    -------
    New AnnData without ``.raw``.

    Raises
    ------
    ValueError
        If neither holds counts.

    Examples
    --------
    >>> import scgde, scanpy as sc
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> adata.raw = adata.copy()
    >>> sc.pp.log1p(adata)
    >>> (scgde.datasets.counts_in_x(adata).X != adata.raw.X).nnz
    0
    """
    if is_counts(adata.X):
        result = adata.copy()
        result.raw = None
        return result
    if adata.raw is None or not is_counts(adata.raw.X):
        raise ValueError(
            "Neither adata.X nor adata.raw.X holds counts (whole numbers, zero or above). Use a "
            "file with counts, or a model with likelihood='normal'."
        )
    return AnnData(
        adata.raw.X.copy(), obs=adata.obs.copy(), var=adata.raw.var.copy(), uns=dict(adata.uns)
    )
