"""Sequences as rows of an AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from .._errors import require, require_counts

DNA = "ACGT"
PROTEIN = "ACDEFGHIKLMNPQRSTVWY-"


def one_hot_sequences(
    sequences: Sequence[str], obs: pd.DataFrame, alphabet: str = DNA, length: int | None = None
) -> AnnData:
    """Return sequences as an AnnData, one a row, one-hot.

    Parameters
    ----------
    sequences
        Texts; case does not matter.
    obs
        What is known of each, with as many rows.
    alphabet
        Letters. Others (N, X) are zero in all of a position's columns.
    length
        Positions; longer sequences are cut, shorter ones end in zeros. By default the longest.

    Returns
    -------
    AnnData: ``.X`` CSR float32, position by position, so that
    ``X.toarray().reshape(n, length, len(alphabet))`` is ``(sequence, position, letter)``;
    ``.obs["sequence"]``, the text; ``.uns["alphabet"]`` and ``.uns["sequence_length"]``.

    Raises
    ------
    ValueError
        If there are no sequences, or not as many as rows.

    Examples
    --------
    >>> import pandas as pd, scgde
    >>> adata = scgde.datasets.one_hot_sequences(["ACG", "NT"], pd.DataFrame(index=["a", "b"]))
    >>> adata.X.toarray().reshape(2, 3, 4).argmax(-1).tolist(), adata.X.sum()
    ([[0, 1, 2], [0, 3, 0]], np.float32(4.0))
    """
    if not len(sequences) or len(sequences) != len(obs):
        raise ValueError(
            f"sequences has {len(sequences)} texts and obs {len(obs)} rows; give as many of each, "
            "at least one."
        )
    upper = [str(sequence).upper() for sequence in sequences]
    length = max(map(len, upper)) if length is None else length
    require_counts(length=length)
    code = np.full(256, -1, dtype=np.int8)
    code[np.frombuffer(alphabet.encode("ascii"), dtype=np.uint8)] = np.arange(len(alphabet))
    letters = np.array(upper, dtype=f"S{length}").view(np.uint8).reshape(len(upper), length)
    codes = code[letters]
    row, position = np.nonzero(codes >= 0)
    column = position * len(alphabet) + codes[row, position]
    x = sp.csr_matrix(
        (np.ones(len(row), dtype=np.float32), (row, column)),
        shape=(len(upper), length * len(alphabet)),
    )
    adata = AnnData(
        x,
        obs=obs.assign(sequence=[str(sequence) for sequence in sequences]),
        var=pd.DataFrame(index=[f"{i}_{letter}" for i in range(length) for letter in alphabet]),
        uns={"alphabet": alphabet, "sequence_length": length},
    )
    return adata


def read_sequence_table(
    paths: list[Path], *, sequence_key: str, alphabet: str = DNA, category_keys: list[str] = ()
) -> AnnData:
    """Read sequences from a table of text.

    Parameters
    ----------
    paths
        A csv file with a header.
    sequence_key
        Column of sequences.
    alphabet
        As in :func:`one_hot_sequences`.
    category_keys
        Columns of numbers that name groups.
    """
    table = pd.read_csv(paths[0])
    for key in [sequence_key, *category_keys]:
        require("column", key, table.columns, paths[0].name)
    for key in category_keys:
        table[key] = pd.Categorical(table[key].astype(str))
    table.index = table.index.astype(str)
    return one_hot_sequences(table.pop(sequence_key).tolist(), table, alphabet)
