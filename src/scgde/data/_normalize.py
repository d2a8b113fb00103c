from __future__ import annotations

import numpy as np
import scipy.sparse as sp

Matrix = np.ndarray | sp.csr_matrix

_LOOKED_AT = 1_000


def is_counts(x: Matrix) -> bool:
    """Return whether the first thousand cells are whole numbers, zero or above.

    Parameters
    ----------
    x
        Values ``(n_cells, n_genes)``, in memory or backed.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.data.is_counts(np.array([[0, 2.0]])), scgde.data.is_counts(np.array([[0.5, 1.0]]))
    (True, False)
    """
    rows = x[:_LOOKED_AT]
    values = rows.data if sp.issparse(rows) else np.asarray(rows).ravel()
    return bool(((values >= 0) & (values == np.round(values))).all())


def log_normalized(x: Matrix) -> Matrix:
    """Return ``log(1 + 10^4 x / total)`` of counts ``(n_cells, n_genes)``, cell by cell.

    Sparse stays sparse. A cell without counts stays zero. Nothing is fitted.

    Parameters
    ----------
    x
        Counts ``(n_cells, n_genes)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.data.log_normalized(np.array([[1.0, 3.0]])).round(2)
    array([[7.82, 8.92]])
    """
    factor = 1e4 / np.maximum(np.asarray(x.sum(1)).ravel(), 1)
    if sp.issparse(x):
        return sp.diags(factor).dot(x).log1p().tocsr()
    return np.log1p(x * factor[:, None])


def as_dense(x: Matrix, dtype: type = np.float32) -> np.ndarray:
    """Return a matrix as an array, of float32 unless told.

    Parameters
    ----------
    x
        Sparse matrix or array.
    dtype
        Of the result.

    Examples
    --------
    >>> import scgde
    >>> import scipy.sparse as sp
    >>> scgde.data.as_dense(sp.eye(2, format="csr")).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=dtype)
