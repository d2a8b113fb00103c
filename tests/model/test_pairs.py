"""Every encoder pairs with every generator: trains, embeds, resamples, through the public class."""

from __future__ import annotations

import numpy as np
import pytest

import scgde
from scgde.encoders import ENCODERS
from scgde.generators import GENERATORS

from ..conftest import fit


@pytest.fixture(scope="module")
def normals():
    adata = scgde.datasets.multivariate_normal_populations(10, 40, seed=0)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    return adata


@pytest.mark.parametrize("generator", [n for n in GENERATORS.names() if "dummy" not in n])
@pytest.mark.parametrize("encoder", [n for n in ENCODERS.names() if "dummy" not in n])
def test_pair(normals, encoder, generator):
    model = scgde.model.GDE(normals, encoder, generator, n_latent=4, n_hidden=8)
    before = [p.detach().clone() for p in model.module.parameters() if p.requires_grad]
    fit(model, max_steps=2, logger=False, enable_checkpointing=False)
    after = [p for p in model.module.parameters() if p.requires_grad]
    moved = [
        not np.array_equal(a.numpy(), b.detach().numpy())
        for a, b in zip(before, after, strict=True)
    ]
    assert np.mean(moved) > 0.7  # biases of batches that do not occur stay
    cells = model.sample(["population_0003"], 30, seed=1)
    assert cells.shape == (30, 5)
    assert np.isfinite(cells.X).all()
    assert np.array_equal(cells.X, model.sample(["population_0003"], 30, seed=1).X)
