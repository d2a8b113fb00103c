"""Clones whose cells keep a bias over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

N_CLONES = 70


def clonal_cells(seed=0, n_features=6) -> AnnData:
    """Dense normal cells of 70 clones on days 2, 4 and 6, and 30 cells of none.

    Clones differ in two features, alike early and late; all else is noise. Day is a number; the
    last five clones have no late cells, and one more by chance.
    """
    rng = np.random.default_rng(seed)
    clone = rng.integers(0, N_CLONES, 1_200)
    day = rng.choice([2, 4, 6], len(clone))
    day[clone >= N_CLONES - 5] = 2
    bias = rng.normal(size=(N_CLONES, 2))
    x = rng.normal(size=(len(clone) + 30, n_features))
    x[: len(clone), :2] += 3 * bias[clone]
    x[:, 2] += np.append(day, np.zeros(30))  # time itself is no information about clones
    names = np.array([f"c{i:02}" for i in range(N_CLONES)], dtype=object)
    obs = pd.DataFrame(
        {
            "clone": pd.Categorical(np.append(names[clone], np.full(30, None))),
            "day": np.append(day, rng.choice([2, 4, 6], 30)),
            "type": np.where(x[:, 0] > 0, "a", "b"),
        },
        index=[f"cell{i}" for i in range(len(x))],
    )
    return AnnData(x.astype(np.float32), obs=obs)
