from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

import scgde

from ..conftest import fit, normal_populations

QUIET = {"enable_progress_bar": False}


@pytest.fixture(scope="module")
def model():
    adata = normal_populations(24)
    adata.obs["lane"] = np.where(adata.obs["population"].isin(["p0", "p1"]), "a", "b")
    scgde.model.GDE.setup_anndata(adata, population_key="population", batch_key="lane")
    model = scgde.model.GDE(adata, "mean", "energy", n_latent=4, n_hidden=16)
    fit(model, max_steps=30, train_size=1.0)
    return model


def test_the_prior_is_that_of_the_training_populations(model):
    prior = model.get_embedding_prior()
    z, noise = model.get_population_embedding(return_covariance=True)
    expected = scgde.stats.NormalPrior.fit(z.to_numpy(), noise)
    np.testing.assert_allclose(prior.cov, expected.cov)
    assert prior.n == 24
    distances = model.embedding_prior_["distances"]
    assert (distances > expected.mahalanobis(z.to_numpy())).mean() > 0.9
    assert model.get_embedding_prior(normal_populations(6, seed=5)).n == 6


def test_a_path_between_training_populations_stays_within(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        path = model.interpolate("p3", "p9", n_steps=5, n_cells=10)
    limits = path.uns["path_limits"]
    assert list(limits.columns) == ["position", "mahalanobis", "p_value", "beyond_training"]
    assert list(limits.index) == list(path.uns["path"].index)
    assert not path.obs["beyond_training"].any()
    prior = model.get_embedding_prior()
    expected = prior.mahalanobis(path.uns["path"].to_numpy())
    np.testing.assert_allclose(limits["mahalanobis"], expected)
    np.testing.assert_allclose(path.obs["mahalanobis"], np.repeat(expected, 10))


def test_a_long_shift_leaves_the_training_populations(model, tmp_path):
    with pytest.warns(UserWarning, match="beyond the 24 training populations"):
        path = model.shift("p3", ("p3", "p9"), 20.0, n_steps=5, n_cells=10)
    limits = path.uns["path_limits"]
    assert list(limits["position"]) == [0, 5, 10, 15, 20]
    assert list(limits["beyond_training"]) == [False, True, True, True, True]
    assert limits["p_value"].iloc[-1] == 1 / 25
    assert path.obs["beyond_training"].dtype == bool
    path.write_h5ad(tmp_path / "path.h5ad")
    kept = anndata.read_h5ad(tmp_path / "path.h5ad")
    pd.testing.assert_frame_equal(kept.uns["path_limits"], limits)


def test_a_shift_goes_as_far_as_asked_for(model):
    z = model.get_population_embedding()
    direction = z.loc["p9"] - z.loc["p3"]
    path = model.shift("p3", direction, 1.5, 2, 10, unit="embedding").uns["path"]
    gone = path.iloc[1] - path.iloc[0]
    np.testing.assert_allclose(path.iloc[0], z.loc["p3"], rtol=1e-5)
    np.testing.assert_allclose(gone, 1.5 * direction / np.linalg.norm(direction), rtol=1e-4)
    other = model.shift("p3", ["p3", "p9"], 1.5, 2, 10, unit="embedding").uns["path"]
    np.testing.assert_allclose(other, path, atol=1e-5)
    prior = model.get_embedding_prior()
    along = direction.to_numpy() / np.linalg.norm(direction)
    back = model.shift("p3", 7 * direction, -0.5, 2, 10).uns["path"]
    sd = np.sqrt(along @ prior.cov @ along)
    np.testing.assert_allclose(back.iloc[1] - back.iloc[0], -0.5 * sd * along, rtol=1e-4)


def test_a_shift_keeps_its_batch_and_is_seeded(model):
    first, again = (model.shift("p0", ("p3", "p9"), 0.5, 2, 20, seed=3) for _ in range(2))
    assert set(first.obs["lane"]) == {"a"}
    assert np.array_equal(first.X, again.X)
    assert set(model.shift("p0", ("p3", "p9"), 0.5, 2, 20, batch="b").obs["lane"]) == {"b"}


def test_few_training_populations_have_the_furthest_as_their_limit():
    adata = normal_populations(8)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, "mean", "energy", n_latent=3, n_hidden=8)
    fit(model, train_size=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limits = model.shift("p0", ("p0", "p5"), 50, 40, 2).uns["path_limits"]
    furthest = model.embedding_prior_["distances"].max()
    assert list(limits["beyond_training"]) == list(limits["mahalanobis"] > furthest)
    assert 0 < limits["beyond_training"].sum() < 40


def test_limits_are_saved_and_known_without_the_training_data(model, tmp_path):
    other = normal_populations(3, seed=7)
    other.obs["population"] = "new " + other.obs["population"]
    other.obs["lane"] = "a"
    prior = model.get_embedding_prior()
    model.save(tmp_path / "m")
    loaded = scgde.model.GDE.load(tmp_path / "m", adata=other)
    np.testing.assert_array_equal(loaded.get_embedding_prior().cov, prior.cov)
    path = loaded.interpolate("new p0", "new p1", n_steps=3, n_cells=5)
    assert np.isfinite(path.uns["path_limits"]["mahalanobis"]).all()


def test_unknown_limits_are_said_and_nothing_is_invented(tmp_path):
    adata, other = normal_populations(6), normal_populations(3, seed=7)
    other.obs["population"] = "new " + other.obs["population"]
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, "mean", "energy", n_latent=3, n_hidden=8)
    fit(model)
    model.save(tmp_path / "m")
    loaded = scgde.model.GDE.load(tmp_path / "m", adata=other)
    with pytest.warns(UserWarning, match="lacks"):
        path = loaded.interpolate("new p0", "new p1", n_steps=3, n_cells=5)
    assert "path_limits" not in path.uns
    assert not {"mahalanobis", "beyond_training"} & set(path.obs)
    with pytest.raises(ValueError, match="before saving"):
        loaded.shift("new p0", ("new p0", "new p1"))
    bare = scgde.model.GDE.load(tmp_path / "m", adata=False)
    with pytest.raises(ValueError, match="no data is attached"):
        bare.get_embedding_prior()


