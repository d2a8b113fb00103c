"""Drug screens: cell line x drug x dose."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from anndata import AnnData

from .._errors import require
from ._perturb_seq import CONTROL, recode_perturbations
from ._plain import read_h5ad


def read_sciplex(
    paths: list[Path],
    *,
    drug_key: str = "perturbation",
    dose_key: str = "dose_value",
    cell_line_key: str = "cell_line",
    control: str = CONTROL,
    min_cells: int = 1,
) -> AnnData:
    """Read a drug screen in several cell lines from an h5ad file, as scPerturb gives it away.

    Parameters
    ----------
    paths
        The file.
    drug_key, dose_key, cell_line_key, control, min_cells
        As in :func:`recode_doses`.
    """
    return recode_doses(
        read_h5ad(paths), drug_key, dose_key, cell_line_key, control=control, min_cells=min_cells
    )


def recode_doses(
    adata: AnnData,
    drug_key: str,
    dose_key: str,
    cell_line_key: str,
    *,
    control: str | Iterable[str] = CONTROL,
    min_cells: int = 1,
) -> AnnData:
    """Return a drug screen whose populations are cell line x drug x dose.

    Parameters
    ----------
    adata
        Cells. Not changed.
    drug_key, dose_key, cell_line_key
        Columns of ``.obs``; doses in one unit (nM in sci-Plex).
    control
        Names of the vehicle among the drugs.
    min_cells
        Populations with fewer cells are dropped.

    Returns
    -------
    New AnnData with ``.obs["cell_line"]``, ``"drug"`` ("control" for the vehicle) and ``"dose"`` (a
    number, 0 for the vehicle). Cells without line, drug or dose are dropped.

    Raises
    ------
    KeyError, ValueError
        If a column is missing, a dose is no number, there is no control, or no cell is left.

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd, scgde
    >>> obs = pd.DataFrame({"d": ["DMSO", "X"], "c": [np.nan, 10.0], "l": "A549"}, index=["a", "b"])
    >>> adata = anndata.AnnData(np.ones((2, 1), dtype="float32"), obs=obs)
    >>> screen = scgde.datasets.recode_doses(adata, "d", "c", "l", control="DMSO")
    >>> screen.obs[["drug", "dose"]].to_numpy().tolist()
    [['control', 0.0], ['X', 10.0]]
    """
    keys = {"drug_key": drug_key, "dose_key": dose_key, "cell_line_key": cell_line_key}
    for argument, key in keys.items():
        require(argument, key, adata.obs.columns, "adata.obs")
    recoded = recode_perturbations(adata, drug_key, control)
    obs = recoded.obs
    try:
        dose = pd.to_numeric(obs[dose_key].astype(object)).astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"dose_key={dose_key!r} holds values that are no numbers: {error}."
        ) from error
    dose = dose.mask(obs["perturbation"] == CONTROL, 0.0)
    table = pd.DataFrame(
        {"line": obs[cell_line_key].astype(object), "drug": obs["perturbation"], "dose": dose}
    )
    size = table.groupby(["line", "drug", "dose"], observed=True)["dose"].transform("size")
    keep = (table.notna().all(axis=1) & (size >= min_cells)).to_numpy()
    if not keep.any():
        raise ValueError(
            f"min_cells={min_cells!r}: no cell line x drug x dose has as many cells with all three."
        )
    result = recoded[keep].copy()
    result.obs = result.obs.drop(columns=["perturbation", "n_perturbed"])
    result.obs["cell_line"] = pd.Categorical(table["line"][keep])
    result.obs["drug"] = table["drug"][keep].cat.remove_unused_categories()
    result.obs["dose"] = dose[keep]
    return result
