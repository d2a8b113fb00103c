from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import scgde

from ..conftest import fit, normal_populations


def setup(n_reference=60, n_queries=20, **kwargs):
    """A model of half of the reference, the reference, and queries of the same kind."""
    every = normal_populations(n_reference + n_queries, 40)
    every.X[every.obs["group"] == "high"] += 3
    is_query = every.obs["population"].str[1:].astype(int) >= n_reference
    reference, queries = every[~is_query].copy(), every[is_query].copy()
    scgde.model.GDE.setup_anndata(reference, population_key="population", labels_key="group")
    model = scgde.model.GDE(reference, "mean", "energy", n_latent=5, n_hidden=16)
    fit(model, max_steps=20, **{"train_size": 0.5, **kwargs})
    return model, queries


@pytest.fixture(scope="module")
def mapped():
    return setup()


def quietly(model, *arguments, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.query(*arguments, enable_progress_bar=False, **kwargs)


def test_queries_find_their_like(mapped):
    model, queries = mapped
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = model.query(queries, n_neighbors=3, alpha=0.1, enable_progress_bar=False)
    assert (result.calibration, result.n_calibration) == ("held-out", 30)
    assert len(result.neighbors) == 60
    z, known = model.get_population_embedding(queries), model.get_population_embedding()
    first = result.neighbors[result.neighbors["rank"] == 1].set_index("population")
    plain = np.linalg.norm(z.to_numpy()[:, None] - known.to_numpy(), axis=-1)
    nearest = known.index[plain.argmin(1)]
    assert (first.loc[z.index, "neighbor"] == nearest).mean() > 0.8
    assert (result.neighbors["low"] < result.neighbors["distance"]).all()
    assert (result.neighbors["distance"] < result.neighbors["high"]).all()
    assert (result.neighbors["standard_error"] > 0).all()
    ordered = result.neighbors.groupby("population")["distance"].is_monotonic_increasing
    assert ordered.all()
    truth = queries.obs.groupby("population")["group"].first()[result.labels.index]
    assert (result.labels["predicted"] == truth).mean() > 0.8
    covered = [t in s for t, s in zip(truth, result.labels["set"], strict=True)]
    assert np.mean(covered) >= 0.7
    for label in ("high", "low"):
        inside = result.labels[f"in_set: {label}"]
        assert list(inside) == list(result.labels[f"p_value: {label}"] > 0.1)
        assert list(inside) == [label in s for s in result.labels["set"]]
    assert result.novelty["novel"].mean() <= 0.4
    for text in ("20 populations", "30 reference populations", "held out", "group"):
        assert text in repr(result)


def test_what_is_unlike_anything_is_called_novel(mapped):
    model, queries = mapped
    alien = queries.copy()
    alien.X = alien.X + 30
    result = quietly(model, alien)
    assert result.novelty["novel"].all()
    assert (result.novelty["p_value"] == 1 / 31).all()


def test_a_population_of_few_cells_is_known_less_well(mapped):
    model, queries = mapped
    few = queries.obs.groupby("population").cumcount() < 3
    one = queries.obs.groupby("population").cumcount() < 1
    errors = [
        quietly(model, data).neighbors["standard_error"].mean()
        for data in (queries, queries[few].copy(), queries[one].copy())
    ]
    assert errors[0] < errors[1] < errors[2] < np.inf


def test_one_query_says_the_same_as_many(mapped):
    """Each joins the calibration populations by itself."""
    model, queries = mapped
    every = quietly(model, queries)
    name = every.labels.index[4]
    one = quietly(model, queries[queries.obs["population"] == name].copy())
    pd.testing.assert_frame_equal(one.novelty, every.novelty.loc[[name]], rtol=1e-4)
    pd.testing.assert_frame_equal(one.labels, every.labels.loc[[name]], rtol=1e-4)


def test_nothing_of_the_model_changes(mapped):
    model, queries = mapped
    before, obs = model.get_population_embedding(), model.adata.obs.copy()
    X, data = queries.X.copy(), model.adata
    quietly(model, queries)
    assert model.adata is data
    pd.testing.assert_frame_equal(model.adata.obs, obs)
    pd.testing.assert_frame_equal(model.get_population_embedding(), before)
    assert np.array_equal(queries.X, X)
    view = queries[: len(queries) // 2]
    assert len(quietly(model, view).novelty) == 10


def test_too_few_held_out_populations_are_said():
    model, queries = setup(24, 4, train_size=0.9)
    result = quietly(model, queries)
    assert (result.calibration, result.n_calibration) == ("training", 24)
    assert "some trained on" in repr(result)
    with (
        pytest.warns(UserWarning, match="novelty: with 24"),
        pytest.warns(UserWarning, match="it is in every set"),
    ):
        strict = model.query(queries, alpha=0.02, enable_progress_bar=False)
    assert not strict.novelty["novel"].any()
    assert set(strict.labels["set"]) == {"high, low"}


def test_a_loaded_model_maps_onto_a_given_reference(mapped, tmp_path):
    model, queries = mapped
    expected = quietly(model, queries)
    model.get_embedding_prior()
    model.save(tmp_path / "m")
    loaded = scgde.model.GDE.load(tmp_path / "m", adata=False)
    with pytest.raises(ValueError, match="no data attached"):
        loaded.query(queries)
    result = quietly(loaded, queries, model.adata)
    pd.testing.assert_frame_equal(result.novelty, expected.novelty)
    pd.testing.assert_frame_equal(result.labels, expected.labels)


def test_a_reference_that_lacks_the_training_populations_has_its_own_prior(mapped, tmp_path):
    _, queries = mapped
    model, _ = setup(12, 2)
    model.save(tmp_path / "m")
    loaded = scgde.model.GDE.load(tmp_path / "m", adata=False)
    others = normal_populations(30, seed=4)
    others.obs["population"] = "other " + others.obs["population"]
    result = quietly(loaded, queries, others)
    assert (result.calibration, result.n_calibration) == ("held-out", 30)
    assert np.isfinite(result.novelty["score"]).all()


def test_reference_populations_with_a_query_s_name_are_left_out(mapped):
    model, _ = mapped
    own = model.adata[model.adata.obs["population"].isin(["p1", "p2"])].copy()
    with pytest.warns(UserWarning, match="'p1', 'p2'"):
        result = model.query(own, enable_progress_bar=False)
    assert not {"p1", "p2"} & set(result.neighbors["neighbor"])
    with (
        pytest.warns(UserWarning, match="60 populations"),
        pytest.raises(ValueError, match="at least three"),
    ):
        model.query(model.adata.copy())


def test_labels_are_classes(mapped):
    model, queries = mapped
    with pytest.raises(ValueError, match="number with 60 values"):
        model.query(queries, labels_key="size")
    with pytest.raises(KeyError, match="Did you mean 'group'"):
        model.query(queries, labels_key="grup")
    reference = model.adata.copy()
    reference.obs["stage"] = reference.obs["population"].str[-1].astype(int) // 4
    reference.obs["all"] = "one"
    with pytest.raises(ValueError, match="has 1 value"):
        model.query(queries, reference, labels_key="all")
    result = quietly(model, queries, reference, labels_key="stage")
    assert "p_value: 2" in result.labels
    reference.obs["group"] = pd.Series(
        np.where(reference.obs["population"] == "p3", None, reference.obs["group"]),
        index=reference.obs_names,
    )
    assert quietly(model, queries, reference).labels_key == "group"


def test_without_labels_there_are_neighbors(mapped):
    model, queries = mapped
    bare = model.adata.copy()
    del bare.obs["group"]
    result = quietly(model, queries, bare)
    assert result.labels_key == ""
    assert result.labels.shape == (20, 0)
    assert "group" not in repr(result)


def test_mistakes_are_named(mapped):
    model, queries = mapped
    with pytest.raises(ValueError, match="does not fit the model"):
        model.query(queries[:, :3].copy())
    with pytest.raises(ValueError, match="alpha=1"):
        model.query(queries, alpha=1)
    with pytest.raises(ValueError, match="n_neighbors=0"):
        model.query(queries, n_neighbors=0)
    many = quietly(model, queries, n_neighbors=500)
    assert many.neighbors["rank"].max() == 60
    lonely = model.adata[::40].copy()
    with pytest.raises(ValueError, match="have one cell"):
        model.query(queries, lonely)
