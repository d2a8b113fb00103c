from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import scgde
from scgde.tl._clonal_sets import clonal_sets

from ..conftest import fit
from ._clonal_cells import N_CLONES, clonal_cells

FAST = {"n_shuffles": 19, "estimators": "ksg", "ks": (3,), "enable_progress_bar": False}


def report(adata, **kwargs) -> pd.DataFrame:
    options = {"early": [2, 4], "late": 6, **FAST, **kwargs}
    return scgde.tl.clonal_mutual_information(adata, "clone", "day", **options)


def model_of(adata, keys=("clone", "day"), n_steps=60, **setup):
    scgde.model.GDE.setup_anndata(adata, population_key=list(keys), **setup)
    model = scgde.model.GDE(
        adata, encoder="mean", generator="sliced_wasserstein", n_latent=4, n_hidden=16
    )
    fit(model, max_steps=n_steps, populations_per_batch=32, cells_per_population=6, train_size=1.0)
    return model


@pytest.fixture(scope="module")
def model():
    return model_of(clonal_cells())


@pytest.fixture(scope="module")
def hasty():
    return model_of(clonal_cells(), n_steps=2)


def test_clones_are_paired_by_pooled_times():
    adata = clonal_cells()
    sets = clonal_sets(adata, "clone", "day", ["2", 4], 6, (3, 2))
    obs = adata.obs.dropna(subset="clone")
    early = obs[obs["day"] < 6]["clone"].value_counts()
    late = obs[obs["day"] == 6]["clone"].value_counts()
    expected = sorted(c for c in early.index if early[c] >= 3 and late[c] >= 2)
    assert list(sets.clones) == expected
    assert 20 < len(expected) < N_CLONES - 5
    assert list(sets.table()["n_early"]) == [early[c] for c in expected]
    cells = adata.obs.iloc[sets.index.cells(len(expected) + 4)]
    assert set(cells["clone"]) == {expected[4]}
    assert set(cells["day"]) == {6}
    assert (sets.clone_of[adata.obs["clone"].isna()] == -1).all()


def test_information_is_found_where_there_is_some_and_not_where_there_is_none():
    adata = clonal_cells()
    table = report(adata, cell_type_key="type").set_index("representation")
    assert list(table.index) == ["mean_pca", "kernel_mean", "composition"]
    assert (table["p_value"] == 1 / 20).all()
    # Two coordinates of signal, of which composition sees the sign of one.
    assert table.loc["mean_pca", "estimate"] > 1
    assert table.loc["mean_pca", "estimate"] > table.loc["composition", "estimate"]
    late = (adata.obs["day"] == 6) & adata.obs["clone"].notna()
    clones = adata.obs["clone"].astype(object)
    names = np.unique(clones[late])
    swap = dict(zip(names, np.random.default_rng(1).permutation(names), strict=True))
    clones[late] = clones[late].map(swap)
    adata.obs["clone"] = clones
    shuffled = report(adata, cell_type_key="type", n_shuffles=99).set_index("representation")
    assert (shuffled["p_value"] > 0.05).all()
    assert shuffled.loc["mean_pca", "estimate"] < 0.4


def test_a_side_that_never_varies_has_no_information():
    adata = clonal_cells()
    early = adata.obs["day"] < 6
    adata.obs.loc[early, "type"] = "undifferentiated"
    adata = adata[~(early & adata.obs.duplicated(["clone", "type"]))].copy()  # one of each clone
    options = {"baselines": ["composition"], "cell_type_key": "type"}
    table = report(adata, **options, estimators=["ksg", "retrieval_auc"], setting="inductive")
    assert list(table.loc["0", ["estimate", "low", "high", "p_value"]]) == [0, 0, 0, 1]
    assert list(table.loc["1", ["estimate", "low", "high", "p_value"]]) == [0.5, 0.5, 0.5, 1]


