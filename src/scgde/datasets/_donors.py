"""Cells of many donors: CELLxGENE's files, the PsychAD donor table, paired conditions."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import listed, require, require_counts
from ._plain import read_h5ad
from ._recipes import counts_in_x


def read_cellxgene(
    paths: list[Path],
    *,
    donor_key: str = "donor_id",
    cells_per_donor: int | None = None,
    seed: int = 0,
) -> AnnData:
    """Read a file of CELLxGENE, all of it or some cells of each donor, with counts in ``.X``.

    Parameters
    ----------
    paths
        The file.
    donor_key
        Column of ``.obs``.
    cells_per_donor
        Draw at most so many cells of each donor; only those are read. All by default.
    seed
        Seed of the draw.

    Returns
    -------
    AnnData in memory, rows in the file's order, counts in ``.X`` (of ``.raw`` where ``.X`` is
    normalised).

    Raises
    ------
    KeyError, ValueError
        If the column is missing or the file has no counts.
    """
    if cells_per_donor is None:
        return counts_in_x(anndata.read_h5ad(paths[0]))
    require_counts(cells_per_donor=cells_per_donor)
    adata = anndata.read_h5ad(paths[0], backed="r")
    try:
        require("donor_key", donor_key, adata.obs.columns, f"{paths[0].name}, .obs")
        order = pd.Series(np.random.default_rng(seed).permutation(adata.n_obs))
        rank = order.groupby(adata.obs[donor_key].to_numpy()[order], observed=True).cumcount()
        rows = np.sort(order[rank < cells_per_donor])
        return counts_in_x(adata[rows].to_memory())
    finally:
        adata.file.close()


def join_donors(adata: AnnData, donors: pd.DataFrame, *, donor_key: str = "donor_id") -> AnnData:
    """Return cells with what a table says of their donors.

    Parameters
    ----------
    adata
        Cells. Not changed.
    donors
        One row a donor, indexed by the names in ``.obs[donor_key]``. For PsychAD (Fullard 2025) it
        is ``scgde.datasets.load("psychad_donors")``: cohort, age, sex, ancestry, CERAD, Braak,
        dementia, diagnoses.
    donor_key
        Column of ``.obs``.

    Returns
    -------
    New AnnData with the table's columns in ``.obs``; texts are categorical.

    Raises
    ------
    KeyError, ValueError
        If the column is missing, a donor is not in the table or is there twice, or a column of the
        table is in ``.obs`` already.

    Examples
    --------
    >>> import pandas as pd, scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> site = pd.DataFrame({"site": "Berlin"}, index=adata.obs["donor"].unique())
    >>> joined = scgde.datasets.join_donors(adata, site, donor_key="donor")
    >>> joined.obs["site"].value_counts().to_dict()
    {'Berlin': 5494}
    """
    require("donor_key", donor_key, adata.obs.columns, "adata.obs")
    names = adata.obs[donor_key].astype(str)
    if not donors.index.is_unique:
        twice = donors.index[donors.index.duplicated()].unique()
        raise ValueError(f"donors has rows more than once: {listed(twice, 5)}. Keep one of each.")
    missing = sorted(set(names) - set(donors.index))
    if missing:
        raise ValueError(
            f"donors has no row for {listed(missing, 5)}, which are in column {donor_key!r}. Its "
            f"rows begin with {listed(donors.index[:3])}."
        )
    clash = donors.columns.intersection(adata.obs.columns)
    if len(clash):
        raise ValueError(
            f"donors has the columns {listed(clash)}, which are in adata.obs already. Rename them: "
            'donors.add_prefix("donor_").'
        )
    result = adata.copy()
    for column in donors.columns:
        values = donors[column].reindex(names).array
        is_text = not pd.api.types.is_numeric_dtype(values.dtype)
        result.obs[column] = pd.Categorical(values) if is_text else values
    return result


def read_paired_conditions(
    paths: list[Path],
    *,
    donor_key: str,
    condition_key: str,
    conditions: dict[str, str],
) -> AnnData:
    """Read cells of donors under several conditions, such as Kang 2018, from an h5ad file.

    Parameters
    ----------
    paths
        The file.
    donor_key, condition_key
        Columns of ``.obs``, renamed to "donor" and "condition".
    conditions
        The conditions' names in the file and those they get: ``{"ctrl": "control"}``.

    Returns
    -------
    AnnData; populations are ``["donor", "condition"]``.

    Raises
    ------
    KeyError, ValueError
        If a column is missing or there is another condition.
    """
    adata = read_h5ad(paths, rename={donor_key: "donor", condition_key: "condition"})
    present = set(adata.obs["condition"].dropna().astype(str))
    if strange := sorted(present - set(conditions)):
        raise ValueError(
            f"conditions={conditions!r} does not name {listed(strange)} of column "
            f"{condition_key!r}."
        )
    adata.obs["condition"] = pd.Categorical(
        adata.obs["condition"].astype(object).map(conditions),
        list(dict.fromkeys(conditions.values())),
    )
    adata.obs["donor"] = adata.obs["donor"].astype("category")
    return adata
