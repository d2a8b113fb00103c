"""Mapping donors that were never trained on: do label sets cover, and does novelty raise alarm?

    python -m benchmarks.query                 # three cohorts, one seed each
    python -m benchmarks.query --seeds 3

A model is trained on half of the donors of a cohort, without labels. The others are queries in
turn, in folds; donors held out and not in the fold calibrate (``held-out``). Beside that, the
reference with the trained donors alone (``training``), for what calibration on them costs. Aliens
are the same queries without one kind of cells: in OneK1K the CD14-positive monocytes, in the
others the largest of four k-means clusters. Intervals are Wilson's, over donors.

Theorell 2019 (97 donors, 14 flow channels, diagnosis) and OneK1K (400 of 961 donors, 20 genes, sex)
are read from ``../shared/data``; VALIGA (634 patients, 14 features, eGFR above 60) is bundled.
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
from scipy.stats import binomtest
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

import scgde

from ._results import write
from .patients import valiga

SHARED = Path(__file__).parents[2] / "shared" / "data"
ALPHAS = (0.05, 0.1, 0.2)


def largest_cluster(adata: AnnData) -> np.ndarray:
    x = StandardScaler().fit_transform(np.asarray(adata.X))
    clusters = KMeans(4, n_init=3, random_state=0).fit_predict(x)
    return clusters == np.bincount(clusters).argmax()


def theorell_cohort() -> tuple[AnnData, str, str, np.ndarray]:
    adata = anndata.read_h5ad(SHARED / "theorell_cytotoxic_flow_97donors.h5ad")
    return adata, "donor", "label", largest_cluster(adata)


def onek1k_cohort() -> tuple[AnnData, str, str, np.ndarray]:
    adata = anndata.read_h5ad(SHARED / "onek1k_961donors_20genes.h5ad")
    donors = np.random.default_rng(0).permutation(adata.obs["donor"].unique())[:400]
    adata = adata[adata.obs["donor"].isin(donors)].copy()
    adata = adata[np.asarray(adata.X.sum(1)).ravel() > 0].copy()
    return adata, "donor", "sex", (adata.obs["cell_type"] == "CD14-positive monocyte").to_numpy()


def valiga_cohort() -> tuple[AnnData, str, str, np.ndarray]:
    adata, population_key, labels_key, _ = valiga()
    return adata, population_key, labels_key, largest_cluster(adata)


COHORTS = {"theorell": theorell_cohort, "onek1k": onek1k_cohort, "valiga": valiga_cohort}


def run(cohort: str, seed: int, n_steps: int, n_folds: int) -> list[dict]:
    adata, population_key, labels_key, kind = COHORTS[cohort]()
    donor = adata.obs[population_key].astype(str).to_numpy()
    scgde.model.GDE.setup_anndata(adata, population_key=population_key, labels_key=labels_key)
    model = scgde.model.GDE(adata, n_latent=16, seed=seed)
    model.train(
        max_steps=n_steps, cells_per_population=64, train_size=0.5, enable_progress_bar=False
    )
    truth = model.get_population_table()[labels_key].astype(str)
    trained = np.isin(donor, model.trained_populations_)
    queries = np.random.default_rng(seed).permutation(np.unique(donor[~trained]))
    folds = [np.isin(donor, fold) for fold in np.array_split(queries, n_folds)]
    # Queries do not see each other, so calibration on trained donors needs no folds.
    asked = {"held-out": folds, "training": [~trained]}
    found = {}
    for calibration, parts in asked.items():
        results = []
        for cells in parts:
            aliens = adata[cells & ~kind].copy()
            aliens.obs[population_key] = "alien " + aliens.obs[population_key].astype(str)
            result = model.query(
                anndata.concat([adata[cells], aliens], index_unique="-"),
                adata[~cells].copy(),
                labels_key,
                enable_progress_bar=False,
            )
            assert result.calibration == calibration
            results.append(pd.concat([result.labels, result.novelty], axis=1))
        found[calibration] = pd.concat(results)
    rows = []
    for calibration, table in found.items():
        is_alien = table.index.str.startswith("alien ")
        plain, alien = table[~is_alien], table[is_alien]
        known = truth[plain.index]
        p_values = plain.filter(regex="^p_value: ")
        p_values = p_values.rename(columns=lambda name: name.removeprefix("p_value: "))
        p = np.array([p_values.loc[name, label] for name, label in known.items()])
        row = {"cohort": cohort, "calibration": calibration, "seed": seed}
        hit = plain["predicted"] == known
        rows.append({**row, "quantity": "accuracy", "hits": hit.sum(), "n": len(hit)})
        for alpha in ALPHAS:
            at = {**row, "alpha": alpha}
            for label in p_values:
                of = p[(known == label).to_numpy()] > alpha
                name = f"coverage of {label}"
                rows.append({**at, "quantity": name, "hits": of.sum(), "n": len(of)})
            several = (p_values > alpha).sum(1) > 1
            rejected, raised = plain["p_value"] <= alpha, alien["p_value"] <= alpha
            for name, hits in (
                ("coverage", p > alpha),
                ("sets of several labels", several),
                ("false alarms", rejected),
                ("aliens found", raised),
            ):
                rows.append({**at, "quantity": name, "hits": hits.sum(), "n": len(hits)})
    model.release()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cohorts", nargs="*", default=list(COHORTS), choices=COHORTS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--folds", type=int, default=4)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    rows = []
    for cohort in options.cohorts:
        for seed in range(options.seeds):
            rows += run(cohort, seed, options.steps, options.folds)
            print(cohort, seed, f"{time.perf_counter() - started:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    keys = ["cohort", "calibration", "quantity", "alpha"]
    # Donors are the same with every seed: intervals are over donors, of the average share.
    table = table.groupby(keys, sort=False, dropna=False).agg(
        hits=("hits", "mean"), n=("n", "mean"), seeds=("seed", "nunique")
    )
    pairs = zip(table["hits"], table["n"], strict=True)
    shares = [binomtest(round(h), round(n)) for h, n in pairs]
    table.insert(0, "estimate", table["hits"] / table["n"])
    intervals = [share.proportion_ci(method="wilson") for share in shares]
    table.insert(1, "low", [interval.low for interval in intervals])
    table.insert(2, "high", [interval.high for interval in intervals])
    table = table.drop(columns="hits").reset_index().round(4)
    print(table[~table["quantity"].str.startswith("coverage of")].to_string())
    write(table, "query", time.perf_counter() - started)


if __name__ == "__main__":
    main()
