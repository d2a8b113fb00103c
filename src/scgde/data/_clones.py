"""A clone matrix, cells x clones, into one label for each cell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike

from .._errors import listed, require_choice, require_positive

COMBINED = "+"


def clone_labels(
    matrix: ArrayLike | sp.spmatrix | sp.sparray | pd.DataFrame,
    clone_names: Iterable[str | bytes] | None = None,
    *,
    min_count: float = 1,
    multiple: Literal["drop", "combine"] = "drop",
) -> pd.DataFrame:
    """Return the clone of each cell, with "no clone" and "several clones" told apart.

    Parameters
    ----------
    matrix
        Cells x clones, as LARRY ships it (``clone_matrix.mtx``, read by :func:`scipy.io.mmread`):
        barcode counts, or 0 and 1. A DataFrame's columns are clones and its index cells.
    clone_names
        Names of the columns; by default those of a DataFrame, else ``"clone_0"`` and so on.
    min_count
        A smaller entry is no evidence of a barcode.
    multiple
        What becomes of a cell with several barcodes. ``"drop"``: it has no label. ``"combine"``:
        cells with exactly the same barcodes are a clone of their own, named ``"a+b"``, as where
        founder cells took up several viruses.

    Returns
    -------
    DataFrame, one row a cell: ``clone``, categorical in the order of the columns, missing where
    there is no one clone; ``n_clones``, barcodes seen; ``status``, categorical of ``"single"``,
    ``"none"`` and ``"multiple"``.

    Raises
    ------
    TypeError, ValueError
        If entries are no numbers, negative or not finite, there are not two axes, names are one
        text, do not match the columns, are repeated or become ambiguous when joined.

    Examples
    --------
    >>> import numpy as np
    >>> clone_labels(np.array([[1, 0], [0, 0], [1, 1]]))["status"].tolist()
    ['single', 'none', 'multiple']
    """
    require_choice("multiple", multiple, ("drop", "combine"))
    require_positive(min_count=min_count)
    index = None
    if isinstance(matrix, pd.DataFrame):
        index, clone_names = matrix.index, matrix.columns if clone_names is None else clone_names
    counts = clone_counts("matrix", matrix)
    names = _names(clone_names, counts.shape[1])
    has = sp.csr_matrix(counts >= min_count)
    has.sort_indices()
    n_clones = np.diff(has.indptr)
    labels = np.full(len(n_clones), None, dtype=object)
    single, several = n_clones == 1, np.flatnonzero(n_clones > 1)
    labels[single] = names[has.indices[has.indptr[:-1][single]]]
    seen = set(labels[single])
    categories = [name for name in names if name in seen]
    if multiple == "combine":
        sets = [tuple(has.indices[has.indptr[i] : has.indptr[i + 1]]) for i in several]
        labels[several] = [COMBINED.join(names[list(s)]) for s in sets]
        combined = list(dict.fromkeys(labels[several]))
        if len(combined) < len(set(sets)) or set(combined) & set(names):
            raise ValueError(
                f"multiple='combine' joins names by {COMBINED!r}, and some contain it: two clones "
                "would have one name. Pass other clone_names."
            )
        categories += combined
    return pd.DataFrame(
        {
            "clone": pd.Categorical(labels, categories=categories),
            "n_clones": n_clones.astype(np.int64),
            "status": pd.Categorical.from_codes(
                np.select([single, n_clones == 0], [0, 1], 2), ["single", "none", "multiple"]
            ),
        },
        index=index,
    )


def clone_counts(
    argument: str, matrix: ArrayLike | sp.spmatrix | sp.sparray | pd.DataFrame
) -> sp.csr_matrix:
    """Return counts of barcodes, cells x clones, whatever they came as.

    Raises
    ------
    ValueError
        If entries are no numbers, negative or not finite, or there are not two axes.
    """
    if not sp.issparse(matrix):
        try:
            matrix = np.asarray(matrix)
            matrix = matrix if matrix.dtype.kind in "biuf" else matrix.astype(float)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{argument} must hold numbers, a row for each cell and a column for each clone."
            ) from error
    if matrix.ndim != 2:
        raise ValueError(
            f"{argument} must be cells x clones, but its shape is {matrix.shape}. Of one label a "
            "cell no matrix is needed: write it to adata.obs."
        )
    # By way of coordinates: sums what is stored in two parts, and leaves the given matrix alone.
    counts = sp.csr_matrix(sp.coo_matrix(matrix))
    if not np.isfinite(counts.data).all() or (counts.data < 0).any():
        raise ValueError(f"{argument} has entries that are negative, NaN or infinite; give counts.")
    return counts


def _names(given: Iterable[str | bytes] | None, n: int) -> np.ndarray:
    """Return the names of ``n`` clones, text and all different."""
    if isinstance(given, str | bytes):
        raise TypeError(f"clone_names={given!r} is one text; give a list, a name for each column.")
    if given is None:
        given = [f"clone_{i}" for i in range(n)]
    names = np.array([x.decode() if isinstance(x, bytes) else str(x) for x in given], dtype=object)
    if len(names) != n:
        raise ValueError(
            f"clone_names has {len(names)} names, but the matrix has {n} columns (clones)."
        )
    twice = pd.Index(names)[pd.Index(names).duplicated()].unique()
    if len(twice):
        raise ValueError(f"clone_names has names more than once: {listed(twice, 5)}.")
    return names
