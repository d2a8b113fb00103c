from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from ._perturbation_screen import Screen


def require_free_columns(screen: Screen) -> None:
    """Raise a ``ValueError`` if a key of the screen has the name of a column that is added."""
    for argument, key in zip(("perturbation_key", "covariate_key"), screen.keys, strict=False):
        if key in ("split", "is_predicted"):
            raise ValueError(
                f"{argument}={key!r} is the name of a column that return_cells=True adds. Rename "
                "that column of adata.obs and set up and train the model again, or pass "
                "return_cells=False."
            )


def predicted_and_control_cells(screen: Screen, generated: list[AnnData]) -> AnnData:
    """Return generated cells of every split, and all control cells.

    Parameters
    ----------
    screen
        The observed cells.
    generated
        Generated cells of each split, in the units of the observed ones.
    """
    parts = []
    for number, cells in enumerate(generated):
        obs = cells.obs[screen.keys].astype(str).assign(is_predicted=True, split=str(number))
        parts.append(AnnData(cells.X, obs.set_index(f"split{number}-" + cells.obs_names)))
    rows = screen.rows_of([screen.control])
    control = screen.table[["perturbation", "covariate"]].iloc[screen.index.codes[rows]]
    control = control.set_axis(screen.adata.obs_names[rows]).iloc[:, : len(screen.keys)]
    control = control.set_axis(screen.keys, axis=1).assign(is_predicted=False, split="")
    parts.append(AnnData(screen.open()[rows], control))
    joined = anndata.concat(parts)
    for column in (*screen.keys, "split"):
        joined.obs[column] = pd.Categorical(joined.obs[column])
    joined.obs["is_predicted"] = joined.obs["is_predicted"].to_numpy(dtype=np.bool_)
    joined.var_names = screen.means.columns
    return joined