def test_pointwise_values_average_to_the_estimate(model):
    table = report(model.adata, model=model, setting="both", baselines="mean_pca")
    result, obs = model.adata.uns["gde_clonal_mi"], model.adata.obs
    settings = ["transductive", "transductive_split", "inductive"]
    assert list(table["setting"]) == [*settings, "transductive", "inductive"]
    np.testing.assert_allclose(
        [result["clones"][f"gde_{s}"].mean() for s in settings], table["estimate"][:3]
    )
    assert list(table["n_folds"][:3]) == [1, 2, 2]
    for column, name in (
        ("gde_clonal_mi", "gde_transductive"),
        ("gde_clonal_mi_inductive", "gde_inductive"),
    ):
        expected = obs["clone"].astype(object).map(result["clones"][name])
        np.testing.assert_allclose(obs[column], expected.astype(float))
        assert obs[column].isna()[obs["clone"].isna()].all()
    assert result["null"].shape == (19, 5)
    p = (1 + (result["null"]["gde_inductive"] >= table["estimate"][2]).sum()) / 20
    assert table["p_value"][2] == pytest.approx(p)


def test_another_run_leaves_nothing_of_the_last():
    adata = clonal_cells()
    report(adata, setting="both", baselines="mean_pca")
    report(adata, baselines="mean_pca", key_added="other")
    assert "gde_clonal_mi_inductive" in adata.obs
    report(adata, baselines="mean_pca")
    assert "gde_clonal_mi_inductive" not in adata.obs
    assert "gde_clonal_mi" in adata.obs


@pytest.mark.filterwarnings("error")
def test_cells_that_never_vary_have_no_information():
    adata = clonal_cells()
    adata.X[:] = 0.3
    table = report(adata, estimators=["ksg", "retrieval_auc"])
    assert list(table["estimate"]) == [0, 0.5, 0, 0.5]
    assert (table["p_value"] == 1).all()


@pytest.mark.parametrize("generator", ["sliced_wasserstein", "cvae"])
def test_baselines_of_counts_are_the_same_with_any_model(generator):
    """Whatever a model draws: whether to take logarithms is of the cells."""
    adata = clonal_cells()
    adata.X = 1 + np.random.default_rng(0).poisson(np.exp(0.3 * adata.X)).astype(np.float32)
    options = {"baselines": ["mean_pca", "kernel_mean"]}
    alone = report(adata, **options)
    scgde.model.GDE.setup_anndata(adata, population_key=["clone", "day"])
    model = scgde.model.GDE(adata, encoder="mean", generator=generator, n_latent=4, n_hidden=16)
    fit(model, max_steps=2, populations_per_batch=32, cells_per_population=6, train_size=1.0)
    beside = report(adata, model=model, **options)
    np.testing.assert_array_equal(beside["estimate"][1:], alone["estimate"])


def test_published_protocol_is_what_it_says(model):
    """Nearest neighbours, k = 3, on raw embeddings of cells pooled by hand."""
    table = report(model.adata, model=model, estimators="ksg_published", baselines=False)
    pooled = model.adata[model.adata.obs["clone"].notna()].copy()
    pooled.obs["day"] = np.where(pooled.obs["day"] < 6, "early", "late")
    by_day = pooled.obs.groupby("clone", observed=True)["day"]
    names = sorted(by_day.nunique().loc[lambda n: n == 2].index)
    x, y = (
        model.get_population_embedding(pooled, [f"{n}|{side}" for n in names]).to_numpy()
        for side in ("early", "late")
    )
    expected = scgde.metrics.mutual_information(x, y, normalize=None)
    found = table.iloc[0]
    assert (found["estimator"], found["normalize"], found["n_dims"]) == ("ksg_published", "none", 4)
    assert found["estimate"] == pytest.approx(expected.bits)
    assert found["low"] == pytest.approx(expected.low)


def test_every_estimator_finds_what_clones_keep():
    table = report(
        clonal_cells(),
        estimators=("ksg", "latent", "infonce", "retrieval_auc"),
        setting="inductive",
        baselines="mean_pca",
    ).set_index("estimator")
    assert list(table["metric"]) == ["bits", "bits", "bits", "auc"]
    assert (table["p_value"] <= 0.05).all()
    assert (table["low"] < table["estimate"]).all()
    assert (table["estimate"] < table["high"]).all()
    assert table.loc["retrieval_auc", "estimate"] > 0.8
    assert (table["n_folds"] == 2).all()


