"""Intrinsic dimension: known shapes, coverage of intervals, and real cells with a null.

The 24 shapes are those of scikit-dimension (``BenchmarkManifolds``). Seven of them are the very
distributions on which estimators are calibrated: the headline is the consensus whose calibration
leaves out the family that the shape is of, and rows of the seven and of the 17 stand beside it.
Others, which no choice was made on: random smooth maps of normal or uniform variables (with and
without noise), and tori.
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
from scgde.metrics import (
    calibrated_dimensions,
    dimension_consensus,
    dimension_profile,
    subsampled_estimate,
)
from scgde.metrics._dimension_calibration import REFERENCES
from scgde.metrics._dimension_consensus import consensus_values
from scgde.metrics._local_dimension import distinct_cells, linear_dimension, raw_dimensions
from scgde.train import fit_dpa

SHARED = Path(__file__).parents[2] / "shared" / "data"
METHODS = ("twonn", "gride", "mle", "mada", "mom", "tle")
DEFAULT = ("twonn", "gride", "mle")
# The shapes that are references of the calibration, and which.
OWN_REFERENCE = {
    "M1_Sphere": "sphere",
    "M9_Affine": "cube",
    "M10a_Cubic": "cube",
    "M10b_Cubic": "cube",
    "M10c_Cubic": "cube",
    "M10d_Cubic": "cube",
    "M12_Norm": "normal",
}
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
            for name, d, x in benchmark_manifolds(n, seed):
                found = estimates(x)
                left_out = found["consensus"]
                if name in OWN_REFERENCE:
                    left_out = consensus_without(x, OWN_REFERENCE[name])
                found["consensus, own family left out"] = left_out
                part = "the 7 references" if name in OWN_REFERENCE else "the 17 others"
                for shapes in ("all 24", part):
                    rows += [(shapes, n, seed, name, d, m, v) for m, v in found.items()]
            for kind, d, x in new_manifolds(n, seed):
                rows += [(kind, n, seed, kind, d, m, v) for m, v in estimates(x).items()]
    rows += knees(1_500)
    return summary(
        pd.DataFrame(rows, columns=["shapes", "n", "seed", "name", "d", "method", "estimate"])
    )


def estimates(x: np.ndarray) -> dict[str, float]:
    """Return every estimator of one shape, raw and calibrated, and the consensus."""
    table = dimension_consensus(x, METHODS).table
    found = {f"{m}, raw": v for m, v in table["raw"].items()}
    found |= {f"{m}, calibrated": v for m, v in table["estimate"].items()}
    found["consensus"] = table.loc[list(DEFAULT), "estimate"].median()
    return found


def consensus_without(x: np.ndarray, reference: str) -> float:
    """Return the consensus with a calibration that has not seen one of its references."""
    x = distinct_cells(x)
    others = tuple(r for r in REFERENCES if r != reference)
    # All methods, since curves that are simulated already are then used again.
    values = calibrated_dimensions(raw_dimensions(x, METHODS), len(x), METHODS, others)
    return float(np.median(np.minimum(values[: len(DEFAULT)], linear_dimension(x))))


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
        ("all 24", n, 0, name, d, "dpa knee", dimension_profile(losses).knee)
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


def coverage(
    sizes: tuple[tuple[int, int], ...] = ((300, 300), (85, 85), (85, 300), (85, 1_500)),
    n_redraws: int = 20,
    n_subsamples: int = 40,
) -> pd.DataFrame:
    """Return how often intervals hold their own expectation, and the true dimension.

    ``sizes`` are pairs of N, the points that estimates are at, and n, those that there are.
    """
    tables = [_coverage(*size, n_redraws, n_subsamples) for size in sizes]
    return pd.concat(tables, ignore_index=True)


def _coverage(n_cells: int, n: int, n_redraws: int, n_subsamples: int) -> pd.DataFrame:
    rows = []
    for seed in range(n_redraws):
        for name, d, x in benchmark_manifolds(n, 1_000 + seed):
            found = subsampled_estimate(
                lambda points: consensus_values(points, DEFAULT)[0, :1],
                x,
                n_cells,
                n_subsamples=n_subsamples,
                seed=seed,
            )
            rows.append((name, d, *(float(v[0]) for v in found[:4])))
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
    found = pd.concat([found, pd.DataFrame([overall])], ignore_index=True)
    found.insert(0, "n_cells", n_cells)
    found.insert(1, "n", n)
    return found


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
