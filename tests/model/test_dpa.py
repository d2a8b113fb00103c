from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from anndata import AnnData
from scipy.stats import spearmanr

import scgde
from scgde.model import DPA
from scgde.model._energy_profile import _profile

QUIET = {"enable_progress_bar": False}
SMALL = {"n_hidden": 32, "n_noise": 8}


def blobs(n_cells=300, seed=0) -> AnnData:
    """Three normal populations with axes of unlike variance, at 0, 20 and 40."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, n_cells, 3)) * [3, 1, 0.1]
    x[1] = x[1][:, ::-1]  # the second population's long axis is the last feature
    adata = AnnData((x + [[[0]], [[20]], [[40]]]).reshape(-1, 3).astype(np.float32))
    adata.obs["who"] = np.repeat(["a", "b", "c"], n_cells)
    return adata


def fitted(adata, max_steps=150, setup=None, **options):
    DPA.setup_anndata(adata, population_key="who", **setup or {})
    model = DPA(adata, n_latent=2, **{**SMALL, **options})
    model.train(max_steps=max_steps, batch_size=64, **QUIET)
    return model


@pytest.fixture(scope="module")
def separate():
    return fitted(blobs(), 500, networks="separate", levels_per_step=None)


def test_each_population_has_a_network_of_its_own(separate):
    z = separate.get_latent_representation()
    x = separate.adata.X
    for population, axis in (("a", 0), ("b", 2), ("c", 0)):
        own = (separate.adata.obs["who"] == population).to_numpy()
        assert abs(spearmanr(z[own, 0], x[own, axis]).statistic) > 0.98
    one = separate.encode(torch.from_numpy(x[:5]), population="a")
    np.testing.assert_allclose(one.detach(), z[:5], atol=1e-4)


def test_profile_of_each_population(separate):
    profile = separate.get_energy_profile()
    assert profile.index.names == ["population", "k"]
    assert profile.index.get_level_values(0).unique().tolist() == ["a", "b", "c"]
    assert (profile["n_cells"] == 30).all()
    assert (profile["low"] < profile["estimate"]).all()
    for _, own in profile.groupby("population"):
        assert (np.diff(own["estimate"]) < 0).all()
        assert own["unexplained"].iloc[0] == pytest.approx(1, abs=0.4)
        assert own["unexplained"].iloc[1] == pytest.approx(1 / 10, abs=0.1)  # 9 of 10.01 explained


def test_generated_cells_are_distributed_as_the_population(separate):
    cells = separate.sample(1_000, populations=["b", "a"])
    assert cells.obs["population"].value_counts().to_dict() == {"a": 1_000, "b": 1_000}
    drawn = cells[cells.obs["population"] == "b"].X
    np.testing.assert_allclose(drawn.mean(0), [20, 20, 20], atol=0.5)
    np.testing.assert_allclose(drawn.std(0), [0.1, 1, 3], rtol=0.3, atol=0.15)
    assert list(cells.var_names) == list(separate.get_feature_names())


def test_reconstruction_sharpens_with_the_level(separate):
    x = separate.adata.X
    error = [((separate.reconstruct(k).X - x) ** 2).sum(1).mean() for k in range(3)]
    assert error[0] > error[1] > error[2]
    assert error[0] == pytest.approx(10, rel=0.1)
    drawn = separate.reconstruct(0, draw=True)
    assert ((drawn.X - x) ** 2).sum(1).mean() == pytest.approx(20, rel=0.3)  # a draw is no mean
    assert list(drawn.obs) == ["who"]


def test_new_cells_of_known_populations(separate, tmp_path):
    separate.save(tmp_path / "dpa")
    new = blobs(seed=1)
    new = new[new.obs["who"].isin(["c", "b"])].copy()
    again = DPA.load(tmp_path / "dpa", adata=new)
    profile = again.get_energy_profile(new)
    assert profile.index.get_level_values(0).unique().tolist() == ["b", "c"]
    np.testing.assert_allclose(
        again.get_latent_representation(), separate.get_latent_representation(new), atol=1e-5
    )
    new.obs["who"] = new.obs["who"].replace({"b": "stranger"})
    with pytest.raises(ValueError, match=r"stranger.*have a network"):
        DPA.load(tmp_path / "dpa", adata=new).get_latent_representation()


def test_one_network_for_all(separate):
    model = fitted(blobs())
    assert model.module.n_members == 1
    profile = model.get_energy_profile()
    assert len(profile) == 9
    # From noise alone: who a cell belongs to is nowhere in the model.
    assert list(model.sample(50).obs) == []
    with pytest.raises(ValueError, match="knows no populations"):
        model.sample(5, populations="a")
    assert (model.sample(5, k=1, populations="a").obs["population"] == "a").all()


def test_conditioned_on_the_embedding_of_the_population(tmp_path):
    adata = blobs()
    adata.obsm["X_gde"] = np.eye(3, dtype=np.float32)[np.repeat([0, 1, 2], 300)]
    model = fitted(adata, 500, {"condition_rep": "X_gde"}, levels_per_step=None)
    for name, middle in (("a", 0), ("c", 40)):
        np.testing.assert_allclose(
            model.sample(500, populations=name).X.mean(0), [middle] * 3, atol=1.5
        )
    model.save(tmp_path / "dpa")
    new = blobs(40, seed=1)
    new.obs["who"] = new.obs["who"].replace({"a": "never seen"})
    new.obsm["X_gde"] = np.eye(3, dtype=np.float32)[np.repeat([0, 1, 2], 40)]
    again = DPA.load(tmp_path / "dpa", adata=new)
    assert "never seen" in again.get_energy_profile(new).index
    for condition in (None, np.zeros((3, 3)), np.zeros(3)):
        with pytest.raises(ValueError, match=r"this model takes \(2, 3\)"):
            model.encode(torch.zeros(2, 3), condition=condition)
    z = model.encode(adata.X[:2], condition=adata.obsm["X_gde"][:2].astype(np.float64))
    np.testing.assert_allclose(z.detach(), model.get_latent_representation()[:2], atol=1e-5)
    partly = new.copy()
    partly.obsm["X_gde"][partly.obs["who"] == "c"] = np.nan
    with pytest.raises(ValueError, match="Embed all populations first"):
        model.get_energy_profile(partly)
    new.obsm["X_gde"] = new.obsm["X_gde"][:, :2]
    with pytest.raises(ValueError, match="has 2 columns"):
        DPA.load(tmp_path / "dpa", adata=new)


def test_a_condition_that_does_not_vary_stays_in_bounds():
    adata = blobs(40)
    adata.obsm["X_gde"] = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)
    one = adata[adata.obs["who"] == "a"].copy()
    model = fitted(one, 5, {"condition_rep": "X_gde"})
    assert np.abs(model.get_latent_representation(adata)).max() < 1e3


def test_a_setup_that_fails_writes_nothing():
    adata = blobs(40)
    adata.obsm["X_gde"] = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)
    model, new = fitted(adata, 2, {"condition_rep": "X_gde"}), blobs(20)
    with pytest.raises(KeyError, match="condition_rep='X_gde'"):
        model.get_latent_representation(new)
    assert list(new.obs) == ["who"]


def test_the_best_of_several_starts_is_kept():
    DPA.setup_anndata(adata := blobs(100), population_key="who")
    model = DPA(adata, n_latent=2, networks="separate", **SMALL)
    model.train(max_steps=30, n_starts=3, **QUIET)
    assert model.module.n_members == 3
    again = DPA(adata, n_latent=2, networks="separate", **SMALL)
    initialize = again._initialize

    def with_a_bad_start(index):
        initialize(index)
        with torch.no_grad():
            again.module.encoder.linear.weight[4] = torch.nan  # the second start of "b"

    again._initialize = with_a_bad_start
    again.train(max_steps=30, n_starts=3, **QUIET)
    assert np.isfinite(again.get_latent_representation()).all()
    with pytest.raises(ValueError, match="n_starts=2 is for the first training"):
        model.train(max_steps=2, n_starts=2, **QUIET)


def test_a_failed_training_leaves_one_network():
    DPA.setup_anndata(adata := blobs(40), population_key="who")
    model = DPA(adata, n_latent=2, **SMALL)
    with pytest.raises(ValueError, match="train_size=2"):
        model.train(max_steps=2, n_starts=3, train_size=2, **QUIET)
    assert model.module.n_members == 1
    model.train(max_steps=2, **QUIET)


def test_held_out_cells_are_known_by_their_cells(separate, tmp_path):
    pd.testing.assert_frame_equal(
        separate.get_energy_profile(), separate.get_energy_profile(separate.adata)
    )
    separate.save(tmp_path / "dpa")
    other = separate.adata[::-1].copy()
    again = DPA.load(tmp_path / "dpa", adata=other)
    with pytest.raises(ValueError, match="not known which were held out"):
        again.get_energy_profile(enable_progress_bar=False)
    with pytest.warns(UserWarning, match="they are divided anew"):
        again.train(max_steps=1, **QUIET)


def test_training_goes_on_with_the_network_of_each_population(separate, tmp_path):
    separate.save(tmp_path / "dpa")
    other = blobs(seed=1)
    other.obs["who"] = pd.Categorical(other.obs["who"], ["c", "b", "a"])
    again = DPA.load(tmp_path / "dpa", adata=other)
    again.train(max_steps=100, plan_kwargs={"lr": 1e-4}, **QUIET)
    before, after = (m.get_energy_profile()["estimate"] for m in (separate, again))
    np.testing.assert_allclose(after, before.loc[after.index], rtol=0.4)
    fewer = other[other.obs["who"] != "a"].copy()
    with pytest.raises(ValueError, match="attached differs in 'a'"):
        DPA.load(tmp_path / "dpa", adata=fewer).train(max_steps=1, **QUIET)


def test_networks_sample_without_data(separate, tmp_path):
    separate.save(tmp_path / "dpa")
    again = DPA.load(tmp_path / "dpa", adata=False)
    assert (again.sample(20, populations="b").obs["population"] == "b").all()
    everyone = again.sample(300, seed=np.int64(1))
    assert everyone.obs["population"].value_counts().min() > 60
    with pytest.raises(ValueError, match="no data attached"):
        again.sample(5, k=1)


def test_templates_are_training_cells(separate, monkeypatch):
    used = []
    by_cell = separate._by_cell
    monkeypatch.setattr(
        separate, "_by_cell", lambda *args: [used.append(args[3]), by_cell(*args)][1]
    )
    separate.sample(500, k=1)
    assert not np.isin(used[0], separate.validation_indices).any()


def test_a_share_of_the_same_cells_has_an_interval_of_a_ratio():
    rng = np.random.default_rng(0)
    cells = rng.standard_t(4, size=(200, 3))
    squared = np.square(cells - cells.mean(0)).sum(1, keepdims=True)
    profile = _profile(squared, 0.1 * squared, cells, 1.96)
    np.testing.assert_allclose(
        profile["unexplained_high"] - profile["unexplained_low"], 0, atol=1e-3
    )
    shares, widths = [], []
    for _ in range(200):
        cells = rng.normal(size=(200, 3))
        residuals = np.square(cells[:, :1]) * rng.chisquare(1, (200, 1))
        found = _profile(residuals, residuals, cells, 1.0)
        shares.append(found["unexplained"].item())
        widths.append((found["unexplained_high"] - found["unexplained_low"]).item() / 2)
    assert np.mean(widths) == pytest.approx(np.std(shares), rel=0.25)


def test_a_population_too_small_to_be_held_out_is_named_or_nan():
    adata = blobs(40)[35:].copy()  # five cells of "a"
    DPA.setup_anndata(adata, population_key="who")
    model = DPA(adata, n_latent=2, networks="separate", **SMALL)
    with pytest.raises(ValueError, match="populations of few cells"):
        model.train(max_steps=2, early_stopping=True, **QUIET)
    model.train(max_steps=2, **QUIET)
    profile = model.get_energy_profile()
    assert profile.loc["a", "estimate"].isna().all()
    assert (profile.loc["a", "n_cells"] == 0).all()
    assert profile.loc["b", "estimate"].notna().all()


def test_a_seed_reproduces():
    runs = [fitted(blobs(40), 5, seed=seed) for seed in (1, 1, 2)]
    a, b, c = (run.get_latent_representation() for run in runs)
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)
    np.testing.assert_array_equal(runs[0].sample(9).X, runs[1].sample(9).X)


def test_training_goes_on_and_keeps_its_split():
    model = fitted(blobs(40), 5)
    held_out = model.validation_indices
    model.train(max_steps=5, **QUIET)
    np.testing.assert_array_equal(model.validation_indices, held_out)
    assert model.steps_done_ == 10
    assert "train_unconditional_loss" in model.history


@pytest.mark.parametrize("form", ["sparse", "backed", "csc"])
def test_counts_are_log_normalised_however_they_are_stored(form, patients, tmp_path):
    patients.obs["who"] = patients.obs["donor"]
    del patients.uns["source"]
    other = patients.copy()
    if form == "csc":
        other.X = sp.csc_matrix(other.X)
    if form == "backed":
        other.write_h5ad(tmp_path / "a.h5ad")
        other = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    dense = patients.copy()
    dense.X = patients.X.toarray()
    a, b = (fitted(data, 3) for data in (dense, other))
    np.testing.assert_allclose(
        a.get_latent_representation(), b.get_latent_representation(), atol=1e-4
    )
    counts = patients.X.toarray()[a.train_indices]
    expected = np.log1p(1e4 * counts / counts.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(a.module.loc[0, 0], expected, atol=1e-4)


def test_cells_of_no_population_are_left_out():
    adata = blobs(40)
    adata.obs["who"] = adata.obs["who"].replace({"b": None})
    model = fitted(adata, 3)
    assert np.isnan(model.get_latent_representation()[40:80]).all()
    assert np.isnan(model.reconstruct().X[40:80]).all()
    assert len(model.get_energy_profile()) == 6


def test_beta_two_warns_when_it_is_sampled():
    model = fitted(blobs(40), 3, beta=2.0)
    model.reconstruct(1)
    for call in (lambda: model.sample(5), lambda: model.reconstruct(1, draw=True)):
        with pytest.warns(UserWarning, match="not distributed as the cells"):
            call()


def test_real_cells_end_to_end(patients):
    patients.obs["who"] = patients.obs["donor"]
    model = fitted(patients, 20, networks="separate")
    profile = model.get_energy_profile()
    assert profile["estimate"].notna().all()
    assert len(profile) == 15 * 3


def test_mistakes(separate, tmp_path):
    adata = blobs(20)
    with pytest.raises(ValueError, match="view"):
        DPA.setup_anndata(adata[:10], population_key="who")
    with pytest.raises(KeyError, match="Did you mean 'who'"):
        DPA.setup_anndata(adata, population_key="whom")
    with pytest.raises(KeyError, match="condition_rep='X_gde'"):
        DPA.setup_anndata(adata, condition_rep="X_gde")
    with pytest.raises(TypeError, match="mod"):
        DPA.setup_anndata(scgde)
    DPA.setup_anndata(adata, population_key="who")
    with pytest.raises(ValueError, match="networks='both'"):
        DPA(adata, networks="both")
    with pytest.raises(RuntimeError, match="not trained"):
        DPA(adata).get_latent_representation()
    with pytest.raises(ValueError, match="k=3 must be from 0 to 2"):
        separate.sample(5, k=3)
    with pytest.raises(KeyError, match="populations='z'"):
        separate.sample(5, populations="z")
    with pytest.raises(ValueError, match="population is needed"):
        separate.encode(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"x has shape \(2, 4\)"):
        separate.encode(torch.zeros(2, 4), "a")
    with pytest.raises(ValueError, match="confidence=95"):
        separate.get_energy_profile(confidence=95)
    adata.obs["who"] = np.r_[["lonely"], ["a"] * 59]
    DPA.setup_anndata(adata, population_key="who")
    with pytest.raises(ValueError, match="'lonely' have fewer"):
        DPA(adata, networks="separate").train(max_steps=2, **QUIET)
    model = DPA(adata)
    model.train(max_steps=2, train_size=1, **QUIET)
    with pytest.raises(ValueError, match="No cells were held out"):
        model.get_energy_profile()
