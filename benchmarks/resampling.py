"""Do generated cells look like real ones? The report of generated against held-out cells.

    python -m benchmarks.resampling --seeds 0 1 2

Half of the cells of every population train the default model and give its embedding; cells drawn
from that embedding are compared with the other half (``scgde.metrics.resampling_report``), averaged
over up to six populations of each data set, and once more with the cells of these pooled, for half
of a population is often some tens of cells. Beside it, a negative binomial for each gene by the
moments of the population's training cells, genes independent; and a bootstrap of those cells, which
shows what the cells themselves, copied, would reach. Data sets are read from ``../shared/data``;
Schulte-Schrepping 2020 is bundled.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from scipy.stats import t as student_t

import scgde
from scgde._scvi import settings

from ._results import write

SHARED = Path(__file__).parents[2] / "shared" / "data"
MIN_MEAN = 0.1
N_POPULATIONS, N_SPLITS = 6, 5
POOLED = "pooled"

STUDIES = {
    "schulteschrepping": (None, "donor"),
    "norman": ("norman2019_k562_crispra_perturbench", "perturbation"),
    "papalexi": ("papalexi2021_thp1_eccite_299genes", "perturbation"),
    "datlinger": ("datlinger2021_jurkat_scifi_tcr_2000genes", ["perturbation", "stimulation"]),
    "onek1k": ("onek1k_40donors_1000genes", "donor"),
    "larry": ("weinreb2020_larry_cospar_781cells", ["day", "start_population"]),
}


def load(study: str) -> tuple[AnnData, str | list[str]]:
    file, population_key = STUDIES[study]
    if file is None:
        return scgde.datasets.load("schulteschrepping2020"), population_key
    adata = anndata.read_h5ad(SHARED / f"{file}.h5ad")
    return adata[np.asarray(adata.X.sum(1)).ravel() > 0].copy(), population_key


def chosen(sizes: np.ndarray) -> np.ndarray:
    """Return the largest population and, evenly spaced by size, others of 40 cells held out."""
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] >= 40]
    n = min(N_POPULATIONS, len(order))
    return order[np.linspace(0, len(order) - 1, n).round().astype(int)]


def negative_binomial(x: sp.csr_matrix, n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Draw counts of independent genes with the mean and variance of those given."""
    x = x.toarray()
    mean, var = x.mean(0), x.var(0)
    shape = mean**2 / np.maximum(var - mean, 1e-6 + 1e-3 * mean)
    rate = rng.gamma(np.maximum(shape, 1e-6), 1.0, (n_cells, x.shape[1]))
    return rng.poisson(rate * mean / np.maximum(shape, 1e-6)).astype(np.float32)


def run(study: str, seed: int, n_steps: int, baselines: bool = True) -> pd.DataFrame:
    """Return one row a method, population and quantity."""
    adata, population_key = load(study)
    start = time.perf_counter()
    scgde.model.GDE.setup_anndata(adata, population_key=population_key)
    model = scgde.model.GDE(adata, seed=seed)
    model.train(max_steps=n_steps, validation="cell", train_size=0.5, enable_progress_bar=False)
    train_s = time.perf_counter() - start
    codes = model.get_population_codes(adata)
    train, held_out = model.train_indices, model.validation_indices
    sizes = np.bincount(codes[held_out][codes[held_out] >= 0])
    embedding = model.get_population_embedding(
        adata[np.sort(train)].copy(), enable_progress_bar=False
    )
    names = model.get_population_embedding(enable_progress_bar=False).index
    rng, tables = np.random.default_rng(seed), []
    reals, drawn = [], {}
    for population in chosen(sizes):
        own = adata.X[train[codes[train] == population]]
        real = adata.X[held_out[codes[held_out] == population]]
        n = real.shape[0]
        vector = embedding.loc[[names[population]]]
        cells = {"gde": model.sample(vector, n_cells=n, enable_progress_bar=False).X}
        if baselines:
            cells["negative_binomial"] = sp.csr_matrix(negative_binomial(own, n, rng))
            cells["bootstrap"] = own[rng.integers(own.shape[0], size=n)]
        reals.append(real)
        for method, x in cells.items():
            drawn.setdefault(method, []).append(x)
            tables.append(report(real, x, method, names[population]))
    for method, pieces in drawn.items():
        tables.append(report(sp.vstack(reals), sp.vstack(pieces), method, POOLED))
    model.release()
    return pd.concat(tables).assign(study=study, seed=seed, n_steps=n_steps, train_s=train_s)


def report(real: sp.csr_matrix, x: sp.csr_matrix, method: str, population: str) -> pd.DataFrame:
    table = scgde.metrics.resampling_report(
        real,
        x,
        log_normalize=True,
        min_mean=MIN_MEAN,
        max_cells=1_000,
        n_splits=N_SPLITS,
        enable_progress_bar=False,
    )
    table = table.rename_axis("quantity").reset_index()
    return table.assign(method=method, population=population, n_held_out=real.shape[0])


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds; then over populations, with a 95 % t interval over these.

    The interval of the pooled cells is the report's own.
    """
    keys = ["study", "method", "quantity"]
    one = runs.groupby([*keys, "population"], sort=False).mean(numeric_only=True)
    is_pooled = one.index.get_level_values("population") == POOLED
    pooled, groups = (
        one[is_pooled].droplevel("population"),
        one[~is_pooled].groupby(keys, sort=False),
    )
    table, n = groups.mean(), groups.size()
    margin = student_t.ppf(0.975, n - 1) * groups["estimate"].std() / np.sqrt(n)
    table["low"], table["high"] = table["estimate"] - margin, table["estimate"] + margin
    table = pd.concat([table.assign(cells="by population"), pooled.assign(cells=POOLED)])
    table["n_populations"] = n.reindex(table.index)
    table["n_seeds"] = runs.groupby(keys)["seed"].nunique().reindex(table.index)
    columns = ["cells", "estimate", "low", "high", "ceiling", "ideal", "n_populations", "n_seeds"]
    return table[[*columns, "n_held_out", "n_steps", "train_s"]].reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", nargs="*", default=list(STUDIES), choices=STUDIES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--name", default="resampling", help="of the table in benchmarks/results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    settings.verbosity = logging.WARNING
    started, runs = time.perf_counter(), []
    for study in options.studies:
        for seed in options.seeds:
            # Baselines do not depend on the model: once is enough.
            runs.append(run(study, seed, options.steps, baselines=seed == options.seeds[0]))
        shown = summary(pd.concat(runs[-len(options.seeds) :]))
        columns = ["study", "cells", "method"]
        print(shown.pivot_table("estimate", "quantity", columns, sort=False).round(3).to_string())
        # After every study, so that a run that is stopped keeps what it has.
        table = summary(pd.concat(runs)).round(4)
        write(table, options.name, time.perf_counter() - started)


if __name__ == "__main__":
    main()
