"""Patient classification on real cohorts, patients held out, beside simple baselines.

    python -m benchmarks.patients                          # both cohorts, default model, 3 seeds
    python -m benchmarks.patients --draws disjoint same    # how the default draw was settled

Stephenson 2021 (32 patients, 50 principal components, Covid against healthy) is read from
``../shared/data``; VALIGA (634 patients, 14 morphometric features, eGFR above 60) and
Schulte-Schrepping 2020 (15 patients, counts, severity) are bundled. Five folds, ten repeats; the
embedding is trained on all cells without labels (transductive), each seed anew.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

import scgde

from ._results import write

SHARED = Path(__file__).parents[2] / "shared" / "data"


def stephenson() -> tuple[AnnData, str, str, str | None]:
    adata = anndata.read_h5ad(SHARED / "stephenson2021_covid_pbmc_pca50.h5ad")
    return adata, "patient", "status", "cell_type"


def valiga() -> tuple[AnnData, str, str, str | None]:
    adata = scgde.datasets.load("valiga")
    adata.obs["egfr"] = np.where(adata.obs["eGFR_group"] == ">60", "above 60", "up to 60")
    return adata, "patient", "egfr", "structure_cluster"


def schulteschrepping() -> tuple[AnnData, str, str, str | None]:
    return scgde.datasets.load("schulteschrepping2020"), "donor", "severity", None


COHORTS = {"stephenson": stephenson, "valiga": valiga, "schulteschrepping": schulteschrepping}


def run(cohort: str, draw: str, seed: int, n_steps: int, baselines: list[str] | None):
    adata, population_key, labels_key, cell_type_key = COHORTS[cohort]()
    start = time.perf_counter()
    scgde.model.GDE.setup_anndata(adata, population_key=population_key, labels_key=labels_key)
    model = scgde.model.GDE(adata, seed=seed)
    model.train(
        max_steps=n_steps,
        cells_per_population=64,
        draw=draw,
        train_size=1.0,
        enable_progress_bar=False,
    )
    trained = time.perf_counter() - start
    scgde.tl.embed_populations(adata, model)
    scores = scgde.tl.classify_populations(
        adata,
        labels_key,
        cell_type_key=cell_type_key,
        baselines=baselines,
        enable_progress_bar=False,
    )
    model.release()
    scores = scores.assign(
        cohort=cohort,
        draw=draw,
        seed=seed,
        n_steps=n_steps,
        train_s=round(trained),
        total_s=round(time.perf_counter() - start),
    )
    scores.loc[scores.representation != "gde", ["draw", "seed", "n_steps", "train_s"]] = None
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cohorts", nargs="*", default=["stephenson", "valiga"], choices=COHORTS)
    parser.add_argument("--draws", nargs="*", default=["disjoint"], choices=["disjoint", "same"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--name", default="patients", help="of the table in benchmarks/results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    tables = []
    for cohort in options.cohorts:
        for draw in options.draws:
            for seed in range(options.seeds):
                # Baselines do not depend on the model: once is enough.
                first = draw == options.draws[0] and seed == 0
                tables.append(run(cohort, draw, seed, options.steps, None if first else []))
                shown = tables[-1][tables[-1].metric == "roc_auc"]
                columns = ["cohort", "representation", "draw", "seed", "estimate", "low", "high"]
                print(shown[[*columns, "train_s", "total_s"]].round(3).to_string(header=first))
    table = pd.concat(tables, ignore_index=True).round(4)
    write(table, options.name, time.perf_counter() - started)


if __name__ == "__main__":
    main()
