"""Row sources: cells by index, from memory or from disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset

Rows = sp.csr_matrix | np.ndarray

# On disk, reading on over so many rows is quicker than another read; and so many rows of a run are
# held at once.
_MAX_GAP = 64
_MAX_RUN = 8_192


class RowSource(ABC):
    """Hands out cells by index, in the order asked for.

    Attributes
    ----------
    shape
        ``(n_cells, n_features)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> rows = scgde.data.row_source(np.eye(3))
    >>> isinstance(rows, scgde.data.RowSource), rows.shape
    (True, (3, 3))
    """

    shape: tuple[int, int]

    @abstractmethod
    def __getitem__(self, rows: np.ndarray) -> Rows:
        """Return the cells ``rows`` (any order, repeats allowed) as float32 CSR or array."""

    def chunks(self, rows: np.ndarray, size: int = 4096) -> Iterator[Rows]:
        """Iterate over the cells ``rows`` in pieces of at most ``size``."""
        for start in range(0, len(rows), size):
            yield self[rows[start : start + size]]


class MemoryRows(RowSource):
    """Cells of a CSR matrix or an array in memory.

    Parameters
    ----------
    matrix
        CSR or array, cells x features.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.data.MemoryRows(np.eye(3))[np.array([1])].tolist()
    [[0.0, 1.0, 0.0]]
    """

    def __init__(self, matrix: Rows):
        self.matrix = matrix
        self.shape = matrix.shape

    def __getitem__(self, rows: np.ndarray) -> Rows:
        return self.matrix[rows].astype(np.float32, copy=False)


class DiskRows(RowSource):
    """Cells of a matrix on disk (backed h5ad or zarr).

    Files are read forwards, each row once and neighbours in one piece; the rows are then put into
    the order asked for, so that the cells of two populations can never change places.

    Parameters
    ----------
    matrix
        As of a backed AnnData, cells x features, stored by cell.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> import anndata, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "cells.h5ad")
    >>> anndata.AnnData(np.eye(3)).write_h5ad(path)
    >>> adata = anndata.read_h5ad(path, backed="r")
    >>> scgde.data.DiskRows(adata.X)[np.array([2, 0])].tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, matrix):
        self.matrix = matrix
        self.shape = matrix.shape

    def __getitem__(self, rows: np.ndarray) -> Rows:
        forwards, place = np.unique(rows, return_inverse=True)
        if len(forwards) == 0:
            return self._block(np.arange(1))[:0]
        blocks = [self._block(run) for run in _runs(forwards)]
        if len(blocks) == 1:
            block = blocks[0]
        else:
            block = sp.vstack(blocks, "csr") if sp.issparse(blocks[0]) else np.concatenate(blocks)
        in_order = np.array_equal(place, np.arange(len(place)))
        return block if in_order else block[place]

    def _block(self, run: np.ndarray) -> Rows:
        """Read rows that lie close together: in one piece, those between them left out."""
        block = self.matrix[run[0] : run[-1] + 1]
        block = sp.csr_matrix(block) if sp.issparse(block) else np.asarray(block)
        if len(run) < block.shape[0]:
            block = block[run - run[0]]
        return block.astype(np.float32, copy=False)


def _runs(rows: np.ndarray) -> list[np.ndarray]:
    """Divide ascending rows into runs that are worth reading in one piece each."""
    apart = np.diff(rows) > _MAX_GAP
    apart |= np.diff(rows // _MAX_RUN) > 0
    return np.split(rows, np.flatnonzero(apart) + 1)


def row_source(matrix) -> RowSource:
    """Return a row source over a matrix of cells x features.

    Parameters
    ----------
    matrix
        scipy sparse matrix, array, DataFrame, or a matrix of a backed AnnData.

    Raises
    ------
    TypeError
        If the matrix is stored on disk by column, which cannot hand out cells.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.data.row_source(np.eye(3))[np.array([2, 2, 0])].tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if isinstance(matrix, CSCDataset):
        raise TypeError(
            "The cells are stored on disk by gene (CSC); rows cannot be read from that. "
            "Read it into memory and write it by cell: adata = adata.to_memory(); "
            "adata.X = adata.X.tocsr(); adata.write_h5ad(...)."
        )
    if isinstance(matrix, pd.DataFrame):
        matrix = matrix.to_numpy()
    if sp.issparse(matrix):
        matrix = sp.csr_matrix(matrix)
        if not matrix.has_canonical_format:  # a value stored in two parts
            matrix = matrix.copy()
            matrix.sum_duplicates()
        return MemoryRows(matrix)
    if isinstance(matrix, np.ndarray):
        return MemoryRows(np.ascontiguousarray(matrix))
    if isinstance(matrix, CSRDataset) or hasattr(matrix, "shape"):
        return DiskRows(matrix)
    raise TypeError(f"Cells cannot be read from {type(matrix).__name__}; give a matrix or array.")


def cells_of(adata: AnnData, layer: str | None = None, use_rep: str | None = None) -> RowSource:
    """Return the row source over a layer, over ``.obsm[use_rep]``, or over ``.X``.

    Parameters
    ----------
    adata
        Cells.
    layer, use_rep
        A layer, or a key of ``.obsm``; ``.X`` by default.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(3, 10)
    >>> scgde.data.cells_of(adata).shape
    (30, 1)
    """
    if use_rep is not None:
        return row_source(adata.obsm[use_rep])
    return row_source(adata.X if layer is None else adata.layers[layer])
