"""Embedding populations of any size at constant memory, with and without a covariance.

    python -m benchmarks.streaming                        # 10^4, 10^5 and 10^6 cells, backed h5ad
    python -m benchmarks.streaming --covariance           # cost of the covariance at 10^4 cells

One population of synthetic counts x 2,000 genes (two cell types, about 4 % of values stored) is
written to an h5ad in chunks and embedded from disk by a model trained on a small sample, each size
in a process of its own, whose peak memory is read from the operating system. ``--covariance``
compares, on cells in memory, a plain embedding with one that has its covariance (medians of five),
and that covariance with autograd's, a backward pass a coordinate.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

import scgde
from scgde.encoders import influence

from ._results import write

N_GENES, CHUNK = 2_000, 10_000


def counts(n_cells: int, seed: int) -> sp.csr_matrix:
    """Return Poisson counts of two cell types, of which about 4 % are not zero."""
    rng = np.random.default_rng(seed)
    of_genes = np.random.default_rng(0)
    base = of_genes.lognormal(-4.5, 1.5, N_GENES)
    types = np.stack([base, base * of_genes.lognormal(0, 1, N_GENES)])
    size = rng.lognormal(0, 0.3, (n_cells, 1))
    x = rng.poisson(types[rng.integers(2, size=n_cells)] * size)
    x[:, 0] += 1
    return sp.csr_matrix(x, dtype=np.float32)


def write_cells(path: Path, n_cells: int) -> None:
    """Write one population of ``n_cells`` cells as h5ad, chunk by chunk."""
    names = pd.Index([f"gene_{i}" for i in range(N_GENES)])
    obs = pd.DataFrame({"population": pd.Categorical(["all cells"] * n_cells)})
    obs.index = obs.index.astype(str)
    with h5py.File(path, "w") as file:
        anndata.io.write_elem(file, "/", anndata.AnnData(obs=obs, var=pd.DataFrame(index=names)))
        anndata.io.write_elem(file, "X", counts(min(CHUNK, n_cells), 1))
        stored = anndata.io.sparse_dataset(file["X"])
        for start in range(CHUNK, n_cells, CHUNK):
            stored.append(counts(min(CHUNK, n_cells - start), 1 + start))


def trained(folder: Path) -> Path:
    """Train a default model on a few populations and save it."""
    adata = anndata.AnnData(counts(4_000, 0))
    adata.var_names = [f"gene_{i}" for i in range(N_GENES)]
    adata.obs["population"] = np.repeat([f"p{i}" for i in range(20)], 200)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata)
    model.train(max_steps=200, train_size=1.0, enable_progress_bar=False, accelerator="cpu")
    model.save(str(folder / "model"), overwrite=True)
    return folder / "model"


def embed(model_path: str, path: str, n_cells: int, covariance: bool, send) -> None:
    """Embed the cells of a file; send seconds and peak memory."""
    warnings.simplefilter("ignore")
    adata = anndata.read_h5ad(path, backed="r")
    start = time.perf_counter()
    model = scgde.model.GDE.load(model_path, adata=adata, accelerator="cpu")
    attached = time.perf_counter()
    model.get_population_embedding(return_covariance=covariance, enable_progress_bar=False)
    done = time.perf_counter()
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    send.send(
        {
            "n_cells": n_cells,
            "file_mb": round(Path(path).stat().st_size / 2**20),
            "covariance": covariance,
            "attach_s": attached - start,
            "embed_s": done - attached,
            "cells_per_s": round(n_cells / (done - attached)),
            "peak_mb": round(peak),
        }
    )


def streaming(sizes: list[int]) -> pd.DataFrame:
    rows = []
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        model = trained(Path(folder))
        for n_cells in sizes:
            path = Path(folder) / f"{n_cells}.h5ad"
            write_cells(path, n_cells)
            for covariance in (False, True):
                receive, send = fresh.Pipe(duplex=False)
                arguments = (str(model), str(path), n_cells, covariance, send)
                process = fresh.Process(target=embed, args=arguments)
                process.start()
                send.close()  # or a process that died would be waited for
                rows.append(receive.recv())
                process.join()
                print(rows[-1])
            path.unlink()
    return pd.DataFrame(rows).round(2)


def seconds(function, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def covariance_cost(n_cells: int) -> pd.DataFrame:
    """Compare, at one number of cells, plain embedding, fast covariance and that by autograd."""
    rows = []
    for features in ("2,000 genes, counts", "50 components"):
        if "genes" in features:
            adata = anndata.AnnData(counts(n_cells, 1))
        else:
            x = np.random.default_rng(1).gamma(2.0, 1.0, (n_cells, 50))
            adata = anndata.AnnData(x.astype(np.float32))
        parts = adata.copy()
        parts.obs["population"] = np.arange(n_cells) % 10
        adata.obs["population"] = "all cells"
        for encoder in ("resnet_gnn", "gnn", "kernel_mean", "mean"):
            scgde.model.GDE.setup_anndata(parts, population_key="population")
            model = scgde.model.GDE(parts, encoder=encoder)
            model.train(max_steps=50, enable_progress_bar=False, accelerator="cpu")

            def embedded(model=model, adata=adata, **options):
                return model.get_population_embedding(
                    adata, max_cells=n_cells, enable_progress_bar=False, **options
                )

            plain = seconds(embedded)
            fast_s = seconds(partial(embedded, return_covariance=True))
            fast = embedded(return_covariance=True)[1][0]
            dataset = model._dataset(model._validate_anndata(adata))
            every, weight = np.arange(n_cells)[None], torch.full((1, n_cells), 1 / n_cells)
            ((x, w),) = model._viewed(dataset, every, weight, n_cells)
            start = time.perf_counter()
            psi = influence(model.module.encoder, x, w)[0].detach().numpy()
            autograd_s = time.perf_counter() - start
            autograd = psi.T @ psi / (n_cells * (n_cells - 1))
            rows.append(
                {
                    "features": features,
                    "encoder": encoder,
                    "n_cells": n_cells,
                    "plain_s": plain,
                    "covariance_s": fast_s,
                    "covariance_over_plain": fast_s / plain,
                    "autograd_s": autograd_s,
                    "autograd_over_plain": autograd_s / plain,
                    "relative_difference": np.linalg.norm(fast - autograd)
                    / np.linalg.norm(autograd),
                }
            )
            print(rows[-1])
            model.release()
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--covariance", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    if options.covariance:
        write(covariance_cost(10_000), "covariance_cost", time.perf_counter() - start)
    else:
        write(streaming(options.sizes), "streaming", time.perf_counter() - start)


if __name__ == "__main__":
    main()