def test_more_training_makes_another_prior():
    adata = normal_populations(6)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, "mean", "energy", n_latent=3, n_hidden=8)
    with pytest.raises(ValueError, match="train"):
        model.get_embedding_prior()
    fit(model)
    before = model.get_embedding_prior()
    fit(model)
    assert not np.allclose(before.cov, model.get_embedding_prior().cov)


def test_mistakes_are_named(model):
    for arguments, error, match in (
        (("p77", ("p3", "p9")), KeyError, "p77"),
        (("p3", ("p3", "p99")), KeyError, "p99"),
        (("p3", "p9"), TypeError, "give two"),
        (("p3", np.ones(3)), ValueError, "n_latent=4"),
        (("p3", np.zeros(4)), ValueError, "zero"),
        (("p3", np.full(4, np.nan)), ValueError, "NaN"),
        (("p3", ("p3", "p9"), 0.0), ValueError, r"distance=0\.0"),
        (("p3", ("p3", "p9"), np.inf), ValueError, "distance=inf"),
        (("p3", ("p3", "p9"), 1.0, 1), ValueError, "n_steps=1"),
        (("p3", ("p3", "p9"), 1.0, 2.5), TypeError, r"n_steps=2\.5"),
    ):
        with pytest.raises(error, match=match):
            model.shift(*arguments)
    with pytest.raises(ValueError, match="unit"):
        model.shift("p3", ("p3", "p9"), unit="meters")
    with pytest.raises(ValueError, match="three populations"):
        model.get_embedding_prior(normal_populations(2))
