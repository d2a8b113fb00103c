"""Clonal information: how much a clone's early cells tell about its late ones, beside baselines.

    python -m benchmarks.clones           # LARRY (bundled, 339 clones): the whole report, 3 seeds
    python -m benchmarks.clones --scale   # simulated at the full data's shape: 130,000 cells

A model of populations by clone and day is trained, and trained again in each fold for the
inductive rows. Which representation leads depends on how many components are kept of each, so on
LARRY the transductive rows are repeated for several numbers of them (``n_dims``). In the rows with
a ``map`` the early side of the model's own embeddings, in full dimension, went through an
invertible linear map first, which changes no mutual information.
"""

from __future__ import annotations

import argparse
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

import scgde

from ._results import write

KEYS = {"clone_key": "clone", "time_key": "day"}
EARLY, LATE = [2, 4], 6
N_FATES = 4
N_COMPONENTS = (2, 5, 7, 10)


def simulated(n_cells: int, n_genes: int, n_clones: int, seed: int) -> AnnData:
    """Return sparse counts of clones, each with its own odds of four fates, over three days.

    A cell's fate is drawn by its clone's odds; expression moves to the fate's with time, a tenth,
    four tenths and all of the way. Early cells are mostly annotated as undifferentiated. Clones
    have 1 to 200 cells; cells beyond the last clone have none.
    """
    rng = np.random.default_rng(seed)
    sizes = np.clip(rng.lognormal(2.2, 1.25, n_clones), 1, 200).astype(int)
    clone = np.repeat(np.arange(n_clones), sizes)[:n_cells]
    clone = np.append(clone, np.full(n_cells - len(clone), n_clones))
    odds = np.exp(2 * rng.normal(size=(n_clones + 1, N_FATES)))
    cumulative = (odds / odds.sum(1, keepdims=True)).cumsum(1)[clone]
    fate = (rng.random((n_cells, 1)) > cumulative[:, :-1]).sum(1)
    day = rng.choice([2, 4, 6], n_cells, p=[0.15, 0.35, 0.5])
    progress = np.array([0.1, 0.4, 1])[day // 2 - 1]
    base = rng.gamma(0.3, 1, n_genes)
    base *= 300 / base.sum()
    marker = rng.random((N_FATES, n_genes)) < 0.1
    direction = marker * rng.normal(0, 1.5, marker.shape)
    depth = rng.lognormal(0, 0.4, n_cells)
    blocks = []
    for start in range(0, n_cells, 5_000):
        at = slice(start, start + 5_000)
        rate = base * np.exp(progress[at, None] * direction[fate[at]])
        blocks.append(sp.csr_matrix(rng.poisson(rate * depth[at, None]).astype(np.float32)))
    names = np.append([f"clone{i}" for i in range(n_clones)], None).astype(object)
    undifferentiated = rng.random(n_cells) > progress
    obs = pd.DataFrame(
        {
            "clone": pd.Categorical(names[clone]),
            "day": day,
            "cell_type": np.where(
                undifferentiated, "undiff", np.char.add("fate", fate.astype(str))
            ),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    return AnnData(sp.vstack(blocks, "csr"), obs=obs)


def report(adata: AnnData, seed: int, options: argparse.Namespace, **training) -> pd.DataFrame:
    """Train, score everything in both settings, and check the maps."""
    shared = {**KEYS, "early": EARLY, "late": LATE, "cell_type_key": "cell_type", "seed": seed}
    shared |= {"n_shuffles": options.n_shuffles, "enable_progress_bar": False}
    start, cpu = time.perf_counter(), time.process_time()
    scgde.model.GDE.setup_anndata(adata, population_key=["clone", "day"])
    model = scgde.model.GDE(adata, n_latent=options.n_latent, n_hidden=options.n_hidden, seed=seed)
    model.train(max_steps=options.steps, train_size=1.0, enable_progress_bar=False, **training)
    trained = time.perf_counter()
    table = scgde.tl.clonal_mutual_information(adata, model=model, setting="both", **shared)
    scored, cpu = time.perf_counter(), time.process_time() - cpu
    clones = adata.uns["gde_clonal_mi"]["clones"]
    tables = [table]
    for n_components in [] if options.scale else N_COMPONENTS:
        estimators = ["ksg", "latent", "retrieval_auc"]
        kept = {"n_components": n_components, "estimators": estimators, "key_added": "again"}
        tables.append(
            scgde.tl.clonal_mutual_information(adata, model=model, ks=(3,), **kept, **shared)
        )
    tables.append(mapped(adata, model, clones.index, seed))
    table = pd.concat(tables, ignore_index=True)
    model.release()
    return table.assign(
        seed=seed,
        n_cells=adata.n_obs,
        median_early=clones["n_early"].median(),
        median_late=clones["n_late"].median(),
        train_s=round(trained - start),
        report_s=round(scored - trained),
        cpu_s=round(cpu),
        peak_mb=round(peak_memory()),
    )


def mapped(adata: AnnData, model, clones: pd.Index, seed: int) -> pd.DataFrame:
    """Return estimates, raw and normalised, before and after invertible maps of the early side."""
    scored = adata[adata.obs["clone"].isin(clones)].copy()
    scored.obs["day"] = np.where(scored.obs["day"] == LATE, "late", "early")
    x, y = (
        model.get_population_embedding(
            scored, [f"{c}|{side}" for c in clones], enable_progress_bar=False
        ).to_numpy(np.float64)
        for side in ("early", "late")
    )
    rng = np.random.default_rng(seed)
    d = x.shape[1]
    turns = [np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(2)]
    maps = {
        "as is": np.eye(d),
        "times 100": 100 * np.eye(d),
        "anisotropic (condition 1,000)": turns[0] @ np.diag(np.logspace(0, 3, d)) @ turns[1],
    }
    rows = []
    for name, matrix in maps.items():
        for normalize in (None, "rank", "whiten"):
            found = scgde.metrics.mutual_information(x @ matrix, y, normalize=normalize, seed=seed)
            rows.append(
                {
                    "representation": "gde",
                    "setting": "transductive",
                    "estimator": "ksg",
                    "metric": "bits",
                    "k": found.k,
                    "normalize": found.normalize,
                    "n_clones": found.n,
                    "n_folds": 1,
                    "n_dims": d,
                    "estimate": found.bits,
                    "low": found.low,
                    "high": found.high,
                    "map": name,
                }
            )
    return pd.DataFrame(rows)


def peak_memory() -> float:
    """Return the most memory that this process has held, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", action="store_true", help="simulated cells, one seed")
    parser.add_argument("--seeds", type=int, help="3, and 1 of simulated cells")
    parser.add_argument("--steps", type=int, help="400, and 1,000 of simulated cells")
    parser.add_argument("--n-shuffles", type=int, help="99, and 49 of simulated cells")
    parser.add_argument("--n-latent", type=int, default=16)
    parser.add_argument("--n-hidden", type=int, default=64)
    parser.add_argument("--n-cells", type=int, default=130_000)
    parser.add_argument("--n-genes", type=int, default=2_000)
    parser.add_argument("--n-clones", type=int, default=5_800)
    options = parser.parse_args()
    options.steps = options.steps or (1_000 if options.scale else 400)
    options.n_shuffles = options.n_shuffles or (49 if options.scale else 99)
    warnings.simplefilter("ignore")
    started, tables = time.perf_counter(), []
    for seed in range(options.seeds or (1 if options.scale else 3)):
        if options.scale:
            adata = simulated(options.n_cells, options.n_genes, options.n_clones, seed)
        else:
            adata = scgde.datasets.load("weinreb2020")
        # Populations are tiny: few cells of many.
        training = {"populations_per_batch": 64, "cells_per_population": 8 if options.scale else 4}
        tables.append(report(adata, seed, options, **training))
        shown = ["representation", "setting", "estimator", "normalize", "map", "n_dims"]
        shown += ["estimate", "low", "high", "shuffled", "p_value"]
        print(tables[-1][shown].round(3).to_string(index=False))
        print(
            tables[-1][["seed", "n_clones", "train_s", "report_s", "cpu_s", "peak_mb"]]
            .iloc[0]
            .to_dict()
        )
    table = pd.concat(tables, ignore_index=True).round(4)
    write(table, "clones_scale" if options.scale else "clones", time.perf_counter() - started)


if __name__ == "__main__":
    main()
