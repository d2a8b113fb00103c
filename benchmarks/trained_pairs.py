"""Two populations compared by a model that was trained on them: is the level of the test right?

    python -m benchmarks.trained_pairs              # some 11 minutes on one core
    python -m benchmarks.trained_pairs --seeds 1

Control cells of Papalexi 2021 (THP-1, 299 genes; read from ``../shared/data``) are divided at
random into eight populations, so that no two differ, and each seed divides anew. A default model is
trained on them and on the 25 perturbations. All 28 pairs are then compared

``as trained``
    by the cells that were trained on;
``held out``
    by cells that were not: half of each population (``validation="cell"``, ``train_size=0.5``).

Beside it true differences: each of the 25 perturbations against one of the eight populations, by
the same cells. Intervals are Wilson's over pairs, which share populations and a model, so they are
too narrow.
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import combinations
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import binomtest

import scgde

from ._results import write

SHARED = Path(__file__).parents[2] / "shared" / "data"
N_NULLS = 8


def screen(seed: int) -> tuple[AnnData, list[str], list[str]]:
    """Return the cells, the names of populations that do not differ, and the perturbations."""
    adata = anndata.read_h5ad(SHARED / "papalexi2021_thp1_eccite_299genes.h5ad")
    adata = adata[np.asarray(adata.X.sum(1)).ravel() > 0].copy()
    names = adata.obs["perturbation"].astype(str).to_numpy()
    targets = sorted(set(names) - {"control"})
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(names == "control"))
    nulls = [f"null_{i}" for i in range(N_NULLS)]
    names = names.astype(object)
    for name, own in zip(nulls, np.array_split(rows, N_NULLS), strict=True):
        names[own] = name
    adata.obs["population"] = names.astype(str)
    return adata, nulls, targets


def p_value(adata: AnnData, a: str, b: str) -> float:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*trained on")  # what is measured here
        table = scgde.tl.compare_populations(adata, a, b, genes=False, enable_progress_bar=False)
    return float(table["p_value"].iloc[0])


def rejected(adata: AnnData, nulls: list[str], targets: list[str]) -> dict[str, list[bool]]:
    pairs = {
        "no difference": list(combinations(nulls, 2)),
        "perturbation against control": [(target, nulls[0]) for target in targets],
    }
    return {kind: [p_value(adata, *pair) < 0.05 for pair in of] for kind, of in pairs.items()}


def run(seed: int, n_steps: int) -> pd.DataFrame:
    adata, nulls, targets = screen(seed)
    rows = []
    for cells, train_size in (("as trained", 1.0), ("held out", 0.5)):
        start = time.perf_counter()
        scgde.model.GDE.setup_anndata(adata, population_key="population")
        model = scgde.model.GDE(adata, seed=seed)
        model.train(
            max_steps=n_steps, train_size=train_size, validation="cell", enable_progress_bar=False
        )
        tested = model.train_indices if train_size == 1 else model.validation_indices
        own = adata[np.sort(tested)].copy()
        scgde.tl.embed_populations(own, model, covariance=True, enable_progress_bar=False)
        for kind, found in rejected(own, nulls, targets).items():
            rows.append((seed, cells, kind, sum(found), len(found), time.perf_counter() - start))
        print(*rows[-2:], sep="\n", flush=True)
    return pd.DataFrame(rows, columns=["seed", "cells", "pairs", "rejected", "n", "seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2_000)
    args = parser.parse_args()
    start = time.perf_counter()
    table = pd.concat([run(seed, args.steps) for seed in range(args.seeds)])
    total = table.groupby(["cells", "pairs"], sort=False)[["rejected", "n"]].sum().reset_index()
    found = [
        binomtest(int(k), int(n)).proportion_ci(method="wilson")
        for k, n in zip(total["rejected"], total["n"], strict=True)
    ]
    total["share"] = total["rejected"] / total["n"]
    total["low"], total["high"] = zip(*found, strict=True)
    total["n_seeds"], total["n_steps"] = args.seeds, args.steps
    print(total.round(3).to_string())
    write(total.round(4), "trained_pairs", time.perf_counter() - start)


if __name__ == "__main__":
    main()
