from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from ._index import PopulationIndex
from ._normalize import as_dense, log_normalized
from ._rows import RowSource


def population_moments(
    source: RowSource, index: PopulationIndex, is_counts: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of every feature in every population, ``(P, d)`` each.

    Counts are log-normalised first, cell by cell, which fits nothing.

    Parameters
    ----------
    source, index
        The cells and their populations; those without cells get NaN.
    is_counts
        Whether the cells are counts.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> rows = scgde.data.row_source(np.ones((30, 4)))
    >>> mean, sd = scgde.data.population_moments(rows, index, is_counts=False)
    >>> mean.shape, sd.max().item()
    ((3, 4), 0.0)
    """
    first = np.zeros((len(index), source.shape[1]))
    second = np.zeros_like(first)
    for start in range(0, len(index.order), 4096):
        rows = index.order[start : start + 4096]
        block = source[rows]
        block = log_normalized(block) if is_counts else block
        block = block.astype(np.float64)
        member = sp.csr_matrix(
            (np.ones(len(rows)), (index.codes[rows], np.arange(len(rows)))),
            shape=(len(index), len(rows)),
        )
        first += as_dense(member @ block, np.float64)
        second += as_dense(
            member @ (block.power(2) if sp.issparse(block) else block**2), np.float64
        )
    n = np.where(index.sizes > 0, index.sizes, np.nan)[:, None]
    mean = first / n
    return mean, np.sqrt(np.maximum(second / n - mean**2, 0))
