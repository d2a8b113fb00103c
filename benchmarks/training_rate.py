"""Cells per second of training, against the textbook baseline in the same process.

    python -m benchmarks.training_rate                  # three configurations, two densities
    python -m benchmarks.training_rate --device cuda    # also 64 populations x 1,024 cells x 2,000

scgde is timed as a user runs it: ``model.train`` with the default trainer, from counts in CSR, the
loading of every batch and the trainer's own work included. The baseline is timed as its file does:
forward, backward and Adam on dense input that is already there. So the ratio errs against scgde.
Context and target are one draw in both, so that both read the same number of cells a step. Pairs
alternate, so that a busy machine slows both; the figure is the median over pairs of the ratio.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from lightning.pytorch.callbacks import Callback

import scgde

from . import naive_gde
from ._results import write

CONFIGS = {**naive_gde.CONFIGS}
GPU_CONFIG = {"gpu-64x1024": (2_000, 64, 128, 2, 64, 1_024)}


class Clock(Callback):
    """Time from the end of one step to the end of the next: loading and all overhead included."""

    def __init__(self):
        self.times: list[float] = []

    def on_train_batch_end(self, trainer, *args):
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def rate(self, cells_per_step: int) -> float:
        return cells_per_step / np.median(np.diff(self.times))


def counts(n_cells: int, n_genes: int, density: float) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    per_cell = rng.binomial(n_genes, density, n_cells)
    columns = np.concatenate([np.sort(rng.choice(n_genes, k, replace=False)) for k in per_cell])
    values = rng.geometric(0.5, per_cell.sum()).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(per_cell)])
    return sp.csr_matrix((values, columns, indptr), shape=(n_cells, n_genes))


def build(config: str, density: float, likelihood: str) -> scgde.model.GDE:
    n_genes, n_latent, n_hidden, n_layers, n_sets, m = CONFIGS[config]
    n_populations = n_sets + n_sets // 2
    adata = AnnData(counts(n_populations * 2 * m, n_genes, density))
    adata.obs["patient"] = np.repeat(np.arange(n_populations).astype(str), 2 * m)
    scgde.model.GDE.setup_anndata(adata, population_key="patient")
    # The baseline counts its first hidden layer in, scgde does not.
    options = {"likelihood": likelihood, "n_cell_latent": n_latent, "n_layers": n_layers - 1}
    return scgde.model.GDE(adata, n_latent=n_latent, n_hidden=n_hidden, generator_kwargs=options)


def our_rate(
    model: scgde.model.GDE, config: str, n_steps: int, device: str, precision: str = "auto"
) -> float:
    n_sets, m = CONFIGS[config][-2:]
    clock = Clock()
    model.train(
        max_steps=n_steps,
        populations_per_batch=n_sets,
        cells_per_population=m,
        draw="same",
        train_size=1.0,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        callbacks=[clock],
        enable_progress_bar=False,
        precision=precision,
    )
    return clock.rate(n_sets * m)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--configs", nargs="*", default=None, choices=[*CONFIGS, *GPU_CONFIG])
    parser.add_argument("--densities", nargs="*", type=float, default=[0.05, 0.1])
    parser.add_argument("--likelihoods", nargs="*", default=["nb", "normal"])
    parser.add_argument("--precision", default="auto", help="of scgde; the baseline is float32")
    parser.add_argument("--name", help="of the table in benchmarks/results")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    configs = options.configs or [*CONFIGS, *(GPU_CONFIG if options.device == "cuda" else ())]
    CONFIGS.update(GPU_CONFIG)
    naive_gde.CONFIGS.update(GPU_CONFIG)
    rows = []
    for config in configs:
        for density in options.densities:
            models = {k: build(config, density, k) for k in options.likelihoods}
            naive, ours = [], {k: [] for k in models}
            for _ in range(options.pairs):
                naive.append(naive_gde.training_rate(config, options.steps, options.device))
                for likelihood, model in models.items():
                    rate = our_rate(model, config, options.steps, options.device, options.precision)
                    ours[likelihood].append(rate)
            for likelihood, rates in ours.items():
                ratio = np.array(rates) / np.array(naive)
                rows.append(
                    {
                        "config": config,
                        "density": density,
                        "likelihood": likelihood,
                        "naive_cells_per_s": round(np.median(naive)),
                        "scgde_cells_per_s": round(np.median(rates)),
                        "ratio": round(float(np.median(ratio)), 2),
                        "ratio_low": round(float(ratio.min()), 2),
                        "ratio_high": round(float(ratio.max()), 2),
                    }
                )
                print(rows[-1], flush=True)
            for model in models.values():
                model.release()
    write(
        pd.DataFrame(rows),
        options.name or f"training_rate_{options.device}",
        time.perf_counter() - started,
    )


if __name__ == "__main__":
    main()
