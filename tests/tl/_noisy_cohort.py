"""Cohorts whose true embeddings are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData


def noisy_cohort(
    n_donors: int = 40,
    n_cells: int | np.ndarray = 20,
    n_latent: int = 6,
    shift: float = 3.0,
    seed: int = 0,
) -> tuple[AnnData, np.ndarray]:
    """Return an AnnData as if embedded by the mean of its cells, and the true means.

    Donors have spread one in every direction, cells have spread four in every direction; group "b"
    is shifted in the first by ``shift``.
    """
    rng = np.random.default_rng(seed)
    sizes = np.broadcast_to(n_cells, n_donors)
    truth = rng.normal(size=(n_donors, n_latent))
    group = np.arange(n_donors) % 2
    truth[:, 0] += shift * group
    names = np.array([f"d{i:03d}" for i in range(n_donors)], dtype=object)
    of = np.repeat(np.arange(n_donors), sizes)
    x = truth[of] + 4 * rng.normal(size=(len(of), n_latent))
    adata = AnnData(x.astype(np.float32))
    adata.obs["donor"] = pd.Categorical(names[of])
    adata.obs["group"] = pd.Categorical(np.array(["a", "b"])[group[of]])
    adata.obs["site"] = pd.Categorical(np.array(["x", "y"])[np.arange(len(of)) % 2])
    adata.obs["score"] = truth[of, 0]
    own = [x[of == i] for i in range(n_donors)]
    adata.uns["gde"] = {
        "embedding": pd.DataFrame(
            np.stack([c.mean(0) for c in own]),
            index=names,
            columns=[f"gde_{i}" for i in range(n_latent)],
        ),
        "covariance": np.stack(
            [
                np.cov(c.T) / len(c) if len(c) > 1 else np.full((n_latent, n_latent), np.nan)
                for c in own
            ]
        ),
        "n_cells": sizes.copy(),
        "params": {
            "population_key": ["donor"],
            "layer": "",
            "use_rep": "",
            "donor_key": "",
            "label_head_keys": [],
            "is_counts": False,
        },
    }
    return adata, truth
