from __future__ import annotations

import anndata
import numpy as np
import pytest
from anndata import AnnData

import scgde
from scgde.model import RegularizedAE


def fit(adata: AnnData, max_steps: int, **options) -> RegularizedAE:
    RegularizedAE.setup_anndata(adata)
    model = RegularizedAE(adata, **{"n_hidden": 48, **options})
    model.train(max_steps=max_steps, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def circle():
    """Points around a circle of radius 2, and a model of them."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 1_500)
    x = 2 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.25 * rng.normal(size=(1_500, 2))
    adata = AnnData(x.astype(np.float32))
    return adata, fit(adata, 600, sigma=0.15)


def test_the_ridge_of_a_noisy_circle_is_the_circle(circle, tmp_path):
    adata, model = circle
    scgde.tl.density_ridges(adata, model, enable_progress_bar=False)
    arrived = adata.obs["ridge_converged"].to_numpy()
    assert arrived.mean() > 0.9
    radius = np.linalg.norm(adata.obsm["ridge"][arrived], axis=1)
    assert np.abs(radius - 2).mean() < 0.1 < np.abs(np.linalg.norm(adata.X, axis=1) - 2).mean()
    moved = np.linalg.norm(adata.obsm["ridge"] - adata.X, axis=1)
    np.testing.assert_allclose(adata.obs["ridge_distance"], moved, atol=1e-5)
    # Along the circle points stay where they are.
    before, after = (np.arctan2(x[:, 1], x[:, 0])[arrived] for x in (adata.X, adata.obsm["ridge"]))
    assert np.median(np.abs(np.angle(np.exp(1j * (before - after))))) < 0.1
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert kept.uns["ridge"]["n_converged"] == arrived.sum()


def test_modes_of_a_normal_distribution_are_its_mean():
    x = np.random.default_rng(0).normal([1, 2, 3], [1, 0.5, 2], (500, 3)).astype(np.float32)
    adata = AnnData(x)
    model = fit(adata, 1, n_hidden=8)
    before = adata.X.copy()
    scgde.tl.density_ridges(adata, model, 0, key_added="mode", enable_progress_bar=False)
    np.testing.assert_array_equal(adata.X, before)
    assert adata.obs["mode_converged"].all()
    np.testing.assert_allclose(
        adata.obsm["mode"], np.broadcast_to(model.module.loc, x.shape), atol=0.05
    )


def test_arrows_on_a_linear_map_are_exact(circle, tmp_path):
    adata, model = circle
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    adata.obsm["X_turned"] = adata.X @ turn + 7
    scgde.tl.score_field(adata, model, basis="turned")
    score = model.get_score().to_numpy()
    np.testing.assert_array_equal(adata.obsm["score"], score)
    np.testing.assert_allclose(adata.obsm["score_turned"], score @ turn, rtol=1e-3, atol=1e-3)
    assert adata.uns["score"]["projection"] == "linear"
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").uns["score"]["basis"] == "turned"


def test_arrows_on_another_map_point_the_right_way(circle):
    adata, model = circle
    bent = np.stack([adata.X[:, 0] + 0.05 * adata.X[:, 0] ** 3, adata.X[:, 1]], 1)
    adata.obsm["X_bent"] = bent
    scgde.tl.score_field(adata, model, key_added="field", basis="X_bent")
    assert adata.uns["field"]["projection"] == "neighbors"
    slope = np.stack([1 + 0.15 * adata.X[:, 0] ** 2, np.ones(adata.n_obs)], 1)
    truth, found = adata.obsm["field"] * slope, adata.obsm["field_bent"]
    strong = np.linalg.norm(truth, axis=1) > np.median(np.linalg.norm(truth, axis=1))
    cosine = (truth * found).sum(1) / np.linalg.norm(truth, axis=1) / np.linalg.norm(found, axis=1)
    assert np.median(cosine[strong]) > 0.8


def test_cells_are_kept_in_the_units_of_the_ridge():
    """Of counts in a layer the model sees log-normalised ones, and ridges are of these."""
    counts = np.random.default_rng(0).poisson(5, (100, 3)).astype(np.float32) + 1
    adata = AnnData(np.zeros_like(counts), layers={"counts": counts.copy()})
    adata.var_names = ["a", "b", "c"]
    RegularizedAE.setup_anndata(adata, layer="counts")
    model = RegularizedAE(adata, n_hidden=8)
    model.train(max_steps=1, accelerator="cpu", enable_progress_bar=False)
    scgde.tl.density_ridges(adata, model, enable_progress_bar=False)
    seen = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    np.testing.assert_allclose(adata.obsm["ridge_cells"], seen, rtol=1e-5)
    moved = np.linalg.norm(adata.obsm["ridge"] - seen, axis=1)
    np.testing.assert_allclose(adata.obs["ridge_distance"], moved, atol=1e-4)
    assert list(adata.uns["ridge"]["features"]) == ["a", "b", "c"]
    np.testing.assert_array_equal(adata.layers["counts"], counts)


def test_far_points_are_looked_for_once(circle, monkeypatch):
    """Whether points are far is asked at the start, not at each step."""
    adata, model = circle
    asked = []
    far = type(model)._far
    monkeypatch.setattr(type(model), "_far", lambda self, x: asked.append(len(x)) or far(self, x))
    scgde.tl.density_ridges(adata.copy(), model, max_steps=20, enable_progress_bar=False)
    assert len(asked) == 1


def test_in_pieces_a_ridge_is_the_same(circle, monkeypatch):
    adata, model = circle
    few, pieces = adata[:60].copy(), adata[:60].copy()
    options = {"max_steps": 50, "enable_progress_bar": False}
    scgde.tl.density_ridges(few, model, **options)
    monkeypatch.setattr("scgde.tl._density_ridges._MAX_VALUES", 4 * 7)
    scgde.tl.density_ridges(pieces, model, **options)
    np.testing.assert_allclose(pieces.obsm["ridge"], few.obsm["ridge"], atol=1e-4)


def test_mistakes_are_named(circle):
    adata, model = circle
    with pytest.raises(ValueError, match="from 0 to 1"):
        scgde.tl.density_ridges(adata, model, 2)
    with pytest.raises(ValueError, match="tolerance"):
        scgde.tl.density_ridges(adata, model, tolerance=0)
    with pytest.warns(UserWarning, match="max_steps=1 steps"):
        scgde.tl.density_ridges(
            adata, model, max_steps=1, key_added="short", enable_progress_bar=False
        )
    with pytest.raises(KeyError, match="umap"):
        scgde.tl.score_field(adata, model, basis="umap")
    few = adata[:20].copy()
    few.obsm["X_bent"] = few.X**3
    with pytest.raises(ValueError, match="n_neighbors=30"):
        scgde.tl.score_field(few, model, basis="X_bent")
    few.obsm["X_bent"][0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        scgde.tl.score_field(few, model, basis="X_bent", n_neighbors=5)
