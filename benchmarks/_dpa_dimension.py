"""Intrinsic dimension: known shapes, coverage of intervals, and real cells with a null.

The 24 shapes are those of scikit-dimension (``BenchmarkManifolds``). Others, which no choice was
made on: random smooth maps of normal or uniform variables (with and without noise), and tori.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.stats import beta

import scgde
from scgde.metrics import dimension_consensus, dimension_profile, subsampled_estimate
from scgde.metrics._dimension_consensus import consensus_values
from scgde.train import fit_dpa

SHARED = Path(__file__).parents[2] / "shared" / "data"
METHODS = ("twonn", "gride", "mle", "mada", "mom", "tle")
DEFAULT = ("twonn", "gride", "mle")
NEW_DIMENSIONS = (1, 2, 3, 5, 7, 10, 15, 20)


def benchmark_manifolds(n: int, seed: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield name, dimension and points of the 24 shapes of scikit-dimension."""
    from skdim.datasets import BenchmarkManifolds

    source = BenchmarkManifolds(random_state=seed)
    truth = source.truth["Intrinsic Dimension"]
    for name, x in source.generate(n=n).items():
        yield name, int(truth[name]), x


def new_manifolds(n: int, seed: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield kind, dimension and points of shapes that are not among the 24."""
    rng = np.random.default_rng([n, seed])
    for d in NEW_DIMENSIONS:
        p = 3 * d + 2
        for kind, z in (
            ("map of normals", rng.normal(size=(n, d))),
            ("map of uniforms", rng.uniform(-1, 1, (n, d))),
        ):
            first, second = rng.normal(size=(d, 64)) / np.sqrt(d), rng.normal(size=(64, p)) / 8
            linear = rng.normal(size=(d, p)) / np.sqrt(d)
            x = np.tanh(0.7 * z @ first) @ second + z @ linear
            yield kind, d, x
            yield f"{kind}, 1 % noise", d, x + 0.01 * x.std() * rng.normal(size=x.shape)
        angle = rng.uniform(0, 2 * np.pi, (n, d))
        yield "torus", d, np.hstack([np.cos(angle), np.sin(angle)])


def dimension(n_seeds: int = 3, sizes: tuple[int, ...] = (300, 750, 1_500)) -> pd.DataFrame:
    """Return mean |error| / d and exact share of raw and calibrated estimators and consensus."""
    rows = []
    for n in sizes:
        for seed in range(n_seeds):
            for shapes, source in (("24", benchmark_manifolds), ("new", new_manifolds)):
                for name, d, x in source(n, seed):
                    kind = "benchmark" if shapes == "24" else name
                    table = dimension_consensus(x, METHODS).table
                    found = {f"{m}, raw": v for m, v in table["raw"].items()}
                    found |= {f"{m}, calibrated": v for m, v in table["estimate"].items()}
                    found["consensus"] = table.loc[list(DEFAULT), "estimate"].median()
                    rows += [(kind, n, seed, name, d, m, v) for m, v in found.items()]
    rows += knees(1_500)
    return summary(
        pd.DataFrame(rows, columns=["shapes", "n", "seed", "name", "d", "method", "estimate"])
    )


def knees(n: int, n_latent: int = 24, n_steps: int = 1_000) -> list[tuple]:
    """Return the knee of an autoencoder of each of the 24 shapes, all trained at once."""
    shapes = list(benchmark_manifolds(n, 0))
    width = max(x.shape[1] for _, _, x in shapes)
    # Columns of zeros change no distance, and let all be members of one ensemble.
    sets = [np.pad(x, ((0, 0), (0, width - x.shape[1]))) for _, _, x in shapes]
    fit = fit_dpa(
        sets,
        n_latent=n_latent,
        n_hidden=64,
        n_noise=16,
        n_steps=n_steps,
        levels_per_step=4,
        lr=4e-3,
        enable_progress_bar=False,
    )
    return [
        ("benchmark", n, 0, name, d, "dpa knee", dimension_profile(losses).knee)
        for (name, d, _), losses in zip(shapes, fit.losses, strict=True)
    ]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return, by shapes, n and method, error and exact share; ``sd_over_seeds`` of the error."""
    table["error"] = (table["estimate"] - table["d"]).abs() / table["d"]
    table["exact"] = table["estimate"].round() == table["d"]
    by = ["shapes", "n", "method"]
    of_seed = table.groupby([*by, "seed"])[["error", "exact"]].mean()
    found = table.groupby(by)[["error", "exact"]].mean()
    found["sd_over_seeds"] = of_seed["error"].groupby(by).std()
    found["n_shapes"] = table.groupby([*by, "seed"]).size().groupby(by).first()
    found["n_exact"] = (found["exact"] * found["n_shapes"]).round(1)
    return found.reset_index().sort_values(["shapes", "n", "error"])


def coverage(n: int = 300, n_redraws: int = 20, n_subsamples: int = 40) -> pd.DataFrame:
    """Return how often intervals at n points hold their own expectation, and the true dimension."""
    rows = []
    for seed in range(n_redraws):
        for name, d, x in benchmark_manifolds(n, 1_000 + seed):
            found = subsampled_estimate(
                lambda points: consensus_values(points, DEFAULT)[:1],
                x,
                n,
                n_subsamples=n_subsamples,
                seed=seed,
            )
            rows.append((name, d, *(float(v[0]) for v in found)))
    table = pd.DataFrame(rows, columns=["name", "d", "estimate", "low", "high", "sd"])
    # The expectation is that over the other redraws.
    total = table.groupby("name")["estimate"].transform("sum")
    table["expected"] = (total - table["estimate"]) / (n_redraws - 1)
    for column, target in (("covers_expectation", "expected"), ("covers_truth", "d")):
        table[column] = table[target].between(table["low"], table["high"])
    found = table.groupby(["name", "d"])[["estimate", "covers_expectation", "covers_truth"]].mean()
    found["sd_of_redraws"] = table.groupby(["name", "d"])["estimate"].std()
    found["mean_sd"] = table.groupby(["name", "d"])["sd"].mean()
    found = found.reset_index()
    columns = ["covers_expectation", "covers_truth"]
    overall = {"name": "all", **table[columns].mean()}
    for column in columns:
        k, m = table[column].sum(), len(table)
        overall[f"{column}_low"] = beta.ppf(0.025, k, m - k + 1)
        overall[f"{column}_high"] = beta.ppf(0.975, k + 1, m - k)
    return pd.concat([found, pd.DataFrame([overall])], ignore_index=True)


def cells() -> pd.DataFrame:
    """Return dimensions of every donor of two cohorts of real cells, with intervals and null."""
    tables = []
    for cohort in ("onek1k", "stephenson"):
        started = time.perf_counter()
        if cohort == "onek1k":
            adata = anndata.read_h5ad(SHARED / "onek1k_40donors_1000genes.h5ad")
            options = {"population_key": "donor"}
        else:
            adata = anndata.read_h5ad(SHARED / "stephenson2021_covid_pbmc_pca50.h5ad")
            adata.obsm["X_pca"] = adata.X
            options = {"population_key": "patient", "use_rep": "X_pca"}
            options |= {"groupby": "status"}
        table = scgde.tl.intrinsic_dimension(adata, **options, enable_progress_bar=False)
        seconds = time.perf_counter() - started
        details = adata.uns["intrinsic_dimension_details"]
        if "groups" in details:
            print(details["groups"].to_string())
        table.insert(0, "cohort", cohort)
        tables.append(table.reset_index().assign(cohort_s=round(seconds)))
    return pd.concat(tables, ignore_index=True)
