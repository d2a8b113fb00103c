from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

import scgde

from ..conftest import fit, normal_populations

GDE = scgde.model.GDE


def covered(model, **kwargs):
    return model.get_population_embedding(
        return_covariance=True, enable_progress_bar=False, **kwargs
    )


def on_normals(encoder, n_cells=60, **kwargs):
    adata = normal_populations(n_cells=n_cells)
    GDE.setup_anndata(adata, population_key="population")
    model = GDE(adata, encoder=encoder, n_latent=4, n_hidden=16, **kwargs)
    fit(model, max_steps=20)
    return model


def close(a, b, tolerance=1e-4):
    """Equal relative to the largest value of each matrix."""
    scale = np.abs(b).reshape(len(b), -1).max(1).reshape(-1, 1, 1)
    np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=tolerance)


def test_embeddings_are_those_without_covariance(trained):
    z, covariance = covered(trained)
    pd.testing.assert_frame_equal(z, trained.get_population_embedding())
    assert covariance.shape == (15, 6, 6)
    assert (np.linalg.eigvalsh(covariance) > -1e-8).all()


def test_covariance_of_a_mean_is_the_textbooks():
    model = on_normals("mean")
    _, covariance = covered(model)
    weight = model.module.encoder.project.weight.detach().numpy()
    for i, name in enumerate(model.get_population_table().index[:4]):
        cells = model.adata.X[(model.adata.obs["population"] == name).to_numpy()]
        seen = model.module.view(torch.from_numpy(cells)).numpy() @ weight
        np.testing.assert_allclose(covariance[i], np.cov(seen.T) / len(seen), rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("encoder", ["resnet_gnn", "kernel_mean", "induced_attention"])
def test_covariance_is_that_of_redrawn_cells(encoder):
    """Against what it stands for: embeddings of other cells of the same populations."""
    model = on_normals(encoder, 100)
    _, covariance = covered(model)
    rng = np.random.default_rng(0)
    rows = model._dataset().index.cells(0)
    x = np.asarray(model.adata.X)[rows]
    others = rng.normal(x.mean(0), x.std(0), (400, 100, x.shape[1])).astype(np.float32)
    new = anndata.AnnData(others.reshape(-1, x.shape[1]))
    new.obs["population"] = np.repeat([f"n{i}" for i in range(400)], 100)
    z = model.get_population_embedding(new)
    spread = np.cov(z.to_numpy().T)
    ratio = np.sqrt(np.trace(covariance[0]) / np.trace(spread))
    assert 0.8 < ratio < 1.25


def test_pieces_give_the_covariance_of_the_whole(trained):
    _, whole = covered(trained)
    _, pieces = covered(trained, max_cells=7)
    close(pieces, whole)


def test_padding_in_a_batch_does_not_matter(trained):
    keep = np.arange(trained.adata.n_obs) % 40 < np.repeat(np.arange(5, 35, 2), 40)
    uneven = trained.adata[keep].copy()
    z, together = covered(trained, adata=uneven)
    for i in (0, 7, 14):
        _, alone = covered(trained, adata=uneven, populations=z.index[i])
        close(alone, together[[i]])


def test_the_order_asked_for(trained):
    z, covariance = covered(trained)
    names = ["C19-CB-0204", "C19-CB-0002", "C19-CB-0204"]
    some, of_some = covered(trained, populations=names)
    assert list(some.index) == names
    close(of_some, covariance[z.index.get_indexer(names)])


def test_one_cell_has_no_spread(trained):
    donors = trained.adata.obs["donor"]
    first, second = (np.flatnonzero(donors == d) for d in donors.cat.categories[:2])
    one = trained.adata[[first[0], *second]].copy()
    z, covariance = covered(trained, adata=one)
    assert z.notna().all(axis=None)
    assert np.isnan(covariance[0]).all()
    assert np.isfinite(covariance[1]).all()


def test_medians_are_bootstrapped():
    model = on_normals("median_gnn")
    adata = model.adata
    z, covariance = covered(model)
    np.testing.assert_allclose(z, model.get_population_embedding(), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(covered(model)[1], covariance)
    # A population's own covariance, whatever is embedded beside it.
    np.testing.assert_allclose(covered(model, populations="p3")[1][0], covariance[5], rtol=1e-3)
    assert z.index[5] == "p3"
    # Against other cells of the same population.
    rng = np.random.default_rng(0)
    x = np.asarray(adata.X)[(adata.obs["population"] == "p3").to_numpy()]
    others = rng.normal(x.mean(0), x.std(0), (300, 60, 5)).astype(np.float32)
    new = anndata.AnnData(others.reshape(-1, 5))
    new.obs["population"] = np.repeat([f"n{i}" for i in range(300)], 60)
    spread = np.cov(model.get_population_embedding(new).to_numpy().T)
    assert 0.6 < np.sqrt(np.trace(covariance[5]) / np.trace(spread)) < 1.6
    one = adata[[0, *range(60, 120)]].copy()
    assert np.isnan(covered(model, adata=one)[1][0]).all()
    with pytest.raises(ValueError, match=r"median_gnn.*another encoder"):
        model.get_cell_influence()


def test_influence_of_cells(trained):
    trained.adata.obs.loc[trained.adata.obs_names[:3], "donor"] = np.nan
    GDE.setup_anndata(trained.adata, population_key="donor")
    psi = trained.get_cell_influence()
    assert psi.shape == (600, 6)
    assert psi.index.equals(trained.adata.obs_names)
    assert psi.isna().all(axis=1).sum() == 3
    z, covariance = covered(trained)
    for i in (0, 9):
        own = psi[(trained.adata.obs["donor"] == z.index[i]).to_numpy()].to_numpy()
        n = len(own)
        np.testing.assert_allclose(own.mean(0), 0, atol=1e-5)
        close((own.T @ own / (n * (n - 1)))[None], covariance[[i]])


def test_influence_predicts_what_a_cells_removal_does(trained):
    rows = np.flatnonzero(trained.adata.obs["donor"] == "C19-CB-0002")
    psi = trained.get_cell_influence(populations="C19-CB-0002").to_numpy()
    whole = trained.get_population_embedding(populations="C19-CB-0002").to_numpy()[0]
    moved, expected = [], []
    for row in rows[:10]:
        rest = trained.adata[np.setdiff1d(rows, row)].copy()
        moved.append(trained.get_population_embedding(rest).to_numpy()[0] - whole)
        expected.append(-psi[row] / (len(rows) - 1))
    assert np.corrcoef(np.ravel(moved), np.ravel(expected))[0, 1] > 0.98
    others = np.setdiff1d(np.arange(trained.adata.n_obs), rows)
    assert np.isnan(psi[others]).all()


def test_influence_along_a_direction(trained):
    direction = np.arange(6.0)
    along = trained.get_cell_influence(direction=direction)
    assert isinstance(along, pd.Series)
    np.testing.assert_allclose(
        along, trained.get_cell_influence() @ direction, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    ("direction", "message"),
    [(np.ones(5), "shape"), (np.full(6, np.nan), "NaN"), (np.ones((6, 1)), "shape")],
)
def test_bad_direction(trained, direction, message):
    with pytest.raises(ValueError, match=f"direction.*{message}"):
        trained.get_cell_influence(direction=direction)


def test_backed_cells(trained, tmp_path):
    trained.adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    _, covariance = covered(trained)
    close(covered(trained, adata=backed, max_cells=16)[1], covariance)
    np.testing.assert_allclose(
        trained.get_cell_influence(backed), trained.get_cell_influence(), rtol=1e-3, atol=1e-5
    )


def test_large_populations_of_attention_encoders_are_warned_of():
    model = on_normals("self_attention")
    with pytest.warns(UserWarning, match=r"does not stream.*get_drawn_embedding"):
        model.get_population_embedding(max_cells=50)


def test_no_population_asked_for(trained):
    with pytest.raises(ValueError, match="populations is empty"):
        trained.get_population_embedding(populations=[])


def test_average_over_draws():
    model = on_normals("self_attention", 200)
    whole = model.get_population_embedding()
    mean, error = model.get_drawn_embedding(cells_per_draw=50, n_draws=20, seed=1)
    assert mean.shape == error.shape == whole.shape
    # Draws of 50 of 200 miss by the sampling error of 50, averaged over 20 draws.
    off = ((mean - whole) / error).to_numpy()
    assert 0.5 < np.sqrt((off**2).mean()) < 2.5
    pd.testing.assert_frame_equal(
        mean, model.get_drawn_embedding(cells_per_draw=50, n_draws=20, seed=1)[0]
    )
    all_cells, nothing = model.get_drawn_embedding(cells_per_draw=500)
    np.testing.assert_allclose(all_cells, whole, rtol=1e-4, atol=1e-5)
    assert (nothing == 0).all(axis=None)
    with pytest.raises(ValueError, match="n_draws=1 must be at least 2"):
        model.get_drawn_embedding(n_draws=1)
