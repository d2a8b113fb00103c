"""Runs wherever CUDA is present."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scgde

from ..conftest import fit, sparse_counts

GDE = scgde.model.GDE
pytestmark = pytest.mark.gpu


def test_train_embed_sample_and_save_on_gpu_load_on_cpu(patients, tmp_path):
    GDE.setup_anndata(patients, population_key="donor", labels_key="severity")
    model = GDE(patients, n_latent=6, n_hidden=16, label_head=True)
    fit(model, max_steps=50, accelerator="gpu", devices=1)
    assert model.device.type == "cuda"
    z, cells = model.get_population_embedding(), model.sample("C19-CB-0002", 50)
    assert np.isfinite(z).all(None)
    assert cells.shape == (50, 60)
    assert (model.sample("C19-CB-0002", 50).X != cells.X).nnz == 0
    model.save(tmp_path / "m")
    again = GDE.load(tmp_path / "m", adata=patients, accelerator="cpu")
    np.testing.assert_allclose(again.get_population_embedding(), z, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("likelihood", ["normal", "poisson", "nb", "zinb"])
def test_sparse_loss_on_gpu_equals_cpu(likelihood):
    from scgde.data import SparseCells
    from scgde.generators import CVAE

    torch.manual_seed(0)
    x = SparseCells.from_scipy(sparse_counts(), 4)
    law = CVAE(40, 4, 16, likelihood=likelihood).likelihood
    h = torch.randn(4, 16, 16)
    on_cpu = law.log_prob(h, x, x.sum())
    on_gpu = law.cuda().log_prob(h.cuda(), x.to("cuda"), x.to("cuda").sum())
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-3, atol=1e-2)


# Dummies that other tests register are not meant for a GPU.
NAMES = [("encoder", n) for n in scgde.encoders.ENCODERS.names() if "dummy" not in n]
NAMES += [("generator", n) for n in scgde.generators.GENERATORS.names() if "dummy" not in n]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_encoder_and_generator_trains_and_samples_on_gpu(kind, name):
    adata = scgde.datasets.multivariate_normal_populations(10, 60)
    GDE.setup_anndata(adata, population_key="population")
    model = GDE(adata, **{"generator": "flow_matching", kind: name}, n_latent=4, n_hidden=16)
    fit(model, max_steps=20, accelerator="gpu", devices=1)
    cells = model.sample(n_cells=20)
    assert np.isfinite(cells.X).all()
    assert np.array_equal(cells.X, model.sample(n_cells=20).X)
    on_gpu = model.get_population_embedding()
    model.module.cpu()
    np.testing.assert_allclose(model.get_population_embedding(), on_gpu, rtol=1e-2, atol=1e-2)


def test_models_of_cells_on_gpu(tmp_path):
    adata = scgde.datasets.multivariate_normal_populations(3, 100)
    options = {"accelerator": "gpu", "devices": 1, "enable_progress_bar": False}
    scgde.model.DPA.setup_anndata(adata, population_key="population")
    model = scgde.model.DPA(adata, n_latent=2, n_hidden=16, n_noise=4, networks="separate")
    model.train(max_steps=20, n_starts=2, **options)
    assert model.device.type == "cuda"
    assert model.get_energy_profile()["estimate"].notna().all()
    assert np.isfinite(model.sample(20).X).all()
    model.save(tmp_path / "m")
    again = scgde.model.DPA.load(tmp_path / "m", adata=adata, accelerator="cpu")
    np.testing.assert_allclose(
        again.get_latent_representation(), model.get_latent_representation(), rtol=1e-2, atol=1e-2
    )
    scgde.model.RegularizedAE.setup_anndata(adata)
    score = scgde.model.RegularizedAE(adata)
    score.train(max_steps=20, **options)
    assert np.isfinite(score.get_score()).all(None)
    sets = [adata.X[:100], adata.X[100:200]]
    fit_of_sets = scgde.train.fit_dpa(sets, n_latent=2, n_steps=20, **options)
    assert all(np.isfinite(losses).all() for losses in fit_of_sets.losses)
