"""Half of a cohort's donors thinned to few cells: what it costs a classifier to know, or not to.

    python -m benchmarks.thinning --seeds 10

For each seed a model is trained on the whole cohort without labels. Half of the donors of either
class, drawn at random, are embedded anew by the same model from a few of their cells. Held-out
donors are then classified in repeated cross-validation, before and after, by the usual logistic
regression and by the one that knows every embedding's sampling covariance. Loss is what thinning
costs: ROC-AUC given up, log loss added; gain is what weighting gives. Intervals are of a bootstrap
over seeds and donors.

Stephenson 2021 (32 patients of some 500 cells, Covid) and OneK1K (614 donors of some 150 B cells,
sex) are read from ``../shared/data``; VALIGA (634 patients of a median of 28 glomeruli, eGFR) is
bundled. The synthetic cohorts (new donors for each seed) differ between classes in a direction in
which donors differ little, so that 30 cells leave it in noise.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import rankdata

import scgde

from ._results import write
from .patients import SHARED, stephenson, valiga

N_BOOTSTRAP = 300
METHODS = {"gde": "unweighted", "gde_weighted": "weighted"}


def onek1k(seed: int) -> tuple[AnnData, str, str]:
    adata = anndata.read_h5ad(SHARED / "onek1k_961donors_20genes.h5ad")
    adata = adata[np.asarray(adata.X.sum(1)).ravel() > 0]
    n_cells = adata.obs["donor"].map(adata.obs["donor"].value_counts()).astype(int)
    return adata[(n_cells >= 90).to_numpy()].copy(), "donor", "sex"


def synthetic(seed: int, n_donors: int = 80) -> tuple[AnnData, str, str]:
    rng = np.random.default_rng([seed, n_donors])
    n_cells, n_features = 500, 10
    diseased = np.arange(n_donors) % 2
    # Donors differ most in three features; the disease is in two others.
    mean = rng.normal(size=(n_donors, n_features)) * np.r_[np.full(3, 0.6), np.full(7, 0.12)]
    mean[:, 3:5] += 0.24 * diseased[:, None]
    x = mean[:, None] + rng.normal(size=(n_donors, n_cells, n_features))
    adata = AnnData(x.reshape(-1, n_features).astype(np.float32))
    adata.obs["donor"] = np.repeat([f"d{i:03d}" for i in range(n_donors)], n_cells)
    adata.obs["status"] = np.repeat(np.array(["healthy", "diseased"])[diseased], n_cells)
    return adata, "donor", "status"


class Cohort(NamedTuple):
    """How a cohort is read, and how few cells a thinned donor keeps."""

    read: Callable[[int], tuple[AnnData, str, str]]
    n_cells: int


COHORTS = {
    "synthetic": Cohort(synthetic, 30),
    "synthetic, 32 donors": Cohort(lambda seed: synthetic(seed, 32), 30),
    "stephenson": Cohort(lambda seed: stephenson()[:3], 30),
    "valiga": Cohort(lambda seed: valiga()[:3], 5),
    "onek1k": Cohort(onek1k, 30),
}


def run(name: str, seed: int, n_steps: int, n_draws: int, n_repeats: int) -> pd.DataFrame:
    """Return the held-out probability of each donor's true class, by method, before and after."""
    cohort = COHORTS[name]
    adata, donor_key, label = cohort.read(seed)
    scgde.model.GDE.setup_anndata(adata, population_key=donor_key)
    model = scgde.model.GDE(adata, seed=seed)
    model.train(
        max_steps=n_steps, cells_per_population=64, train_size=1.0, enable_progress_bar=False
    )
    scgde.tl.embed_populations(adata, model, enable_progress_bar=False)
    labels = model.get_population_table().loc[adata.uns["gde"]["embedding"].index, label]
    before = classified(adata, label, "gde", n_repeats, seed)
    found = [before.assign(state="before", draw=draw) for draw in range(n_draws)]
    for draw in range(n_draws):
        adata.uns["thinned"] = thin(adata, model, labels, cohort.n_cells, [seed, draw])
        after = classified(adata, label, "thinned", n_repeats, seed)
        found.append(after.assign(state="after", draw=draw))
    model.release()
    return pd.concat(found).assign(seed=seed)


