"""What the tables of ``benchmarks.synthetic`` share: training, drawing, scoring."""

from __future__ import annotations

import numpy as np
import torch
from anndata import AnnData

import scgde
from scgde import datasets, distances

# Seed of populations to score; training populations have the seeds from 0.
HELD_OUT = 10_000


def fit(
    adata: AnnData,
    encoder: str = "resnet_gnn",
    generator: str = "flow_matching",
    *,
    budget: int,
    seed: int,
    sets: int = 64,
    cells: int = 64,
    plan_kwargs: dict | None = None,
    **kwargs: object,
) -> scgde.model.GDE:
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    options = {"n_latent": 32, "n_hidden": 128, **kwargs}
    model = scgde.model.GDE(adata, encoder=encoder, generator=generator, seed=seed, **options)
    model.train(
        max_steps=budget,
        populations_per_batch=sets,
        cells_per_population=cells,
        train_size=1.0,
        enable_progress_bar=False,
        accelerator="cpu",
        plan_kwargs=plan_kwargs,
    )
    return model


def drawn(model: scgde.model.GDE, adata: AnnData, n_cells: int, **options) -> torch.Tensor:
    """Return cells resampled from the embeddings of all populations, ``(B, n_cells, d)``."""
    z = torch.from_numpy(model.get_population_embedding(adata).to_numpy())
    generator = torch.Generator().manual_seed(0)
    parts = [
        model.module.sample(part, n_cells, generator=generator, **options) for part in z.split(10)
    ]
    return torch.cat(parts)


def cells_of(adata: AnnData) -> torch.Tensor:
    """Return the cells of populations of equal size, ``(B, n_cells, d)``."""
    n_populations = adata.obs["population"].cat.categories.size
    return torch.from_numpy(np.asarray(adata.X)).view(n_populations, -1, adata.n_vars)


def normal_errors(cells: torch.Tensor, truth: dict) -> tuple[float, float]:
    """Return true W2 and the published form, of drawn cells' moments to the true ones."""
    cells = cells.double()
    centred = cells - cells.mean(1, keepdim=True)
    moments = cells.mean(1), centred.mT @ centred / (cells.shape[1] - 1)
    true = torch.from_numpy(truth["mean"]), torch.from_numpy(truth["covariance"])
    forms = distances.gaussian_wasserstein, distances.published_gaussian_wasserstein
    return tuple(form(*moments, *true).mean().item() for form in forms)


def normals(n_populations: int, n_cells: int, seed: int) -> AnnData:
    return datasets.multivariate_normal_populations(n_populations, n_cells, seed=seed)
