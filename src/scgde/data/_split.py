from __future__ import annotations

from typing import Literal

import numpy as np

from .._errors import require_choice
from ._index import PopulationIndex

SplitUnit = Literal["population", "donor", "cell"]


def split_cells(
    index: PopulationIndex,
    train_size: float = 0.9,
    by: SplitUnit = "population",
    donors: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Split the cells of all populations into training and validation cells.

    Parameters
    ----------
    index
        The populations.
    train_size
        Share of the units that train, in (0, 1].
    by
        The unit that is never divided: whole populations, whole donors, or cells (a share of each
        population's cells; populations of fewer than four cells train whole).
    donors
        Donor of each cell, ``(n_cells,)``, -1 for unknown; needed with ``by="donor"``. Populations
        of an unknown donor train.
    seed
        Seed of the split.

    Returns
    -------
    Row numbers of training cells and of validation cells, each ascending. The second is empty
    where ``train_size`` leaves no unit out.

    Raises
    ------
    ValueError
        For a share outside (0, 1], an unknown unit, or a missing donor column.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> training, validation = scgde.data.split_cells(index, train_size=0.67)
    >>> len(training), len(validation)
    (20, 10)
    """
    require_choice("validation", by, ("population", "donor", "cell"))
    if not 0 < train_size <= 1:
        raise ValueError(f"train_size={train_size!r} must be above 0 and at most 1.")
    if by == "donor" and donors is None:
        raise ValueError(
            "validation='donor' needs to know the donors: call setup_anndata with donor_key."
        )
    rng = np.random.default_rng(seed)
    if by == "cell":
        held = [
            rng.choice(cells, round((1 - train_size) * len(cells)), replace=False)
            for cells in map(index.cells, range(len(index)))
            if len(cells) >= 4
        ]
        validation = np.sort(np.concatenate([*held, np.array([], dtype=np.int64)]))
    else:
        units = index.codes if by == "population" else np.where(index.codes >= 0, donors, -1)
        present = np.unique(units[units >= 0])
        n_held = min(round((1 - train_size) * len(present)), max(len(present) - 2, 0))
        held = rng.choice(present, n_held, replace=False)
        validation = np.flatnonzero(np.isin(units, held))
    training = np.setdiff1d(np.flatnonzero(index.codes >= 0), validation)
    return training, validation.astype(np.int64)
