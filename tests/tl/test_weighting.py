from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

import scgde
from scgde.tl import classify_populations, embed_populations, nearest_populations

from ..conftest import fit, normal_populations
from ._noisy_cohort import noisy_cohort

QUICK = {"n_repeats": 1, "baselines": [], "enable_progress_bar": False}


def estimates(table, metric):
    rows = table[table.metric == metric]
    return rows.set_index("representation")["estimate"]


@pytest.fixture(scope="module")
def thinned():
    """A cohort whose every other pair of donors has six cells, the others 500; its scores."""
    sizes = np.where(np.arange(120) % 4 < 2, 6, 500)
    adata, _ = noisy_cohort(120, sizes, shift=2.0)
    table = classify_populations(adata, ["group", "score"], errors_in_variables=True, **QUICK)
    return adata, table


def test_thinned_donors_cost_less_where_noise_is_known(thinned):
    adata, table = thinned
    for metric, least in (("roc_auc", 0.02), ("r2", 0.05), ("spearman", 0.02)):
        found = estimates(table, metric)
        assert found["gde_weighted"] > found["gde"] + least, metric
    assert set(table.setting) == {"transductive"}
    assert adata.uns["gde_classification"]["params"]["errors_in_variables"]


def test_noisy_donors_are_predicted_with_less_confidence(thinned):
    adata, _ = thinned
    predictions = adata.uns["gde_classification"]["predictions"]
    predictions = predictions[predictions["label"] == "group"]
    few = adata.obs["donor"].value_counts()[predictions["population"]].to_numpy() == 6
    of_truth = np.where(
        predictions["truth"] == predictions["prediction"],
        predictions["probability"],
        1 - predictions["probability"],
    )
    weighted = (predictions["representation"] == "gde_weighted").to_numpy()
    assert of_truth[weighted & few].mean() < of_truth[weighted & ~few].mean() - 0.05
    assert of_truth[weighted & few].mean() < of_truth[~weighted & few].mean()


def test_without_noise_both_are_the_same():
    adata, _ = noisy_cohort()
    adata.uns["gde"]["covariance"] = 0 * adata.uns["gde"]["covariance"]
    table = classify_populations(adata, "group", errors_in_variables=True, **QUICK)
    found = estimates(table, "roc_auc")
    assert found["gde_weighted"] == pytest.approx(found["gde"], abs=0.01)


def test_single_cells_are_not_left_out():
    adata, _ = noisy_cohort(40, np.where(np.arange(40) < 4, 1, 100))
    table = classify_populations(adata, "group", errors_in_variables=True, **QUICK)
    assert (table.n_populations == 40).all()
    assert np.isfinite(table["estimate"]).all()


def test_weights_need_covariances():
    adata, _ = noisy_cohort()
    del adata.uns["gde"]["covariance"]
    for call in (
        lambda: classify_populations(adata, "group", errors_in_variables=True, **QUICK),
        lambda: nearest_populations(adata),
    ):
        with pytest.raises(KeyError, match="covariance=True"):
            call()


def test_the_model_is_trained_once_in_each_fold_for_both(monkeypatch):
    trained = []
    refit = scgde.model.GDE.refit

    def spy(self, cells, **kwargs):
        trained.append(len(cells))
        return refit(self, cells, **kwargs)

    monkeypatch.setattr(scgde.model.GDE, "refit", spy)
    adata = normal_populations(12, n_cells=30)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, n_latent=4, n_hidden=8)
    fit(model)
    embed_populations(adata, model, enable_progress_bar=False)
    table = classify_populations(
        adata,
        "group",
        setting="both",
        model=model,
        errors_in_variables=True,
        n_splits=2,
        n_repeats=1,
        baselines=[],
        enable_progress_bar=False,
    )
    assert len(trained) == 2
    pairs = set(zip(table.representation, table.setting, strict=True))
    assert pairs == {
        (name, setting)
        for name in ("gde", "gde_weighted")
        for setting in ("transductive", "inductive")
    }


def test_neighbours_are_nearer_in_truth_than_plain_ones():
    """Half of the donors have eight cells; neighbours found are compared by true distance."""
    sizes = np.where(np.arange(80) % 2, 8, 400)
    adata, truth = noisy_cohort(80, sizes, n_latent=3, shift=0.0)
    table = nearest_populations(adata, 5)
    names = adata.uns["gde"]["embedding"].index
    of, other = names.get_indexer(table["population"]), names.get_indexer(table["neighbor"])
    found = np.square(truth[of] - truth[other]).sum(1).mean()
    plain = cdist(adata.uns["gde"]["embedding"], adata.uns["gde"]["embedding"])
    np.fill_diagonal(plain, np.inf)
    nearest = np.argsort(plain, 1)[:, :5]
    of_plain = np.square(truth[:, None] - truth[nearest]).sum(-1).mean()
    assert found < 0.85 * of_plain
    assert (table["plain_distance"] > 0).all()
    inside = np.linalg.norm(truth[of] - truth[other], axis=1)
    # The nearest of many are chosen for being near, so it is somewhat less than 95 % of them.
    assert ((inside > table["low"]) & (inside < table["high"])).mean() > 0.88
    assert (table["low"] < table["distance"]).all()
    assert (table["distance"] < table["high"]).all()


def test_neighbours_are_complete_and_last_in_a_file(tmp_path):
    adata, _ = noisy_cohort(10, n_cells=30)
    table = nearest_populations(adata, 3)
    assert len(table) == 30
    assert (table["population"] != table["neighbor"]).all()
    assert list(table["rank"][:3]) == [1, 2, 3]
    assert (table.groupby("population")["distance"].diff().dropna() >= 0).all()
    matrix = adata.uns["gde_neighbors"]["distances"]
    assert matrix.shape == (10, 10)
    np.testing.assert_allclose(matrix, matrix.T)
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = anndata.read_h5ad(tmp_path / "a.h5ad").uns["gde_neighbors"]["neighbors"]
    pd.testing.assert_frame_equal(kept, table, check_dtype=False)


def test_distances_name_their_populations(tmp_path):
    adata, _ = noisy_cohort(12, n_cells=30)
    names = {f"d{i:03d}": f"p{i}" for i in range(12)}
    adata.obs["donor"] = adata.obs["donor"].cat.rename_categories(names)  # p10 after p9
    adata.uns["gde"]["embedding"] = adata.uns["gde"]["embedding"].rename(index=names).sort_index()
    table = nearest_populations(adata, 3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = anndata.read_h5ad(tmp_path / "a.h5ad").uns["gde_neighbors"]
    matrix = pd.DataFrame(kept["distances"], kept["populations"], kept["populations"])
    found = [matrix.loc[a, b] for a, b in zip(table["population"], table["neighbor"], strict=True)]
    np.testing.assert_allclose(found, table["distance"])


def test_bad_numbers_of_neighbours():
    adata, _ = noisy_cohort(10)
    for wrong in (0, 10):
        with pytest.raises(ValueError, match=f"n_neighbors={wrong}"):
            nearest_populations(adata, wrong)
    with pytest.raises(KeyError, match="embed_populations"):
        nearest_populations(adata, embedding_key="gd")