def test_held_out_clones_are_not_seen(hasty, monkeypatch):
    seen = []
    refit = scgde.model.GDE.refit
    monkeypatch.setattr(
        scgde.model.GDE,
        "refit",
        lambda self, cells: seen.append(cells.obs.copy()) or refit(self, cells),
    )
    report(hasty.adata, model=hasty, setting="inductive", n_splits=3, baselines=False)
    scored = set(hasty.adata.uns["gde_clonal_mi"]["clones"].index)
    everyone = hasty.adata.obs["clone"]
    held_out = [scored - set(obs["clone"]) for obs in seen]
    assert len(seen) == 3
    assert sorted(c for fold in held_out for c in fold) == sorted(scored)
    for obs, fold in zip(seen, held_out, strict=True):
        assert len(obs) == (~everyone.isin(fold)).sum()  # all others train, at every time


def test_inductive_baselines_fit_on_the_other_clones(monkeypatch):
    """A clone far from all others may not turn the components by which it is scored."""
    from scgde.tl import _clonal_views

    trained = []
    reduced = _clonal_views.reduced
    monkeypatch.setattr(
        _clonal_views,
        "reduced",
        lambda train, test, n: trained.append((train, test)) or reduced(train, test, n),
    )
    report(clonal_cells(), setting="inductive", baselines="mean_pca")
    for train, test in trained:
        for side in range(2):
            rows = {row.tobytes() for row in train[side]}
            assert not any(row.tobytes() in rows for row in test[side])
            assert len(train[side]) + len(test[side]) == 64


def test_results_survive_a_file_and_data_stay_as_they_were(model, tmp_path):
    adata = model.adata.copy()
    adata.obs["type"] = adata.obs["type"].astype("category")  # as writing makes it
    before = adata.copy()
    table = report(adata, model=model, cell_type_key="type", key_added="mi")
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = anndata.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.uns["mi"]["table"], table, check_dtype=False)
    assert set(back.uns["mi"]) == {"table", "sweep", "clones", "null", "params"}
    assert list(back.uns["mi"]["params"]["early"]) == ["2", "4"]
    pd.testing.assert_frame_equal(adata.obs.drop(columns="mi"), before.obs)
    np.testing.assert_array_equal(adata.X, before.X)


def test_cells_may_come_in_another_order_or_from_disk_and_keys_too(model, tmp_path):
    table = report(model.adata, model=model)
    order = np.random.default_rng(0).permutation(model.adata.n_obs)
    other = model.adata[order].copy()
    other.obs["clone"] = other.obs["clone"].cat.reorder_categories(
        other.obs["clone"].cat.categories[::-1]
    )
    columns = ["estimate", "low", "high", "p_value"]
    means = table["representation"] != "kernel_mean"  # whose bandwidth is that of a draw of cells
    found = report(other, model=model)
    np.testing.assert_allclose(found[columns][means], table[columns][means], rtol=1e-3)
    plain = clonal_cells()
    plain.write_h5ad(tmp_path / "x.h5ad")
    backed = anndata.read_h5ad(tmp_path / "x.h5ad", backed="r")
    pd.testing.assert_frame_equal(report(backed, model=model), table, rtol=1e-4)
    backed.file.close()
    swapped = model_of(clonal_cells(), ("day", "clone"), n_steps=2)
    assert len(report(swapped.adata, model=swapped, setting="both", baselines=False)) == 3


def test_what_varies_between_pooled_days_does_not_stop_a_model():
    adata = clonal_cells()
    adata.obs["phase"] = "phase" + adata.obs["day"].astype(str)
    model = model_of(adata, n_steps=2, labels_key="phase", donor_key="phase", batch_key="type")
    assert len(report(adata, model=model, setting="both", baselines=False)) == 3


def test_few_clones_and_no_shuffles():
    adata = clonal_cells()
    few = adata[adata.obs["clone"].isin([f"c{i:02}" for i in range(20)])].copy()
    table = report(few, ks=(1, 10, 11, 20), n_shuffles=0, baselines="mean_pca")
    assert np.isfinite(table["estimate"]).all()
    assert table["p_value"].isna().all()
    assert list(few.uns["gde_clonal_mi"]["sweep"]["k"]) == [1, 10]
    report(few, ks=5, baselines="mean_pca")
    assert list(few.uns["gde_clonal_mi"]["sweep"]["k"]) == [5]
    report(few, ks=(), baselines="mean_pca")
    assert len(few.uns["gde_clonal_mi"]["sweep"]) == 0


