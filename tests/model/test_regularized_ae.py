from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from anndata import AnnData
from scipy.special import logsumexp
from sklearn.neighbors import NearestNeighbors

from scgde.model import RegularizedAE
from scgde.module import RegularizedAEModule

from ..conftest import sparse_counts

MEANS = np.array([[-1.1, -1.1], [1.1, -0.9], [-0.33, 1.0]])
SIGMA = 0.66


def draw(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = MEANS[rng.integers(3, size=n)] + SIGMA * rng.normal(size=(n, 2))
    return x.astype(np.float32)


def log_density(x: np.ndarray, s: float) -> np.ndarray:
    return logsumexp(-np.square(x[:, None] - MEANS).sum(-1) / 2 / (SIGMA**2 + s**2), axis=1)


def fit(adata: AnnData, max_steps=400, use_rep=None, seed=0, **options) -> RegularizedAE:
    RegularizedAE.setup_anndata(adata, use_rep=use_rep)
    model = RegularizedAE(adata, **{"n_hidden": 48, "seed": seed, **options})
    model.train(max_steps=max_steps, batch_size=256, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def model():
    """A model of 4,000 points of a mixture of three normals."""
    return fit(AnnData(draw(4_000, 0)), max_steps=1_000, sigma=0.3)


def test_score_and_hessian_are_those_of_the_smoothed_density(model):
    x, s = draw(1_000, 1), model.sigma_data
    responsibility = np.exp(
        -np.square(x[:, None] - MEANS).sum(-1) / 2 / (SIGMA**2 + s**2) - log_density(x, s)[:, None]
    )
    truth = (responsibility @ MEANS - x) / (SIGMA**2 + s**2)
    found = model.get_score(x=x)
    assert np.square(found - truth).sum() < 0.04 * np.square(truth).sum()
    # The network had to learn this: one normal distribution leaves half of it over.
    normal = RegularizedAEModule(2, sigma=0.3)
    normal.initialize(model.adata.X)
    linear = normal.score(torch.from_numpy(x)).detach().numpy()
    assert np.square(linear - truth).sum() > 0.3 * np.square(truth).sum()
    spread = np.einsum("nk,ki,kj->nij", responsibility, MEANS, MEANS)
    mean = responsibility @ MEANS
    spread -= mean[:, :, None] * mean[:, None]
    variance = SIGMA**2 + s**2
    hessian = spread / variance**2 - np.eye(2) / variance
    error = model.get_hessian(x=x) - hessian
    assert np.square(error).sum() < 0.1 * np.square(hessian).sum()


def test_energy_difference_is_the_log_ratio(model):
    a, b = draw(200, 2), draw(200, 3)
    truth = log_density(b, model.sigma_data) - log_density(a, model.sigma_data)
    found = model.energy_difference(a, b)
    assert np.corrcoef(found, truth)[0, 1] > 0.97
    np.testing.assert_allclose(model.energy_difference(b, a), -found, rtol=1e-3, atol=1e-4)
    names = model.adata.obs_names
    by_name = model.energy_difference(names[0], names[7])
    np.testing.assert_allclose(
        by_name, model.energy_difference(model.adata.X[[0]], model.adata.X[[7]]), rtol=1e-5
    )


def test_pairs_are_named_or_points_in_any_form(model):
    a, b = draw(5, 2), draw(5, 3)
    found = model.energy_difference(a, b)
    tables = (pd.DataFrame(x, columns=["u", "v"]) for x in (a, b))
    np.testing.assert_array_equal(model.energy_difference(*tables), found)
    np.testing.assert_array_equal(model.energy_difference(a.tolist(), b.tolist()), found)
    names = model.adata.obs_names
    by_index = model.energy_difference(names[:2], names[[7, 7]])
    np.testing.assert_array_equal(by_index, model.energy_difference(["0", "1"], ["7", "7"]))
    np.testing.assert_array_equal(
        by_index, model.energy_difference(names[:2].to_series(), ["7", "7"])
    )
    for nothing in ([], pd.Index([]), np.empty((0, 2))):
        with pytest.raises(ValueError, match="a is empty"):
            model.energy_difference(nothing, nothing)
    twice = model.adata.copy()
    twice.obs_names = ["one", "same", "same", *names[3:]]
    with pytest.raises(ValueError, match=r"b: more than one cell is named 'same'"):
        model.energy_difference("one", "same", adata=twice)
    assert model.energy_difference("one", "5", adata=twice) == model.energy_difference("0", "5")


def test_the_distance_that_is_far_is_found_once(model, monkeypatch):
    fitted = []

    class Counted(NearestNeighbors):
        def fit(self, *args):
            fitted.append(self)
            return super().fit(*args)

    monkeypatch.setattr("scgde.model._score.NearestNeighbors", Counted)
    monkeypatch.setattr(model, "_nearest", None)
    x = draw(20, 4)
    model.get_score(x=x)
    model.get_hessian(x=x)
    model.energy_difference(x, x)
    assert len(fitted) == 1
    # Other training cells, as after loading, are looked at anew.
    monkeypatch.setattr(model, "reference_cells_", model.reference_cells_ + 100)
    with pytest.warns(UserWarning, match="100% of points"):
        model.get_score(x=x)
    assert len(fitted) == 2


@pytest.mark.parametrize(("method", "n_steps"), [("metropolis_hastings", 60), ("langevin", 600)])
def test_chains_that_start_elsewhere_reach_the_density(model, method, n_steps):
    options = {"seed": 1, "enable_progress_bar": False}
    start = draw(1_500, 5) * 0.2 + 2.0  # all on one side, where few cells are
    sample = model.sample_mcmc(1_500, method, n_steps, init=start, **options)
    s = model.sigma_data
    smoothed = draw(20_000, 6) + s * np.random.default_rng(0).normal(size=(20_000, 2))
    np.testing.assert_allclose(sample.X.mean(0), smoothed.mean(0), atol=0.15)
    np.testing.assert_allclose(np.cov(sample.X.T), np.cov(smoothed.T), atol=0.2)
    # The three modes have a third each.
    nearest = np.square(sample.X[:, None] - MEANS).sum(-1).argmin(1)
    assert np.abs(np.bincount(nearest, minlength=3) / 1_500 - 1 / 3).max() < 0.08
    rate = sample.uns["mcmc"]["acceptance_rate"]
    assert rate == pytest.approx(sample.obs["acceptance_rate"].mean(), abs=1e-5)
    assert rate == 1 if method == "langevin" else 0.2 < rate < 0.4
    assert not sample.obs["far"].mean() > 0.05


def test_chains_stay_where_the_density_already_is(model):
    """Cells drawn from the known target are left in it; a seed reproduces them."""
    s = model.sigma_data
    start = draw(2_000, 7) + s * np.random.default_rng(1).normal(size=(2_000, 2))
    options = {"n_steps": 10, "burn_in": 0, "step_size": 1.0, "enable_progress_bar": False}
    sample = model.sample_mcmc(2_000, init=start, seed=3, **options)
    before, after = (log_density(x, s).mean() for x in (start, sample.X))
    assert before == pytest.approx(after, abs=0.06)
    assert (start.astype(np.float32) != sample.X).any(1).mean() > 0.8
    again = model.sample_mcmc(2_000, init=start, seed=3, **options)
    np.testing.assert_array_equal(again.X, sample.X)
    of_numpy = model.sample_mcmc(2_000, init=start, seed=np.int64(3), **options)
    np.testing.assert_array_equal(of_numpy.X, sample.X)
    assert type(of_numpy.uns["mcmc"]["seed"]) is int
    other = model.sample_mcmc(2_000, init=start, seed=4, **options)
    assert (other.X != sample.X).any()


def test_a_gradient_field_has_no_antisymmetry(model):
    report = model.get_antisymmetry(n_cells=200, n_triangles=200)
    assert list(report.index) == ["reconstruction", "score", "triangle"]
    assert (report["low"] <= report["estimate"]).all()
    assert (report["estimate"] <= report["high"]).all()
    assert (report["estimate"] < 0.2).all()
    # A rotation around the middle is the field furthest from a gradient.
    precision = model.module.precision.clone()
    try:
        model.module.precision += 5 * torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        turned = model.get_antisymmetry(n_cells=200, n_triangles=200)
    finally:
        model.module.precision.copy_(precision)
    assert (turned["estimate"] > 2 * report["high"]).all()
    assert turned.loc["score", "estimate"] > 1


def test_triangles_of_copies_are_left_out(model):
    copies = AnnData(np.repeat(draw(4, 11), 5, axis=0))
    report = model.get_antisymmetry(copies, n_triangles=300)
    assert np.isfinite(report.to_numpy(dtype=float)).all()
    # Three places of four, with five copies each, out of twenty cells.
    share = 15 * 10 / (19 * 18)
    assert report.loc["triangle", "n"] == pytest.approx(300 * share, abs=60)
    assert report.loc["score", "n"] == 20
    same = AnnData(np.repeat(draw(1, 11), 20, axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        report = model.get_antisymmetry(same)
    assert report.loc["triangle", "n"] == 0
    assert np.isnan(report.loc["triangle", "estimate"])


def test_antisymmetry_reads_no_more_cells_than_it_needs(model, monkeypatch):
    read = []
    cells = type(model)._cells

    def counted(self, adata=None, rows=None):
        result = cells(self, adata, rows)
        read.append(len(result))
        return result

    monkeypatch.setattr(type(model), "_cells", counted)
    report = model.get_antisymmetry(n_cells=10, n_triangles=20)
    assert sum(read) <= 70
    assert list(report["n"]) == [10, 10, 20]


def test_contractive_training_in_more_dimensions_than_are_taken_exactly():
    """Two of ten features are a mixture, which one normal distribution does not have."""
    rng = np.random.default_rng(0)
    x, test = (
        np.hstack([2 * draw(n, seed), rng.normal(size=(n, 8))]).astype(np.float32)
        for n, seed in ((2_000, 0), (500, 1))
    )
    adata = AnnData(x)
    options = {"sigma": 0.2, "regularization": "contractive"}
    start, model = (fit(adata, max_steps=n, **options) for n in (1, 300))
    s = model.sigma_data
    variance = 4 * SIGMA**2 + s**2
    nearness = -np.square(test[:, None, :2] - 2 * MEANS).sum(-1) / 2 / variance
    responsibility = np.exp(nearness - logsumexp(nearness, axis=1, keepdims=True))
    truth = -test / (1 + s**2)
    truth[:, :2] = (responsibility @ (2 * MEANS) - test[:, :2]) / variance
    before, after = (np.square(m.get_score(x=test) - truth).mean(0) for m in (start, model))
    assert after[:2].mean() < 0.65 * before[:2].mean()
    assert after.sum() < 0.1 * np.square(truth).mean(0).sum()
    history = model.history["validation_loss"].iloc[:, 0]
    assert history.iloc[-1] < start.history["validation_loss"].iloc[-1, 0]
    report = model.get_antisymmetry(n_cells=50, n_triangles=20, enable_progress_bar=False)
    assert report.loc["score", "estimate"] < 0.5


def test_tables_are_named_and_indices_are_rows(model):
    table = model.get_score()
    assert table.index.equals(model.adata.obs_names)
    assert list(table.columns) == list(model.adata.var_names)
    rows = [5, 2]
    np.testing.assert_allclose(
        model.get_hessian(indices=rows), model.get_hessian(x=model.adata.X)[rows], atol=1e-5
    )
    shift = model.get_reconstruction() - model.adata.X
    np.testing.assert_allclose(shift / model.sigma_data**2, table, atol=1e-3)


def test_points_far_away_are_told(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.get_score(x=draw(500, 8))
    with pytest.warns(UserWarning, match="100% of points are further"):
        score = model.get_score(x=np.array([[8.0, 8.0]]))
    assert (score < 0).all()  # it still points back
    with pytest.warns(UserWarning, match="of the lines"):
        model.energy_difference([0.0, 0.0], [9.0, 9.0])


def test_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "m")
    x = draw(50, 9)
    again = RegularizedAE.load(tmp_path / "m", adata=model.adata)
    np.testing.assert_array_equal(again.get_score(x=x), model.get_score(x=x))
    alone = RegularizedAE.load(tmp_path / "m", adata=False)
    np.testing.assert_array_equal(alone.get_score(x=x), model.get_score(x=x))
    sample = alone.sample_mcmc(10, n_steps=2, burn_in=0, enable_progress_bar=False)
    sample.write_h5ad(tmp_path / "sample.h5ad")


def test_counts_are_log_normalised_and_sparse_is_dense_alike():
    sparse = AnnData(sparse_counts(200, 12))
    dense = AnnData(sparse.X.toarray())
    before = sparse.X.copy()
    of_sparse, of_dense = (fit(a, max_steps=20) for a in (sparse, dense))
    np.testing.assert_allclose(of_sparse.get_score(), of_dense.get_score(), atol=1e-4)
    assert sp.issparse(sparse.X)
    assert (before != sparse.X).nnz == 0
    x = np.log1p(1e4 * dense.X / dense.X.sum(1, keepdims=True))
    np.testing.assert_allclose(of_dense.get_score(), of_dense.get_score(x=x), atol=1e-4)


def test_a_seed_reproduces():
    runs = [fit(AnnData(draw(300, 0)), max_steps=10, seed=seed).get_score() for seed in (0, 0, 1)]
    pd.testing.assert_frame_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


def test_mistakes_are_named(model):
    x = draw(5, 0)
    with pytest.raises(ValueError, match="x has shape"):
        model.get_score(x=x[:, :1])
    with pytest.raises(ValueError, match="x has shape"):
        model.get_score(x=x[0])
    with pytest.raises(ValueError, match="NaN"):
        model.get_score(x=np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="not both"):
        model.get_score(model.adata, x=x)
    with pytest.raises(ValueError, match="rows are 0 to 4"):
        model.get_hessian(x=x, indices=[5])
    with pytest.raises(ValueError, match="row numbers"):
        model.get_hessian(x=x, indices=[0.5])
    with pytest.raises(KeyError, match="nobody"):
        model.energy_difference("nobody", "0")
    with pytest.raises(ValueError, match="5 points and b 4"):
        model.energy_difference(x, x[:4])
    with pytest.raises(ValueError, match="n_steps=0"):
        model.energy_difference(x, x, n_steps=0)
    with pytest.raises(ValueError, match="'langevin'"):
        model.sample_mcmc(5, method="langevn")
    with pytest.raises(ValueError, match="step_size=-1"):
        model.sample_mcmc(5, step_size=-1)
    with pytest.raises(ValueError, match="init has 5 points"):
        model.sample_mcmc(6, init=x)
    with pytest.raises(ValueError, match="init='date'"):
        model.sample_mcmc(6, init="date")
    with pytest.raises(ValueError, match="infinity"):
        model.sample_mcmc(5, "langevin", 200, step_size=1e6, enable_progress_bar=False)


def test_mistakes_at_the_start_are_named():
    adata = AnnData(draw(50, 0))
    RegularizedAE.setup_anndata(adata)
    with pytest.raises(ValueError, match="regularization='sparse'"):
        RegularizedAE(adata, regularization="sparse")
    with pytest.raises(ValueError, match="sigma=0"):
        RegularizedAE(adata, sigma=0)
    untrained = RegularizedAE(adata)
    for call in (untrained.get_score, untrained.get_hessian, untrained.sample_mcmc):
        with pytest.raises(RuntimeError, match="train"):
            call()
    bad = draw(50, 0)
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN|finite"):
        RegularizedAE.setup_anndata(AnnData(bad))
