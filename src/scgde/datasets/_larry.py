"""Clones of haematopoietic cells: LARRY (Weinreb 2020), as the Klein lab gives them away."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from anndata.utils import make_index_unique
from scipy.io import mmread

from .._errors import listed, require, require_counts
from ..data import is_counts
from ._recipes import with_variable_genes

_COLUMNS = {
    "Library": "library",
    "Cell barcode": "barcode",
    "Time point": "day",
    "Starting population": "start_population",
    "Cell type annotation": "cell_type",
    "Well": "well",
}
_SPRING = ["SPRING-x", "SPRING-y"]
_START = {"Lin-Kit+Sca1-": "LK", "Lin-Kit+Sca1+": "LSK"}


def read_larry(paths: list[Path], *, multiple: Literal["drop", "combine"] = "drop") -> AnnData:
    """Read the four files of a LARRY experiment.

    Parameters
    ----------
    paths
        ``normed_counts.mtx.gz``, ``gene_names.txt.gz``, ``metadata.txt.gz``,
        ``clone_matrix.mtx.gz``, in this order.
    multiple
        What becomes of cells with several barcodes, as in :func:`scgde.data.clone_labels`.

    Returns
    -------
    AnnData: ``.X`` counts normalised by the authors to a common total (CSR, float32; not logged).
    ``.obs``: "clone" (missing for cells of none or several), "clone_status", "day" (2, 4, 6),
    "cell_type", "start_population", "well", "library", "barcode". ``.obsm["X_clone"]``: cells x
    clones; ``.obsm["X_spring"]``: the published layout.

    Raises
    ------
    KeyError, ValueError
        If a column is missing, or the files do not describe the same cells and genes.
    """
    from ..data import clone_labels  # takes seconds to import

    counts_path, genes_path, metadata_path, clones_path = paths
    genes = pd.read_csv(genes_path, header=None, dtype=str)[0].to_numpy()
    metadata = pd.read_csv(metadata_path, sep="\t")
    for column in [*_COLUMNS, *_SPRING]:
        require("column", column, metadata.columns, metadata_path.name)
    obs = metadata[[*_COLUMNS]].rename(columns=_COLUMNS)
    obs["start_population"] = obs["start_population"].replace(_START)
    for key in ("library", "start_population", "cell_type"):
        obs[key] = obs[key].astype("category")
    obs.index = obs["library"].astype(str) + "_" + obs["barcode"]
    x = _matrix(counts_path, len(obs), len(genes))
    clones = _matrix(clones_path, len(obs))
    labels = clone_labels(clones, multiple=multiple)
    obs["clone"], obs["clone_status"] = labels["clone"].array, labels["status"].array
    obs.index = make_index_unique(obs.index)
    adata = AnnData(x, obs=obs, var=pd.DataFrame(index=make_index_unique(pd.Index(genes))))
    adata.obsm["X_clone"] = clones
    adata.obsm["X_spring"] = metadata[_SPRING].to_numpy(np.float32)
    return adata


def prepare_larry(adata: AnnData, n_top_genes: int = 10_000, *, min_cells: int = 3) -> AnnData:
    """Return clones as the paper takes them: cells of one clone at one day, at least three.

    GDE (arXiv 2505.18150), Sec. 6.3 and App. B.4: counts per 10^4, log1p, 10^4 genes. The public
    counts are normalised already; they are brought to the scale of 10^4 by *one* factor for all
    cells, not normalised a second time. Whole numbers (the bundled part) are normalised by cell.

    Parameters
    ----------
    adata
        As from :func:`scgde.datasets.load`. Not changed.
    n_top_genes
        Genes of highest dispersion to keep.
    min_cells
        Smallest number of cells of a clone at a day.

    Returns
    -------
    New AnnData: cells of such clones, ``.X`` logged; populations are ``["clone", "day"]``.

    Raises
    ------
    KeyError, ValueError
        If "clone" or "day" is missing, or no clone is large enough.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("weinreb2020")
    >>> scgde.datasets.prepare_larry(adata, 500).shape
    (290, 500)
    """
    from ..data import group_cells, log_normalized  # takes seconds to import

    require_counts(n_top_genes=n_top_genes, min_cells=min_cells)
    for key in ("clone", "day"):
        require("column", key, adata.obs.columns, "adata.obs")
    codes, names = group_cells(adata.obs, ["clone", "day"])
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    keep = (codes >= 0) & (sizes[codes] >= min_cells)
    if not keep.any():
        raise ValueError(
            f"min_cells={min_cells!r}: the largest clone of a day has {sizes.max(initial=0)} cells."
        )
    result = adata[keep].copy()
    if is_counts(adata.X):
        result.X = log_normalized(result.X)
    else:
        result.X = np.log1p(result.X * (1e4 / np.median(np.asarray(adata.X.sum(1)))))
    result.obs["clone"] = result.obs["clone"].astype("category").cat.remove_unused_categories()
    return with_variable_genes(result, n_top_genes)


def _matrix(path: Path, n_cells: int, n_columns: int | None = None) -> sp.csr_matrix:
    """Read cells x columns, whichever way it lies in the file."""
    x = mmread(path)
    if x.shape[0] != n_cells and x.shape[1] == n_cells:
        x = x.T
    if x.shape[0] != n_cells or n_columns not in (None, x.shape[1]):
        expected = f"{n_cells} cells" + (f" x {n_columns} genes" if n_columns else "")
        raise ValueError(
            f"{path.name} is {listed(x.shape)}, but the other files describe {expected}. Fetch all "
            "files of the set anew."
        )
    return sp.csr_matrix(x, dtype=np.float32)
