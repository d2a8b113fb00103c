from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scgde
from scgde.stats import hotelling_radius

from ..conftest import fit, normal_populations


def on_normals(encoder, n_cells):
    adata = normal_populations(n_populations=4, n_cells=n_cells)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, encoder=encoder, n_latent=6, n_hidden=12)
    fit(model, populations_per_batch=2)
    return model


def test_many_cells_of_a_linear_embedding_give_hotellings_radius():
    model = on_normals("mean", 2_000)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 2)))[0]
    radius = model.get_confidence_radius(
        axes, populations="p0", n_bootstrap=1_500, enable_progress_bar=False
    )
    assert radius.index.tolist() == ["p0"]
    assert abs(radius["p0"] / hotelling_radius(2_000, 2) - 1) < 0.15


def test_few_cells_have_larger_regions_than_hotellings():
    model = on_normals("resnet_gnn", 25)
    radius = model.get_confidence_radius(np.eye(6)[:, :4], enable_progress_bar=False)
    assert (radius > hotelling_radius(25, 4)).mean() >= 0.5
    pd.testing.assert_series_equal(
        model.get_confidence_radius(
            np.eye(6)[:, :4], populations=["p2", "p0"], enable_progress_bar=False
        ),
        radius[["p2", "p0"]],
        rtol=1e-3,
    )


def test_pieces_give_the_same():
    model = on_normals("gnn", 40)
    options = {"populations": "p1", "n_bootstrap": 40, "enable_progress_bar": False}
    whole = model.get_confidence_radius(np.eye(6)[:, :2], **options)
    pieces = model.get_confidence_radius(np.eye(6)[:, :2], max_cells=7, **options)
    np.testing.assert_allclose(pieces, whole, rtol=1e-3)


def test_fewer_cells_than_directions():
    model = on_normals("mean", 60)
    few = model.adata[[0, 1, 2, *range(60, 240)]].copy()
    radius = model.get_confidence_radius(
        np.eye(6)[:, :4], few, n_bootstrap=40, enable_progress_bar=False
    )
    assert np.isnan(radius["p0"])
    assert (radius.drop("p0") > 0).all()


@pytest.mark.parametrize(
    ("axes", "options", "message"),
    [
        (np.eye(5), {}, "axes has shape"),
        (np.ones(6), {}, "axes has shape"),
        (np.full((6, 1), np.nan), {}, "finite"),
        (np.eye(6), {"level": 95}, "level=95"),
        (np.eye(6), {"n_bootstrap": 10}, "n_bootstrap=10"),
    ],
)
def test_bad_input(trained, axes, options, message):
    with pytest.raises(ValueError, match=message):
        trained.get_confidence_radius(axes, **options)


def test_medians_have_no_influence():
    model = on_normals("median_gnn", 20)
    with pytest.raises(ValueError, match="median_gnn"):
        model.get_confidence_radius(np.eye(6)[:, :2])
