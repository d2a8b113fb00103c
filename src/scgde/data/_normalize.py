from __future__ import annotations

import numpy as np
import scipy.sparse as sp

Matrix = np.ndarray | sp.csr_matrix


def log_normalized(x: Matrix) -> Matrix:
    """Return ``log(1 + 10^4 x / total)`` of counts ``(n_cells, n_genes)``, cell by cell.

    Sparse stays sparse. A cell without counts stays zero. Nothing is fitted.
    """
    factor = 1e4 / np.maximum(np.asarray(x.sum(1)).ravel(), 1)
    if sp.issparse(x):
        return sp.diags(factor).dot(x).log1p().tocsr()
    return np.log1p(x * factor[:, None])


def as_dense(x: Matrix, dtype: type = np.float32) -> np.ndarray:
    """Return a matrix as an array, of float32 unless told."""
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=dtype)
