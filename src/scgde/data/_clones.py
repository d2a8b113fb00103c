"""A clone matrix, cells x clones, into one label for each cell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .._errors import listed, require_choice, require_positive

COMBINED = "+"


def clone_labels(
    matrix: sp.spmatrix | sp.sparray | np.ndarray | pd.DataFrame,
    clone_names: Iterable[str] | None = None,
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
    ValueError
        If entries are negative or not finite, names do not match the columns, are repeated or
        become ambiguous when joined.

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
        matrix = matrix.to_numpy()
    # By way of coordinates: sums what is stored in two parts, and leaves the given matrix alone.
    counts = sp.coo_matrix(matrix).tocsr()
    if not np.isfinite(counts.data).all() or (counts.data < 0).any():
        raise ValueError("matrix has entries that are negative, NaN or infinite; give counts.")
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


def _names(given: Iterable[str] | None, n: int) -> np.ndarray:
    """Return the names of ``n`` clones, text and all different."""
    names = np.array([f"clone_{i}" for i in range(n)] if given is None else [*map(str, given)])
    names = names.astype(object)
    if len(names) != n:
        raise ValueError(
            f"clone_names has {len(names)} names, but the matrix has {n} columns (clones)."
        )
    twice = pd.Index(names)[pd.Index(names).duplicated()].unique()
    if len(twice):
        raise ValueError(f"clone_names has names more than once: {listed(twice, 5)}.")
    return names