def test_a_loaded_model_needs_no_data_of_its_own(model, tmp_path):
    table = report(model.adata, model=model)
    model.save(str(tmp_path / "model"))
    loaded = scgde.model.GDE.load(str(tmp_path / "model"), adata=False)
    adata = clonal_cells()
    pd.testing.assert_frame_equal(report(adata, model=loaded), table, rtol=1e-5)
    assert loaded.adata is adata


def test_a_seed_reproduces_and_no_data_is_kept(hasty):
    managers = type(hasty)._per_instance_manager_store[hasty.id]
    n_before = len(managers)
    options = {"model": hasty, "setting": "inductive", "baselines": "mean_pca"}
    first = report(hasty.adata, **options)
    pd.testing.assert_frame_equal(report(hasty.adata, **options), first)
    assert len(managers) == n_before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"late": 7}, KeyError, r"late='7' is not in adata\.obs\['day'\]"),
        ({"early": []}, ValueError, r"early=\[\] has no time or a missing one; name at least one"),
        ({"early": None}, ValueError, "early=None has no time"),
        ({"late": [6, np.nan]}, ValueError, r"late=\[6, nan\] has no time or a missing one"),
        ({"n_shuffles": -1}, ValueError, "n_shuffles=-1 must be 0 or more"),
        ({"key_added": "clones/mi"}, ValueError, "key_added='clones/mi' .* without '/'"),
        ({"key_added": None}, TypeError, "key_added=None must be text"),
        ({"ks": 0}, ValueError, r"ks\[0\]=0"),
        ({"ks": None}, TypeError, r"ks\[0\]=None must be a whole number"),
        ({"early": [2, 6]}, ValueError, "overlap: '6' is in both"),
        ({"min_cells": 0}, ValueError, "min_cells=0"),
        ({"min_cells": (1, 2, 3)}, ValueError, "one number"),
        ({"min_cells": (1, 16)}, ValueError, "clones can be scored, but at least 20 are needed"),
        ({"setting": "both", "n_splits": 4}, ValueError, "leaves 16 of 64 clones in a fold"),
        ({"setting": "inductive", "n_splits": 1}, ValueError, "n_splits=1 holds no clones out"),
        ({"estimators": "ksg_published"}, ValueError, "nothing to score"),
        ({"estimators": []}, ValueError, "nothing to score"),
        ({"setting": "induct"}, ValueError, "Did you mean 'inductive'"),
        ({"estimators": ["ksg", "mine"]}, ValueError, "estimators='mine'"),
        ({"baselines": ["pca"]}, ValueError, "Did you mean 'mean_pca'"),
        ({"baselines": ["composition"]}, ValueError, "pass cell_type_key"),
        ({"baselines": False}, ValueError, "nothing to score"),
        ({"cell_type_key": "typ"}, KeyError, "Did you mean 'type'"),
        ({"layer": "counts"}, KeyError, "layer='counts'"),
        ({"ks": (3, 0)}, ValueError, r"ks\[1\]=0"),
        ({"n_components": 0}, ValueError, "n_components=0"),
    ],
)
def test_mistakes(options, error, message):
    with pytest.raises(error, match=message):
        report(clonal_cells(), **options)


def test_mistakes_of_keys_and_models(model):
    with pytest.raises(KeyError, match="Did you mean 'clone'"):
        scgde.tl.clonal_mutual_information(model.adata, "clones", "day", 2, 6)
    with pytest.raises(ValueError, match="two columns"):
        scgde.tl.clonal_mutual_information(model.adata, "day", "day", 2, 6)
    protein = clonal_cells(1)
    protein.var_names = [f"protein{i}" for i in range(protein.n_vars)]
    mdata = MuData({"rna": clonal_cells(), "protein": protein})
    modalities = {"population_key": "rna", "layer": ["rna", "protein"]}
    mdata.update()
    keys = ["clone", "day"]
    scgde.model.GDE.setup_mudata(mdata, population_key=keys, modalities=modalities)
    several = scgde.model.GDE(mdata, n_latent=4, n_hidden=8)
    with pytest.raises(ValueError, match="one modality by setup_anndata"):
        report(mdata["rna"], model=several)
    by_type = model_of(clonal_cells(), ["type"], n_steps=2)
    with pytest.raises(ValueError, match=r"population_key=\['clone', 'day'\]"):
        report(by_type.adata, model=by_type)
