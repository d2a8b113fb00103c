"""Perturbation screens: one name for the control, pairs, guides, strong effects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from scipy.stats import false_discovery_control, ttest_ind_from_stats
from sklearn.utils.sparsefuncs import mean_variance_axis

from .._errors import listed, require, require_counts, require_positive
from ._plain import read_sparse_h5ad

CONTROL = "control"


def read_perturb_seq(
    paths: list[Path],
    *,
    perturbation_key: str,
    control: str | list[str],
    guide_suffix: str | None = None,
    separator: str | None = None,
    gene_names_key: str | None = None,
    min_cells: int = 1,
    enable_progress_bar: bool = True,
) -> AnnData:
    """Read a screen from an h5ad file.

    Parameters
    ----------
    paths
        The file.
    perturbation_key, control, guide_suffix, separator, min_cells
        As in :func:`recode_perturbations`.
    gene_names_key
        Column of ``.var`` with genes' names, where ``.var_names`` are identifiers; these stay in
        ``.var["gene_id"]``.
    enable_progress_bar
        Show a bar.

    Returns
    -------
    As :func:`recode_perturbations`; ``.X`` as in the file, but sparse.
    """
    adata = read_sparse_h5ad(paths[0], enable_progress_bar)
    if gene_names_key is not None:
        require("gene_names_key", gene_names_key, adata.var.columns, f"{paths[0].name}, .var")
        adata.var["gene_id"] = adata.var_names
        adata.var_names = adata.var[gene_names_key].astype(str)
        adata.var_names_make_unique()
    return recode_perturbations(
        adata,
        perturbation_key,
        control,
        guide_suffix=guide_suffix,
        separator=separator,
        min_cells=min_cells,
    )


def recode_perturbations(
    adata: AnnData,
    perturbation_key: str,
    control: str | Iterable[str],
    *,
    guide_suffix: str | None = None,
    separator: str | None = None,
    min_cells: int = 1,
) -> AnnData:
    """Return a screen whose perturbations are named as everywhere here.

    Controls are "control", pairs "A+B" in alphabetical order ("B_A", "A+ctrl" and "ctrl+A" are
    understood), guides of a gene are one perturbation.

    Parameters
    ----------
    adata
        Cells. Not changed.
    perturbation_key
        Column of ``.obs`` with the name of a cell's perturbation or guide.
    control
        Names of controls in that column, or of their parts in pairs.
    guide_suffix
        Regular expression of the end of a name that tells guides of a gene apart
        (``"g[0-9]+$"``); the full name stays in ``.obs["guide"]``.
    separator
        What joins the names of a pair (``"_"``). By default nothing does.
    min_cells
        Guides (or perturbations, where there are no guides) with fewer cells are dropped.

    Returns
    -------
    New AnnData with ``.obs["perturbation"]``, categorical with "control" first, and
    ``.obs["n_perturbed"]``, the number of genes (0, 1, 2). Cells without a name are dropped.

    Raises
    ------
    KeyError, ValueError
        If the column is missing, no cell is a control, or none is left.

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd, scgde
    >>> obs = pd.DataFrame({"guide": ["NTg1", "B_A", "Ag2"]}, index=list("xyz"))
    >>> adata = anndata.AnnData(np.ones((3, 1), dtype="float32"), obs=obs)
    >>> screen = scgde.datasets.recode_perturbations(
    ...     adata, "guide", "NT", guide_suffix="g[0-9]+$", separator="_"
    ... )
    >>> screen.obs["perturbation"].tolist()
    ['control', 'A+B', 'A']
    """
    require("perturbation_key", perturbation_key, adata.obs.columns, "adata.obs")
    require_counts(min_cells=min_cells)
    controls = {control} if isinstance(control, str) else set(control)
    given = adata.obs[perturbation_key]
    names = given.astype(object).where(given.notna(), None)
    recoded = {
        name: _recoded(str(name), controls, guide_suffix, separator) for name in set(names) - {None}
    }
    if CONTROL not in recoded.values():
        raise ValueError(
            f"control={control!r}: no cell has such a name in column {perturbation_key!r}. It has "
            f"{listed(sorted(map(str, recoded)))}."
        )
    enough = given.value_counts()
    keep = names.map(lambda name: name is not None and enough[name] >= min_cells).to_numpy(bool)
    if not keep.any():
        raise ValueError(
            f"min_cells={min_cells!r}: the largest group of column {perturbation_key!r} has "
            f"{enough.max()} cells."
        )
    result = adata[keep].copy()
    labels = names[keep].map(recoded)
    order = [CONTROL, *sorted(set(labels) - {CONTROL})]
    if guide_suffix is not None:
        result.obs["guide"] = pd.Categorical(names[keep].astype(str))
    result.obs["perturbation"] = pd.Categorical(
        labels, [name for name in order if name in set(labels)]
    )
    result.obs["n_perturbed"] = [
        0 if label == CONTROL else label.count("+") + 1 for label in labels
    ]
    return result


def _recoded(name: str, controls: set[str], suffix: str | None, separator: str | None) -> str:
    if name in controls:
        return CONTROL
    parts = name.split(separator) if separator else [name]
    parts = [re.sub(suffix, "", part) if suffix else part for part in parts]
    parts = sorted({part for part in parts if part and part not in controls})
    return "+".join(parts) or CONTROL


def perturbation_strength(
    adata: AnnData,
    *,
    perturbation_key: str = "perturbation",
    control: str = CONTROL,
    alpha: float = 0.05,
    fraction: float = 0.1,
) -> pd.DataFrame:
    """Return how many genes each perturbation changes, and which are the strongest.

    GDE (arXiv 2505.18150), Sec. 6.4: only the tenth of perturbations with most differentially
    expressed genes is taken. Here a gene counts if Welch's t-test against the control has a false
    discovery rate (Benjamini and Hochberg) below ``alpha``. The number grows with the cells of a
    perturbation; and a choice made on all cells has seen those that are later held out.

    Parameters
    ----------
    adata
        Log-normalised cells, in memory. Not changed.
    perturbation_key
        Column of ``.obs``.
    control
        The control's name in it.
    alpha
        False discovery rate.
    fraction
        Share of the perturbations that counts as strong.

    Returns
    -------
    DataFrame indexed by perturbation (without the control), strongest first: ``n_genes``,
    ``n_cells`` and ``strong``.

    Raises
    ------
    KeyError, ValueError
        If the column or the control is missing, or ``alpha`` or ``fraction`` is not in (0, 1].

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.variable_log_counts(scgde.datasets.load("norman2019"), 500)
    >>> table = scgde.datasets.perturbation_strength(adata)
    >>> int(table["strong"].sum()), len(table)
    (4, 33)
    """
    require("perturbation_key", perturbation_key, adata.obs.columns, "adata.obs")
    require_positive(alpha=alpha, fraction=fraction)
    for argument, value in {"alpha": alpha, "fraction": fraction}.items():
        if value > 1:
            raise ValueError(f"{argument}={value!r} must be at most 1.")
    names = adata.obs[perturbation_key].astype(str).to_numpy()
    require("control", control, set(names), f"column {perturbation_key!r}")
    of_control = _moments(adata, names == control)
    rows = {}
    for name in sorted(set(names) - {control}):
        cells = names == name
        # A gene that no cell of either side has varies nowhere: its p-value is NaN.
        with np.errstate(divide="ignore", invalid="ignore"):
            test = ttest_ind_from_stats(*_moments(adata, cells), *of_control, equal_var=False)
        p = np.nan_to_num(test.pvalue, nan=1.0)
        rows[name] = {
            "n_genes": int((false_discovery_control(p) < alpha).sum()),
            "n_cells": int(cells.sum()),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").sort_values(
        "n_genes", ascending=False, kind="stable"
    )
    table["strong"] = np.arange(len(table)) < np.ceil(fraction * len(table))
    return table.rename_axis(perturbation_key)


def _moments(adata: AnnData, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return mean and sample standard deviation of each gene, and the number of cells."""
    n = int(cells.sum())
    mean, variance = mean_variance_axis(sp.csr_matrix(adata.X[cells], dtype=np.float64), axis=0)
    return mean, np.sqrt(variance * n / max(n - 1, 1)), n
