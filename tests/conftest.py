from __future__ import annotations

import os

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from anndata import AnnData

import scgde

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(GPU)


@pytest.fixture(autouse=True)
def _one_thread_a_process():
    """Undo what libraries do to torch's threads, or processes wait for each other."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _patients() -> AnnData:
    adata = scgde.datasets.load("schulteschrepping2020")
    rng = np.random.default_rng(0)
    rows = [
        rng.choice(np.flatnonzero(adata.obs["donor"] == donor), 40, replace=False)
        for donor in adata.obs["donor"].cat.categories
    ]
    return adata[np.sort(np.concatenate(rows)), :60].copy()


@pytest.fixture
def patients(_patients) -> AnnData:
    """Real counts: 15 patients x 40 cells x 60 genes, with severity."""
    return _patients.copy()


@pytest.fixture
def trained(patients):
    """A small model after a few steps on ``patients``, which ``model.adata`` is."""
    scgde.model.GDE.setup_anndata(patients, population_key="donor", labels_key="severity")
    model = scgde.model.GDE(patients, n_latent=6, n_hidden=16)
    fit(model)
    return model


def fit(model, **kwargs) -> None:
    """Train for a moment."""
    defaults = {"max_steps": 4, "populations_per_batch": 5, "cells_per_population": 10}
    model.train(**{**defaults, "enable_progress_bar": False, **kwargs})


def normal_populations(n_populations=12, n_cells=60, n_features=5, seed=0) -> AnnData:
    """Dense normal populations that differ in their means."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 3, (n_populations, n_features))
    x = (means[:, None] + rng.normal(size=(n_populations, n_cells, n_features))).reshape(
        -1, n_features
    )
    adata = AnnData(x.astype(np.float32))
    adata.obs["population"] = np.repeat([f"p{i}" for i in range(n_populations)], n_cells)
    adata.obs["group"] = np.where(means[:, 0] > 0, "high", "low").repeat(n_cells)
    adata.obs["size"] = means[:, 0].repeat(n_cells)
    return adata


def sparse_counts(n_cells=64, n_genes=40, density=0.1, seed=0) -> sp.csr_matrix:
    """Sparse counts without empty cells."""
    x = sp.random(n_cells, n_genes, density, format="csr", dtype=np.float32, random_state=seed)
    x.data = np.ceil(x.data * 6)
    x = x.tolil()
    x[:, 0] = 1
    return x.tocsr().astype(np.float32)
