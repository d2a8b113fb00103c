"""Report cards of held-out perturbations on three screens: the model beside every baseline.

    python -m benchmarks.perturbations                        # all three, five splits each
    python -m benchmarks.perturbations --data norman --seed 1

Read from ``../shared/data``: Norman 2019 (K562, CRISPRa, singles and pairs), Papalexi 2021 (THP-1,
ECCITE-seq, replicate as batch) and Datlinger 2021 (Jurkat, with and without stimulation of the T
cell receptor). Features of what is perturbed: annotations (MSigDB C5, 64 components) or networks
(STRING, Reactome, CORUM, 32). Perturbations without features are trained on, not held out.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

import scgde

from ._results import write

SHARED = Path(__file__).parents[2] / "shared" / "data"
SCREENS = {
    "norman": ("norman2019_k562_crispra_perturbench.h5ad", {}),
    "papalexi": ("papalexi2021_thp1_eccite_299genes.h5ad", {"batch_key": "replicate"}),
    "datlinger": (
        "datlinger2021_jurkat_scifi_tcr_2000genes.h5ad",
        {"covariate_key": "stimulation"},
    ),
}
FEATURES = {"go": "gene_features_go_svd64.csv.gz", "network": "gene_features_network32.csv.gz"}
SHOWN = ["r2_shift", "r2_vs_training_mean", "pearson_delta", "pearson_delta_vs_training_mean"]
SHOWN += ["discrimination_rank", "energy_distance", "variance_ratio"]


def run(data: str, features: str, seed: int, n_splits: int, n_steps: int) -> pd.DataFrame:
    file, setup = SCREENS[data]
    adata = anndata.read_h5ad(SHARED / file)
    table = pd.read_csv(SHARED / FEATURES[features], index_col=0)
    start = time.perf_counter()
    model_class = scgde.model.PerturbationGDE
    model_class.setup_anndata(adata, "perturbation", control="control", **setup)
    model = model_class(adata, features=table, missing_features="skip", seed=seed)
    lacking = {
        part
        for name in adata.obs["perturbation"].unique()
        for part in model.parts(name)
        if part not in table.index
    }
    print(f"\n{data}: {adata.n_obs} cells; no features for {sorted(lacking) or 'none'}")
    model.train(max_steps=n_steps, enable_progress_bar=False)
    summary = scgde.tl.predict_perturbations(adata, model, n_splits=n_splits, seed=seed)
    model.release()
    seconds = time.perf_counter() - start
    held_out = adata.uns["gde_perturbation"]["predictions"]["table"]
    print(f"{held_out['perturbation'].nunique()} perturbations held out, {seconds:.0f} s")
    return summary.assign(
        data=data, features=features, seed=seed, n_splits=n_splits, n_steps=n_steps, seconds=seconds
    )


def show(summary: pd.DataFrame) -> None:
    """Print the card, and where a baseline wins or cannot be told from the model."""
    estimates = summary.set_index(["metric", "method"])["estimate"].unstack()  # noqa: PD010
    print(estimates.loc[SHOWN, list(summary["method"].unique())].round(3).to_string())
    rivals = summary[summary["metric"].isin(SHOWN[:-1]) & (summary["method"] != "data_ceiling")]
    for row in rivals.itertuples():
        ahead = row.difference > 0 if row.best == "high" else row.difference < 0
        if not ahead:
            continue
        sure = row.difference_low > 0 or row.difference_high < 0
        print(
            f"  {row.method} {'beats' if sure else 'is ahead of, not clearly,'} gde in "
            f"{row.metric} by {row.difference:+.3f} "
            f"[{row.difference_low:.3f}, {row.difference_high:.3f}], "
            f"{row.n_perturbations} perturbations"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="*", default=list(SCREENS), choices=SCREENS)
    parser.add_argument("--features", default="go", choices=FEATURES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument(
        "--name", default="perturbations", help="of the table in benchmarks/results"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started, tables = time.perf_counter(), []
    for data in options.data:
        tables.append(run(data, options.features, options.seed, options.splits, options.steps))
        show(tables[-1])
    table = pd.concat(tables, ignore_index=True)
    first = ["data", "features", "seed", "method", "metric"]
    table = table[[*first, *[c for c in table.columns if c not in first]]]
    numbers = table.select_dtypes(np.floating).columns
    table[numbers] = table[numbers].round(4)
    write(table, options.name, time.perf_counter() - started)


if __name__ == "__main__":
    main()
