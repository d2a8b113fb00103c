"""The registries are real: what a user registers trains end to end by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scgde
from scgde.encoders import ENCODERS, Encoder
from scgde.generators import GENERATORS, Generator

from ..conftest import fit, normal_populations


@ENCODERS.register("dummy_max_mean")
class DummyEncoder(Encoder):
    """Mean of a hidden layer, dense cells only."""

    def __init__(self, n_input, n_latent, n_hidden=8, width=3):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(n_input, width), torch.nn.Tanh(), torch.nn.Linear(width, n_latent)
        )

    def forward(self, x, w):
        return torch.einsum("bm,bml->bl", w, self.net(x))


@GENERATORS.register("dummy_gaussian")
class DummyGenerator(Generator):
    """A normal around a mean that is linear in the embedding."""

    def __init__(self, n_output, n_latent, n_hidden=8, *, n_batch=1):
        super().__init__()
        self.mean = torch.nn.Linear(n_latent, n_output)

    def loss(self, x, w, z, **covariates):
        return (w * (x - self.mean(z)[:, None]).square().sum(-1)).sum(1)

    def sample(self, z, n_cells, *, generator=None, **covariates):
        mean = self.mean(z)[:, None].detach()
        return mean + torch.randn(len(z), n_cells, mean.shape[-1], generator=generator)


def test_dummies_train_end_to_end_by_name(tmp_path):
    adata = normal_populations()
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(
        adata,
        encoder="dummy_max_mean",
        generator="dummy_gaussian",
        n_latent=4,
        encoder_kwargs={"width": 5},
    )
    fit(model, max_steps=300, cells_per_population=30, plan_kwargs={"lr": 1e-2})
    assert (
        model.history["train_loss"]["train_loss"].iloc[-1]
        < 0.5 * (model.history["train_loss"]["train_loss"].iloc[0])
    )
    cells = model.sample("p3", 500)
    real = adata[adata.obs["population"] == "p3"].X
    assert np.abs(cells.X.mean(0) - real.mean(0)).max() < 1.5
    model.save(tmp_path / "model")
    again = scgde.model.GDE.load(tmp_path / "model", adata=adata)
    assert again.get_population_embedding().equals(model.get_population_embedding())


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="belongs to"):
        ENCODERS.register("mean")(DummyEncoder)


def test_an_unknown_name_lists_close_matches():
    with pytest.raises(ValueError, match="resnet_gnn"):
        ENCODERS.get("resnet_gn")
