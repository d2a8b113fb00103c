"""Many populations: separate autoencoders, one shared, or one shared and told the population.

The same cells are held out of every population, and all are scored on them. What is compared is the
mean held-out energy score of each level; a lower one describes the populations better. The
condition is the embedding of a GDE of the training cells, or the population's mean (a baseline that
needs no model). ``seconds`` are of training alone, the GDE's apart.
"""

from __future__ import annotations

import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

from scgde.model import DPA, GDE

SHARED = Path(__file__).parents[2] / "shared" / "data"
N_LATENT = 8
NETWORK = {"n_latent": N_LATENT, "n_hidden": 64, "n_noise": 16, "levels_per_step": 4}
QUIET = {"enable_progress_bar": False}


def populations(n_seeds: int = 2, n_steps: int = 1_500) -> pd.DataFrame:
    """Return held-out L_k, averaged over populations and seeds, and what each scheme costs."""
    rows = []
    for name, (adata, key) in _data().items():
        for seed in range(n_seeds):
            rows += [{"data": name, **row} for row in _one(adata, key, seed, n_steps)]
            print(pd.DataFrame(rows).tail(5).round(4).to_string(), flush=True)
    runs = pd.DataFrame(rows)
    grouped = runs.drop(columns="seed").groupby(["data", "scheme"], sort=False)
    table = grouped.mean()
    for column in ("sum_of_levels", "L_0", f"L_{N_LATENT}"):
        table[f"{column}_sem"] = grouped[column].sem()
    return table.assign(n_seeds=n_seeds, n_steps=n_steps).reset_index()


def _data() -> dict[str, tuple[ad.AnnData, str]]:
    onek1k = ad.read_h5ad(SHARED / "onek1k_40donors_1000genes.h5ad")
    sc.pp.normalize_total(onek1k, target_sum=1e4)
    sc.pp.log1p(onek1k)
    sc.pp.pca(onek1k, n_comps=20)
    stephenson = ad.read_h5ad(SHARED / "stephenson2021_covid_pbmc_pca50.h5ad")
    stephenson.obsm["X_pca"] = np.asarray(stephenson.X[:, :20])
    return {"onek1k": (onek1k, "donor"), "stephenson": (stephenson, "sample")}


def _one(adata: ad.AnnData, key: str, seed: int, n_steps: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    held_out = rng.random(adata.n_obs) < 0.2
    train, test = adata[~held_out].copy(), adata[held_out].copy()
    GDE.setup_anndata(train, population_key=key, use_rep="X_pca")
    gde = GDE(train, n_latent=8, generator="energy", seed=seed)
    started = time.perf_counter()
    gde.train(max_steps=600, **QUIET)
    gde_seconds = time.perf_counter() - started
    embedding = gde.get_population_embedding(enable_progress_bar=False)
    means = pd.DataFrame(train.obsm["X_pca"]).groupby(np.asarray(train.obs[key])).mean()
    for part in (train, test):
        names = np.asarray(part.obs[key])
        part.obsm["X_gde"] = embedding.loc[names].to_numpy(dtype=np.float32)
        part.obsm["X_mean"] = means.loc[names].to_numpy(dtype=np.float32)
    gde.release()
    schemes = {
        "separate, one ensemble": ({}, {"networks": "separate"}, 64),
        "shared": ({}, {}, 512),
        "shared, given the mean": ({"condition_rep": "X_mean"}, {}, 512),
        "shared, given the GDE embedding": ({"condition_rep": "X_gde"}, {}, 512),
    }
    rows = []
    for scheme, (setup, options, batch_size) in schemes.items():
        DPA.setup_anndata(train, population_key=key, use_rep="X_pca", **setup)
        model = DPA(train, seed=seed, **NETWORK, **options)
        started = time.perf_counter()
        # Early stopping on a tenth of the training cells; networks of an ensemble stop together.
        model.train(max_steps=n_steps, batch_size=batch_size, early_stopping=True, **QUIET)
        seconds = time.perf_counter() - started
        profile = model.get_energy_profile(test, n_draws=4, enable_progress_bar=False)["estimate"]
        mean = profile.groupby("k").mean()
        rows.append(
            {
                "scheme": scheme,
                "seed": seed,
                "seconds": seconds,
                "gde_seconds": gde_seconds if "GDE" in scheme else 0.0,
                "steps": model.steps_done_,
                "sum_of_levels": mean.sum(),
                **{f"L_{k}": value for k, value in mean.items()},
            }
        )
        model.release()
    return rows
