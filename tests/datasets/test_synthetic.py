"""Synthetic populations: their cells agree with the truth that is handed out beside them."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import scgde
from scgde import datasets

from ..conftest import fit

# Perturbed populations have a control and unequal sizes: their own test is below.
FAMILIES = [
    name
    for name in datasets.__all__
    if name.endswith("_populations") and name != "perturbed_populations"
]
COUNTS = {"poisson_populations", "multinomial_populations"}

family = pytest.mark.parametrize("name", FAMILIES)


def draw(name, *sizes, **kwargs):
    adata = getattr(datasets, name)(*sizes, **kwargs)
    truth = adata.uns["truth"]
    return adata, truth, adata.X.reshape(len(truth["population"]), -1, adata.n_vars)


def covariances(cells):
    centred = cells - cells.mean(1, keepdims=True, dtype=float)
    return centred.swapaxes(1, 2) @ centred / cells.shape[1]


@family
def test_cells_lie_population_by_population(name):
    adata, truth, cells = draw(name, 12, 7)
    assert adata.n_obs == 84
    assert adata.X.dtype == np.float32
    assert cells.shape[:2] == (12, 7)
    population = adata.obs["population"]
    assert list(population.cat.categories) == list(truth["population"])
    assert list(truth["population"]) == sorted(truth["population"])
    assert (population.cat.codes == np.repeat(range(12), 7)).all()
    assert all(len(values) == 12 for values in truth.values())
    assert adata.obs_names.is_unique


@family
def test_written_and_read_it_is_the_same(name, tmp_path):
    adata, truth, _ = draw(name, 3, 4)
    adata.write_h5ad(tmp_path / "synthetic.h5ad")
    read = anndata.read_h5ad(tmp_path / "synthetic.h5ad")
    np.testing.assert_array_equal(read.X, adata.X)
    pd.testing.assert_frame_equal(read.obs, adata.obs)
    assert read.uns["truth"].keys() == truth.keys()
    for key, values in truth.items():
        np.testing.assert_array_equal(read.uns["truth"][key], values)


@family
def test_seeds(name):
    _, truth, cells = draw(name, 5, 6, seed=1)
    np.testing.assert_array_equal(draw(name, 5, 6, seed=1)[2], cells)
    assert (draw(name, 5, 6, seed=2)[2] != cells).any()
    more = draw(name, 5, 60, seed=1)[1]
    for key, values in truth.items():
        np.testing.assert_array_equal(more[key], values)


@family
def test_whole_numbers_where_counts(name):
    _, _, cells = draw(name, 4, 50)
    assert ((cells == cells.round()).all() and (cells >= 0).all()) == (
        name in COUNTS | {"digit_populations"}
    )


def test_normals_are_as_said():
    adata, truth, cells = draw("normal_populations", 200, 4000)
    np.testing.assert_allclose(cells.mean(1)[:, 0], truth["mean"], atol=0.15)
    np.testing.assert_allclose(cells.std(1)[:, 0], truth["sd"], rtol=0.06)
    assert truth["mean"].min() < 0.2
    assert truth["mean"].max() > 4.8
    assert truth["sd"].min() > 0.5
    assert truth["sd"].max() > 1.95
    by_population = adata.obs.groupby("population", observed=True)[["mean", "sd"]].first()
    np.testing.assert_array_equal(by_population["sd"], truth["sd"])


def test_poisson_is_as_said():
    adata, truth, cells = draw("poisson_populations", 50, 4000, max_rate=4.0)
    assert truth["rate"].shape == (50, 5)
    assert 3.8 < truth["rate"].max() < 4
    np.testing.assert_allclose(cells.mean(1), truth["rate"], atol=0.15)
    np.testing.assert_allclose(cells.var(1), truth["rate"], atol=0.5)
    np.testing.assert_array_equal(adata.obs["rate_3"][::4000], truth["rate"][:, 3])


def test_multinomials_are_as_said():
    _, truth, cells = draw("multinomial_populations", 50, 4000, n_categories=4)
    assert (cells.sum(2) == 20).all()
    np.testing.assert_allclose(truth["probability"].sum(1), 1)
    np.testing.assert_allclose(cells.mean(1) / 20, truth["probability"], atol=0.01)
    skewed = draw("multinomial_populations", 500, 1, concentration=[8, 1, 1])[1]
    np.testing.assert_allclose(skewed["probability"].mean(0), [0.8, 0.1, 0.1], atol=0.02)


@pytest.mark.parametrize(("covariance", "mean"), [("inverse_wishart", 1 / 34), ("wishart", 1.0)])
def test_multivariate_normals_are_as_said(covariance, mean):
    _, truth, cells = draw(
        "multivariate_normal_populations", 40, 5000, covariance=covariance, scale=2.0
    )
    np.testing.assert_allclose(cells.mean(1), truth["mean"], atol=0.1)
    size = np.abs(truth["covariance"]).max()
    np.testing.assert_allclose(covariances(cells), truth["covariance"], atol=0.1 * size)
    many = draw("multivariate_normal_populations", 3000, 1, covariance=covariance, scale=2.0)[1]
    expected = 2 * mean * np.eye(5)
    np.testing.assert_allclose(many["covariance"].mean(0), expected, atol=0.05 * mean)
    one = draw("multivariate_normal_populations", 1, 2, n_features=2, covariance=covariance)[1]
    assert one["covariance"].shape == (1, 2, 2)


def test_low_rank_is_as_said():
    _, truth, cells = draw("low_rank_populations", 5, 5000, n_features=20, rank=3, noise=0.1)
    np.testing.assert_allclose(cells.mean(1), truth["mean"], atol=0.1)
    loadings = truth["loadings"]
    expected = loadings @ loadings.swapaxes(1, 2) + 0.01 * np.eye(20)
    np.testing.assert_allclose(covariances(cells), expected, atol=0.3)
    spectrum = np.linalg.eigvalsh(covariances(cells))
    assert (spectrum[:, -3:] > 1).all()
    np.testing.assert_allclose(spectrum[:, :-3], 0.01, rtol=0.3)
    exact = draw("low_rank_populations", 1, 100, n_features=20, rank=3, noise=0)[2][0]
    assert np.linalg.matrix_rank(exact - exact.mean(0), tol=1e-3) == 3


def test_gaussian_mixtures_are_as_said():
    adata, truth, cells = draw("gaussian_mixture_populations", 10, 8000, scale=0.5)
    weight, mean, cov = truth["weight"], truth["mean"], truth["covariance"]
    component = adata.obs["component"].to_numpy().reshape(10, -1)
    shares = np.stack([(component == k).mean(1) for k in range(3)], 1)
    np.testing.assert_allclose(shares, weight, atol=0.02)
    np.testing.assert_allclose(
        cells.mean(1), np.einsum("pk,pkd->pd", weight, mean), rtol=0, atol=0.1
    )
    second = cov + mean[..., None] * mean[..., None, :]
    ours = cells.swapaxes(1, 2).astype(float) @ cells / 8000
    np.testing.assert_allclose(ours, np.einsum("pk,pkde->pde", weight, second), rtol=0, atol=0.6)
    inside = np.cov(cells[0][component[0] == 1].T)
    np.testing.assert_allclose(inside, cov[0, 1], atol=0.01)


def test_digits_are_scikit_learn_s():
    adata, truth, _ = draw("digit_populations", 20, 2000, n_classes=4)
    pixels, labels = load_digits(return_X_y=True)
    np.testing.assert_array_equal(adata.X, pixels[adata.obs["image"]])
    np.testing.assert_array_equal(adata.obs["digit"], labels[adata.obs["image"]])
    digit = adata.obs["digit"].to_numpy().reshape(20, -1)
    shares = np.stack([(digit == k).mean(1) for k in range(4)], 1)
    np.testing.assert_allclose(shares, truth["weight"], atol=0.05)
    assert adata.obs["image"].nunique() == (labels < 4).sum()


def test_digits_of_training_and_test_are_apart():
    train, test = (
        draw("digit_populations", 30, 500, n_classes=10, images=part, seed=3)
        for part in ("train", "test")
    )
    np.testing.assert_array_equal(train[1]["weight"], test[1]["weight"])
    images = [set(adata.obs["image"]) for adata, *_ in (train, test)]
    assert not images[0] & images[1]
    assert len(images[0] | images[1]) > 1700
    other = datasets.digit_populations(30, 500, n_classes=10, images="train", seed=4)
    assert not set(other.obs["image"]) & images[1]  # the split does not move with the seed


def test_names_sort_as_numbers_do_also_where_there_are_many():
    names = list(datasets.normal_populations(10_001, 1).uns["truth"]["population"])
    assert names == sorted(names)
    assert names[-1] == "population_10000"


@family
def test_a_model_trains_on_them(name):
    adata, truth, _ = draw(name, 12, 20)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, n_latent=2, n_hidden=8)
    fit(model, max_steps=2)
    embedding = model.get_population_embedding()
    assert list(embedding.index) == list(truth["population"])


@family
def test_sizes_are_checked(name):
    function = getattr(datasets, name)
    with pytest.raises(ValueError, match="n_cells=0 must be above zero"):
        function(3, 0)
    with pytest.raises(TypeError, match=r"n_populations=2\.5 must be a whole number"):
        function(2.5, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("poisson_populations", {"max_rate": 0}, "max_rate=0 must be above zero"),
        ("poisson_populations", {"n_features": 0}, "n_features=0 must be above zero"),
        ("multinomial_populations", {"n_trials": 0}, "n_trials=0 must be above zero"),
        ("multinomial_populations", {"concentration": [1, 1]}, "must be one number or 3 of them"),
        ("multinomial_populations", {"concentration": [1, 1, 0]}, "must be above zero"),
        ("multivariate_normal_populations", {"n_features": 1}, "use normal_populations"),
        ("multivariate_normal_populations", {"covariance": "wishrt"}, "Did you mean 'wishart'"),
        ("multivariate_normal_populations", {"scale": -1.0}, r"scale=-1\.0 must be above zero"),
        ("gaussian_mixture_populations", {"n_components": 0}, "n_components=0 must be above"),
        ("low_rank_populations", {"rank": 51}, "rank=51 must be at most n_features=50"),
        ("low_rank_populations", {"noise": -1}, "noise=-1 must be zero or more"),
        ("digit_populations", {"n_classes": 11}, "n_classes=11 must be at most 10"),
        ("digit_populations", {"images": "tests"}, "Did you mean 'test'"),
    ],
)
def test_arguments_are_checked(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(datasets, name)(3, 4, **arguments)


def test_perturbed_populations_shift_as_their_truth_says():
    adata = datasets.perturbed_populations(5, 3, 400, n_features=12, mean_total=5_000, seed=2)
    again = datasets.perturbed_populations(5, 3, 400, n_features=12, mean_total=5_000, seed=2)
    assert (adata.X != again.X).nnz == 0
    assert adata.obs["perturbation"].value_counts()["control"] == 1_600
    x = adata.X.toarray() / adata.X.sum(1)
    mean = pd.DataFrame(x).groupby(adata.obs["perturbation"].astype(str).to_numpy()).mean()
    shift = np.log(mean) - np.log(mean.loc["control"])
    for name, truth in adata.uns["log_shift"].iterrows():
        assert np.corrcoef(shift.loc[name], truth)[0, 1] > 0.99
    lines = datasets.perturbed_populations(3, 1, 5, covariates=("a", "b"))
    assert lines.obs.groupby("covariate", observed=True).size().tolist() == [40, 40]
    with pytest.raises(ValueError, match="n_pairs=9 must be from 0 to 3"):
        datasets.perturbed_populations(3, 9)