def thin(
    adata: AnnData, model: scgde.model.GDE, labels: pd.Series, n_cells: int, seed: list[int]
) -> dict:
    """Return the embedding with half of the donors of each class embedded from few cells."""
    full, codes = adata.uns["gde"], model.get_population_codes()
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == c) for c in sorted(set(labels))]
    donors = np.concatenate([rng.permutation(c)[: len(c) // 2] for c in classes])
    rows = [
        rng.choice(own, min(n_cells, len(own)), replace=False)
        for own in (np.flatnonzero(codes == d) for d in donors)
    ]
    few, covariance = model.get_population_embedding(
        adata[np.sort(np.concatenate(rows))].copy(),
        populations=list(labels.index[donors]),
        return_covariance=True,
        enable_progress_bar=False,
    )
    after = {key: full[key].copy() for key in ("embedding", "covariance", "n_cells", "params")}
    after["embedding"].iloc[donors] = few.to_numpy()
    after["covariance"][donors] = covariance
    after["n_cells"][donors] = [len(own) for own in rows]
    return after


def classified(adata: AnnData, label: str, key: str, n_repeats: int, seed: int) -> pd.DataFrame:
    """Return held-out predictions by both methods."""
    scgde.tl.classify_populations(
        adata,
        label,
        embedding_key=key,
        errors_in_variables=True,
        baselines=[],
        n_repeats=n_repeats,
        seed=seed,
        enable_progress_bar=False,
    )
    return adata.uns["gde_classification"]["predictions"]


def scores(truth: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Return ROC-AUC and log loss of ``probability``, that of the true class."""
    of_second = np.where(truth, probability, 1 - probability)
    n_second = truth.sum()
    above = rankdata(of_second)[truth].sum() - n_second * (n_second + 1) / 2
    log_loss = -np.log(np.clip(probability, 1e-6, 1)).mean()
    return above / (n_second * (len(truth) - n_second)), log_loss


def summary(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return what thinning costs either method, with bootstrap intervals."""
    columns = [(m, s) for m in METHODS for s in ("before", "after")]
    wide = predictions.pivot_table(
        index=["seed", "draw", "population", "truth"],
        columns=["representation", "state"],
        values="probability",
    )[columns]
    n_seeds = predictions["seed"].nunique()
    n_draws = predictions["draw"].nunique()
    values = wide.to_numpy().reshape(n_seeds, n_draws, -1, len(columns))
    labels = wide.index.get_level_values("truth")[: values.shape[2]]
    truth = np.asarray(labels == labels.max())
    of_class = [np.flatnonzero(truth == c) for c in (False, True)]

    def quantities(picks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        found = np.mean(
            [[scores(truth[rows], p) for p in value[rows].T] for s in picks for value in values[s]],
            axis=0,
        )
        found = found.T.reshape(2, 2, 2)  # metric, method, before and after
        cost = (found[..., 0] - found[..., 1]) * np.array([1, -1])[:, None]
        gain = (found[:, 1] - found[:, 0]) * np.array([1, -1])[:, None]
        return np.column_stack([found.reshape(2, 4), cost, cost[:, 0] - cost[:, 1], gain])

    rng = np.random.default_rng(0)
    draws = [
        # The donors of a real cohort are the same in all seeds, so they are drawn once for all.
        quantities(
            rng.integers(n_seeds, size=n_seeds),
            np.concatenate([rng.choice(c, len(c)) for c in of_class]),
        )
        for _ in range(N_BOOTSTRAP)
    ]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    estimate = quantities(np.arange(n_seeds), np.arange(len(truth)))
    names = [f"{METHODS[m]} {state}" for m, state in columns]
    names += ["unweighted loss", "weighted loss", "unweighted minus weighted loss"]
    names += ["gain by weighting before", "gain by weighting after"]
    return pd.DataFrame(
        [
            (metric, name, estimate[i, j], low[i, j], high[i, j])
            for i, metric in enumerate(("roc_auc", "log_loss"))
            for j, name in enumerate(names)
        ],
        columns=["metric", "quantity", "estimate", "low", "high"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cohorts", nargs="*", default=list(COHORTS), choices=COHORTS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--draws", type=int, default=4, help="of the thinned half, for each seed")
    parser.add_argument("--repeats", type=int, default=3, help="of cross-validation")
    parser.add_argument("--name", default="thinning", help="of the table in benchmarks/results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    tables = []
    for name in options.cohorts:
        start = time.perf_counter()
        found = [
            run(name, seed, options.steps, options.draws, options.repeats)
            for seed in range(options.seeds)
        ]
        table = summary(pd.concat(found, ignore_index=True))
        table.insert(0, "cohort", name)
        table["n_donors"] = found[0]["population"].nunique()
        table["n_cells_left"] = COHORTS[name].n_cells
        table["n_seeds"], table["n_draws"] = options.seeds, options.draws
        tables.append(table)
        print(table.round(4).to_string())
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    write(
        pd.concat(tables, ignore_index=True).round(4), options.name, time.perf_counter() - started
    )


if __name__ == "__main__":
    main()
