"""Do error bars of embeddings cover what they should?

    python -m benchmarks.coverage            # two real cohorts and two synthetic families
    python -m benchmarks.coverage --cohorts mixtures --encoders resnet_gnn --sizes 100 300 \\
        --draws 480 --redraw 150 --name coverage_redrawn   # slower: cells redrawn and embedded

Samples of a population's cells are embedded with their covariance, by a model trained on the
cohort; counted is how often 95 % intervals and ellipsoids hold the embedding of the whole
population. Samples are drawn without replacement, so covariances are multiplied by 1 - n / N.
Intervals are t intervals coordinate by coordinate. Ellipsoids lie in the eight leading principal
axes of the populations' embeddings, with the radius of the bootstrap-t (joint; on request also that
of redrawn embeddings) and, to show what that is for, with Hotelling's and that of chi squared.
Standard errors are over populations. OneK1K (40 donors, 85 to 318 cells, 1,000 genes) and Theorell
(97 donors, 500 cells, 14 markers) are read from ``../shared/data``; synthetic populations have 10^5
cells.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.stats import chi2, t

import scgde
from scgde.stats import bootstrap_radius, hotelling_radius

from ._results import write

SHARED = Path(__file__).parents[2] / "shared" / "data"
LEVEL, N_AXES, N_WHOLE = 0.95, 8, 100_000


def onek1k(seed: int) -> tuple[AnnData, AnnData]:
    adata = anndata.read_h5ad(SHARED / "onek1k_40donors_1000genes.h5ad")
    adata.obs["population"] = adata.obs["donor"]
    return adata, adata


def theorell(seed: int) -> tuple[AnnData, AnnData]:
    adata = anndata.read_h5ad(SHARED / "theorell_cytotoxic_flow_97donors.h5ad")
    adata.obs["population"] = adata.obs["donor"]
    return adata, adata


def synthetic(family: Callable[..., AnnData], seed: int) -> tuple[AnnData, AnnData]:
    """Return populations to train on, and others, held out, of 10^5 cells."""
    return family(100, 500, seed=seed), family(12, N_WHOLE, seed=10_000 + seed)


mixtures = partial(synthetic, scgde.datasets.gaussian_mixture_populations)
normals = partial(synthetic, scgde.datasets.multivariate_normal_populations)
COHORTS = {"onek1k": onek1k, "theorell": theorell, "mixtures": mixtures, "normals": normals}
SIZES = {
    "onek1k": [30, 50, 100, 200],
    "theorell": [30, 50, 100, 300],
    "mixtures": [100, 300, 1_000, 10_000],
    "normals": [100, 300, 1_000, 10_000],
}


def coverage(
    model, adata: AnnData, n_cells: int, axes: np.ndarray, n_draws: int, redraw: int, seed: int
):
    """Return, for each population, how often intervals and ellipsoids cover."""
    adata = model._validate_anndata(adata)
    dataset = model._dataset(adata)
    whole = model.get_population_embedding(adata, enable_progress_bar=False).to_numpy()
    rng = np.random.default_rng(seed)
    at_once = max(1, 20_000 // n_cells)
    rows = []
    for population, size in enumerate(dataset.index.sizes):
        if size < 1.5 * n_cells:
            continue
        cells = dataset.index.cells(population)
        off, error, distance, radius, redrawn = [], [], [], [], []
        for start in range(0, n_draws, at_once):
            n = min(at_once, n_draws - start)
            drawn = np.stack([rng.choice(cells, n_cells, replace=False) for _ in range(n)])
            weight = torch.full((n, n_cells), 1 / n_cells)
            z, ((_, psi),) = model._influence(dataset, drawn, weight, 50_000)
            off.append(z.numpy() - whole[population])
            finite = (1 - n_cells / size) / (n_cells * (n_cells - 1))
            error.append(np.sqrt(finite * psi.square().sum(1).numpy()))
            for d, along in zip(off[-1] @ axes, psi.numpy().astype(float) @ axes, strict=True):
                distance.append(d @ np.linalg.solve(finite * along.T @ along, d))
                radius.append(bootstrap_radius(along, LEVEL, 200, seed))
            for rows_of_draw in drawn if redraw else ():
                found = model._redrawn_distances(dataset, rows_of_draw, axes, redraw, rng, 8192)
                redrawn.append(np.quantile(found, LEVEL))
        off, error, distance = np.concatenate(off), np.concatenate(error), np.array(distance)
        bound = t.ppf((1 + LEVEL) / 2, n_cells - 1)
        rows.append(
            {
                "coordinates": (np.abs(off) < bound * error).mean(0),
                "joint": (distance < np.array(radius)).mean(),
                "joint_redrawn": (distance < np.array(redrawn)).mean() if redraw else np.nan,
                "joint_hotelling": (distance < hotelling_radius(n_cells, N_AXES, LEVEL)).mean(),
                "joint_chi2": (distance < chi2.ppf(LEVEL, N_AXES)).mean(),
                "bias": (off.mean(0) / error.mean(0)) ** 2,
            }
        )
    return rows


def run(
    cohort: str,
    encoder: str,
    seed: int,
    n_steps: int,
    n_draws: int,
    sizes_wanted: list[int] | None,
    redraw: int,
) -> list[dict]:
    start = time.perf_counter()
    train, test = COHORTS[cohort](seed)
    scgde.model.GDE.setup_anndata(train, population_key="population")
    model = scgde.model.GDE(train, encoder=encoder, seed=seed)
    model.train(
        max_steps=n_steps,
        cells_per_population=64,
        train_size=1.0,
        enable_progress_bar=False,
        accelerator="cpu",
    )
    embedding = model.get_population_embedding(enable_progress_bar=False).to_numpy()
    axes = np.linalg.svd(embedding - embedding.mean(0), full_matrices=False)[2][:N_AXES].T
    found = []
    for n_cells in sizes_wanted or SIZES[cohort]:
        sizes = test.obs["population"].value_counts()
        n_fit = max(1, (sizes >= 1.5 * n_cells).sum())
        draws = min(n_draws // n_fit, max(20, 200_000 // n_cells))
        rows = coverage(model, test, n_cells, axes, draws, redraw, seed)
        if not rows:
            continue
        by_coordinate = np.stack([row["coordinates"] for row in rows])
        joint = np.array([row["joint"] for row in rows])
        found.append(
            {
                "cohort": cohort,
                "encoder": encoder,
                "seed": seed,
                "n_cells": n_cells,
                "n_populations": len(rows),
                "n_draws": draws * len(rows),
                "per_coordinate": by_coordinate.mean(),
                "per_coordinate_se": by_coordinate.mean(1).std(ddof=1) / np.sqrt(len(rows)),
                "lowest_coordinate": by_coordinate.mean(0).min(),
                "highest_coordinate": by_coordinate.mean(0).max(),
                "joint": joint.mean(),
                "joint_se": joint.std(ddof=1) / np.sqrt(len(rows)),
                "joint_redrawn": np.mean([row["joint_redrawn"] for row in rows]),
                "joint_hotelling": np.mean([row["joint_hotelling"] for row in rows]),
                "joint_chi2": np.mean([row["joint_chi2"] for row in rows]),
                "bias_rms_in_se": np.sqrt(np.mean([row["bias"] for row in rows])),
                "seconds": round(time.perf_counter() - start),
            }
        )
        print(pd.Series(found[-1]).to_frame().T.round(4).to_string(header=len(found) == 1))
    model.release()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cohorts", nargs="*", default=list(COHORTS), choices=COHORTS)
    parser.add_argument("--encoders", nargs="*", default=["resnet_gnn", "kernel_mean"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--draws", type=int, default=2_000, help="of each size")
    parser.add_argument("--sizes", type=int, nargs="*", help="cells of a sample")
    parser.add_argument("--redraw", type=int, default=0, help="samples for get_confidence_radius")
    parser.add_argument("--name", default="coverage", help="of the table in benchmarks/results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    table = [
        row
        for cohort in options.cohorts
        for encoder in options.encoders
        for seed in range(options.seeds)
        for row in run(
            cohort, encoder, seed, options.steps, options.draws, options.sizes, options.redraw
        )
    ]
    table = pd.DataFrame(table).dropna(axis=1, how="all").round(4)
    write(table, options.name, time.perf_counter() - start)


if __name__ == "__main__":
    main()
