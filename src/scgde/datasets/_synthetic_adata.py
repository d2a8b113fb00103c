"""What all synthetic families share: checks, and the AnnData of populations and their truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import require_positive

_MOST_COLUMNS = 10


def populations_adata(
    cells: np.ndarray, truth: dict[str, np.ndarray], obs: dict[str, np.ndarray] | None = None
) -> AnnData:
    """Put cells ``(populations, n_cells, d)`` and their populations' parameters in an AnnData.

    ``truth`` goes to ``.uns``, with the populations' names beside it; parameters of up to ten
    numbers also go to columns of ``.obs``, after what ``obs`` says of single cells.
    """
    n_populations, n_cells, n_features = cells.shape
    # Padded with zeros, so that names sort as the numbers do.
    digits = max(4, len(str(n_populations - 1)))
    names = [f"population_{i:0{digits}}" for i in range(n_populations)]
    code = np.arange(n_populations).repeat(n_cells)
    columns = {"population": pd.Categorical.from_codes(code, names), **(obs or {})}
    for key, values in truth.items():
        if values.ndim == 1:
            columns[key] = values[code]
        elif values.ndim == 2 and values.shape[1] <= _MOST_COLUMNS:
            columns |= {f"{key}_{i}": column[code] for i, column in enumerate(values.T)}
    return AnnData(
        cells.reshape(-1, n_features).astype(np.float32, copy=False),
        obs=pd.DataFrame(columns, index=pd.RangeIndex(len(code)).astype(str)),
        var=pd.DataFrame(index=[f"feature_{i}" for i in range(n_features)]),
        uns={"truth": {"population": np.array(names, dtype=object), **truth}},
    )


def dirichlet(
    rng: np.random.Generator, concentration: float | Sequence[float], size: int, n_populations: int
) -> np.ndarray:
    """Return weights ``(populations, size)`` that sum to one.

    Raises
    ------
    ValueError
        If ``concentration`` is neither one positive number nor ``size`` of them.
    """
    alpha = np.asarray(concentration, dtype=float)
    if alpha.shape not in [(), (size,)]:
        raise ValueError(
            f"concentration={concentration!r} must be one number or {size} of them, one for each "
            "weight."
        )
    require_positive(concentration=alpha.min())
    return rng.dirichlet(np.broadcast_to(alpha, size), n_populations)


def draw_labels(rng: np.random.Generator, weights: np.ndarray, n_cells: int) -> np.ndarray:
    """Return for each cell which weight of its population it was drawn by, ``(P, n_cells)``."""
    levels = weights.cumsum(1)[:, None, :-1]
    return (rng.random((len(weights), n_cells, 1)) > levels).sum(-1)
