"""The main job on real patients: set up, train, embed, classify, resample."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from rich.console import Console
from rich.table import Table

from . import datasets, pl, tl
from ._scvi import settings
from .data import as_dense, log_normalized
from .distances import energy_distance
from .metrics import resampling_report
from .model import GDE

DATASET, POPULATION, LABEL = "schulteschrepping2020", "donor", "severity"
MIN_MEAN_COUNT = 0.1


def run_demo(output: str | Path, seed: int = 0, n_steps: int = 600) -> dict[str, pd.DataFrame]:
    """Run the demo, print what it computed and write files.

    Parameters
    ----------
    output
        Folder for ``demo.h5ad`` and three figures.
    seed
        Seed of everything random.
    n_steps
        Training steps.

    Returns
    -------
    ``classification`` and ``resampling``, the tables that are printed.
    """
    mpl.use("Agg")
    settings.verbosity = logging.WARNING
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    # Tables need room where the output is not a terminal (and so has no width of its own).
    console = Console(width=None if sys.stdout.isatty() else 120)
    started = time.perf_counter()
    adata = datasets.load(DATASET)
    console.print(
        f"{datasets.info(DATASET)['title']}: {adata.n_obs:,} cells x {adata.n_vars} genes"
    )

    GDE.setup_anndata(adata, population_key=POPULATION, labels_key=LABEL)
    model = GDE(adata, seed=seed)
    console.print(f"Training {model}")
    # A tenth of each patient's cells never trains: resampled cells are compared with those.
    model.train(max_steps=n_steps, cells_per_population=64, validation="cell", train_size=0.9)
    trained = time.perf_counter()
    tl.embed_populations(adata, model)

    console.print("Classifying severity; the inductive row trains a model in each of five folds.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = tl.classify_populations(
            adata, LABEL, setting="both", model=model, n_repeats=10, seed=seed
        )
    patient = str(adata.obs[POPULATION].value_counts().idxmax())
    resampled, generated = _compare(adata, model, patient)

    model_curve = pl.training_curve(model.history)
    patients = pl.population_map(adata, color=LABEL)
    cells, _ = pl.resampled_cells(adata[adata.obs[POPULATION] == patient], generated)
    figures = {"training_curve": model_curve, "patients": patients, "resampled_cells": cells}
    for name, ax in figures.items():
        ax.figure.savefig(output / f"{name}.png", dpi=150)
    _write(adata, output / "demo.h5ad")

    console.print(_score_table(scores))
    console.print(_resampling_table(resampled, patient))
    console.print(
        f"Training took {trained - started:.0f} s, "
        f"everything {time.perf_counter() - started:.0f} s."
    )
    for name in ("demo.h5ad", *(f"{name}.png" for name in figures)):
        console.print(f"  wrote {output / name}")
    return {"classification": scores, "resampling": resampled}


def _compare(adata: AnnData, model: GDE, patient: str) -> tuple[pd.DataFrame, AnnData]:
    """Report on a patient's resampled cells, and on the nearest other patient's, as a baseline."""
    of = adata.obs[POPULATION].to_numpy()
    held_out = model.validation_indices[of[model.validation_indices] == patient]
    # The vector is that of the patient's other cells: it has not seen those it is compared with.
    own = np.setdiff1d(np.flatnonzero(of == patient), held_out)
    vector = model.get_population_embedding(adata[own].copy())
    generated = model.sample(vector, n_cells=int((of == patient).sum()))
    target = _log_normalized(adata.X[held_out])
    distance = {
        other: energy_distance(_log_normalized(adata.X[of == other]), target).item()
        for other in np.unique(of)
        if other != patient
    }
    nearest = min(distance, key=distance.get)
    report, of_nearest = (
        resampling_report(
            adata.X[held_out],
            cells,
            log_normalize=True,
            min_mean=MIN_MEAN_COUNT,
            enable_progress_bar=sys.stdout.isatty(),
        )
        for cells in (generated.X, adata.X[of == nearest])
    )
    return report.assign(nearest_patient=of_nearest["estimate"]), generated


def _log_normalized(counts: sp.csr_matrix) -> torch.Tensor:
    return torch.from_numpy(as_dense(log_normalized(counts)))[None]


def _write(adata: AnnData, path: Path) -> None:
    """Write beside the file and rename, so that a broken run leaves no broken file."""
    temporary = path.with_name(f".{path.name}")
    adata.write_h5ad(temporary)
    temporary.replace(path)


def _score_table(scores: pd.DataFrame) -> Table:
    table = Table(title="Severity of held-out patients (estimate and 95 % interval)")
    metrics = ["roc_auc", "balanced_accuracy", "accuracy", "f1"]
    for column in ("representation", "fitted", *metrics):
        table.add_column(column)
    for (name, setting), rows in scores.groupby(["representation", "setting"], sort=False):
        rows = rows.set_index("metric")
        values = [
            f"{rows.estimate[m]:.2f} [{rows.low[m]:.2f}, {rows.high[m]:.2f}]" for m in metrics
        ]
        table.add_row(name, setting, *values)
    return table


def _resampling_table(report: pd.DataFrame, patient: str) -> Table:
    table = Table(title=f"Held-out cells of {patient} beside cells resampled from one vector")
    for column in ("quantity", "resampled", "real halves (ceiling)", "nearest patient", "ideal"):
        table.add_column(column, justify="left" if column == "quantity" else "right")
    for name, row in report.iterrows():
        table.add_row(
            name,
            f"{row.estimate:.3f} [{row.low:.3f}, {row.high:.3f}]",
            f"{row.ceiling:.3f} [{row.ceiling_low:.3f}, {row.ceiling_high:.3f}]",
            f"{row.nearest_patient:.3f}",
            f"{row.ideal:g}",
        )
    return table
