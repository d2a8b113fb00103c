"""Promoters and the expression they drive, as populations of sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from rich.progress import track

from .._errors import require_counts
from ._sequences import one_hot_sequences

_LINES = 1_000_000


def expression_bins(expression: np.ndarray, n_bins: int = 10) -> pd.Categorical:
    """Return the quantile of each value, "0" the lowest, in bins of equal size.

    GDE (arXiv 2505.18150), Sec. 6.6, takes 100 of them as populations of promoters.

    Parameters
    ----------
    expression
        Values ``(n,)``.
    n_bins
        Number of bins, at most ``n``.

    Returns
    -------
    Ordered categorical, ``(n,)``.

    Raises
    ------
    ValueError
        If values are not finite or fewer than bins.

    Examples
    --------
    >>> import scgde
    >>> list(scgde.datasets.expression_bins([0.1, 5.0, 2.0, 2.0], 2))
    ['0', '1', '0', '1']
    """
    require_counts(n_bins=n_bins)
    expression = np.asarray(expression, dtype=float)
    if not np.isfinite(expression).all() or len(expression) < n_bins:
        raise ValueError(
            f"expression must hold finite numbers, at least n_bins={n_bins} of them; "
            f"{np.isfinite(expression).sum()} of {len(expression)} are finite."
        )
    order = np.argsort(np.argsort(expression, kind="stable"), kind="stable")
    codes = order * n_bins // len(expression)
    return pd.Categorical.from_codes(codes, [str(i) for i in range(n_bins)], ordered=True)


def read_promoters(
    paths: list[Path],
    *,
    media: list[str],
    n_bins: int = 100,
    max_sequences: int | None = 1_000_000,
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> AnnData:
    """Read promoters and their expression (Vaishnav 2022; de Boer 2020).

    Parameters
    ----------
    paths
        Text files, a sequence and its expression a line, separated by a tab, without a header.
    media
        The growth medium of each file.
    n_bins
        Quantiles of expression within a medium.
    max_sequences
        Draw so many sequences of each file: all of them fill memory. None takes all.
    seed
        Seed of the draw.
    enable_progress_bar
        Show a bar.

    Returns
    -------
    As :func:`one_hot_sequences`, with ``.obs``: "medium", "expression", "expression_bin".

    Raises
    ------
    ValueError
        If a file has other lines.
    """
    tables = []
    for path, medium in zip(paths, media, strict=True):
        table = _drawn_lines(path, max_sequences, seed, enable_progress_bar)
        table["medium"] = medium
        table["expression_bin"] = expression_bins(table["expression"], n_bins)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    table.index = table.index.astype(str)
    table["medium"] = table["medium"].astype("category")
    return one_hot_sequences(table.pop("sequence").tolist(), table)


def _drawn_lines(path: Path, n: int | None, seed: int, enable_progress_bar: bool) -> pd.DataFrame:
    """Draw lines without replacement, in one pass: those with the smallest of random keys."""
    rng = np.random.default_rng(seed)
    drawn = pd.DataFrame({"sequence": [], "expression": [], "key": []})
    try:
        pieces = pd.read_csv(
            path,
            sep="\t",
            header=None,
            names=["sequence", "expression"],
            dtype={"sequence": str, "expression": float},
            chunksize=_LINES,
        )
        for piece in track(pieces, path.name, disable=not enable_progress_bar, transient=True):
            drawn = pd.concat([drawn, piece.assign(key=rng.random(len(piece)))])
            drawn = drawn if n is None else drawn.nsmallest(n, "key")
    except ValueError as error:
        raise ValueError(
            f"{path.name} must have lines of a sequence, a tab and a number, no header: {error}."
        ) from error
    return drawn.sort_index().drop(columns="key").dropna().reset_index(drop=True)
