from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import scgde

from ..conftest import fit, normal_populations


@pytest.fixture(scope="module")
def model():
    adata = normal_populations(24)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(
        adata, encoder="mean", generator="flow_matching", n_latent=8, n_hidden=32
    )
    fit(
        model,
        max_steps=500,
        populations_per_batch=12,
        cells_per_population=30,
        train_size=0.6,
    )
    return model


def geometry(adata, model, **kwargs):
    options = {"n_bootstrap": 50, "enable_progress_bar": False, **kwargs}
    return scgde.tl.wasserstein_geometry(adata, model, **options)


def test_only_held_out_populations_count(model):
    scores = geometry(model.adata, model)
    result = model.adata.uns["gde_geometry"]
    trained = set(model.adata.obs["population"].iloc[model.train_indices])
    assert not trained & set(result["pairs"]["population_1"])
    assert result["params"]["n_populations"] == 24 - len(trained)
    low, estimate, high = scores.loc["spearman", ["low", "estimate", "high"]]
    assert low <= estimate <= high
    # Means differ and are what the mean encoder sees.
    assert estimate > 0.5


def test_distances_are_those_asked_for(model):
    """Wasserstein distances of normal populations of equal spread are those of their means."""
    geometry(model.adata, model, transport="exact", max_cells=40)
    exact = model.adata.uns["gde_geometry"]["pairs"]
    means = model.adata.to_df().groupby(model.adata.obs["population"].to_numpy()).mean()
    expected = np.linalg.norm(
        means.loc[exact["population_1"]].to_numpy() - means.loc[exact["population_2"]].to_numpy(),
        axis=1,
    )
    np.testing.assert_allclose(exact["transport"], expected, rtol=0.25)
    for name in ("mixture", "sliced", "sinkhorn"):
        geometry(model.adata, model, transport=name, max_cells=40)
        other = model.adata.uns["gde_geometry"]["pairs"]["transport"]
        assert np.corrcoef(other, exact["transport"])[0, 1] > 0.95, name


def test_known_distances(model):
    other = normal_populations(6, seed=9)
    other.obs["population"] = "other " + other.obs["population"]
    names = sorted(set(other.obs["population"]))
    embedding = model.get_population_embedding(other, names).to_numpy()
    latent = np.linalg.norm(embedding[:, None] - embedding, axis=-1)
    known = pd.DataFrame(latent**3, index=names, columns=names)
    scores = geometry(other, model, transport=known)
    assert scores.loc["spearman", "estimate"] == pytest.approx(1)
    with pytest.raises(ValueError, match=names[-1]):
        geometry(other, model, transport=known.iloc[:-1])


def test_paths_follow_the_geodesic_better_than_mixtures(model, tmp_path):
    scores = geometry(model.adata, model, n_paths=3, max_cells=60, n_steps=3)
    values = scores["estimate"]
    assert values["end_deviation"] < values["mixture_deviation"]
    assert values["path_deviation"] < values["mixture_deviation"]
    adata = model.adata.copy()
    adata.uns["gde_geometry"] = model.adata.uns["gde_geometry"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = anndata.read_h5ad(tmp_path / "a.h5ad").uns["gde_geometry"]
    pd.testing.assert_frame_equal(kept["scores"], scores)


def test_the_mixture_of_two_points_is_half_a_length_from_the_geodesic(model):
    """Two tight populations: the geodesic's middle is between them, the mixture's mass is not."""
    adata = normal_populations(4)
    adata.obs["population"] = "tight " + adata.obs["population"]
    codes = adata.obs["population"].astype("category").cat.codes.to_numpy()
    adata.X = (100 * np.eye(5)[codes] + 0.01 * adata.X).astype(np.float32)
    scores = geometry(adata, model, n_paths=2, n_steps=3, max_cells=30)
    assert scores.loc["mixture_deviation", "estimate"] == pytest.approx(0.5, abs=0.02)


def test_mistakes_are_named(model):
    with pytest.raises(ValueError, match="four"):
        geometry(model.adata, model, populations=["p1", "p2"])
    with pytest.raises(KeyError, match="p99"):
        geometry(model.adata, model, populations=["p1", "p2", "p3", "p99"])
    with pytest.raises(ValueError, match="transport"):
        geometry(model.adata, model, transport="bures")
    with pytest.raises(ValueError, match="n_steps"):
        geometry(model.adata, model, n_paths=1, n_steps=2)
    everything = scgde.model.GDE(model.adata, n_latent=2, n_hidden=8)
    fit(everything, train_size=1.0)
    with pytest.raises(ValueError, match="were trained on"):
        geometry(model.adata, everything)


def test_a_copy_and_a_loaded_model_know_what_was_trained_on(model, tmp_path):
    geometry(model.adata, model)
    held_out = set(model.adata.uns["gde_geometry"]["pairs"]["population_1"])
    copy = model.adata[np.random.default_rng(0).permutation(model.adata.n_obs)].copy()
    geometry(copy, model)
    assert set(copy.uns["gde_geometry"]["pairs"]["population_1"]) == held_out
    trained = set(model.trained_populations_)
    assert not trained & set(copy.uns["gde_geometry"]["pairs"]["population_2"])
    model.save(tmp_path / "m")
    again = scgde.model.GDE.load(tmp_path / "m", adata=copy)
    geometry(copy, again)
    assert not trained & set(copy.uns["gde_geometry"]["pairs"]["population_1"])


def test_a_mudata_s_modality_will_do():
    rna = normal_populations(8)
    mdata = MuData({"rna": rna})
    mdata.obs["population"] = rna.obs["population"]
    scgde.model.GDE.setup_mudata(mdata, "population", modalities={"layer": "rna"})
    model = scgde.model.GDE(mdata, "mean", "energy", n_latent=3, n_hidden=8)
    fit(model, train_size=0.5)
    scores = geometry(mdata, model, n_paths=1, n_steps=3)
    assert np.isfinite(scores["estimate"]).all()
    assert scores.loc["path_deviation", ["low", "high"]].isna().all()
