from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scgde

from ..conftest import fit
from ._linear_perturbations import PAIRS, SINGLES, LinearPredictor, screen

QUICK = {"enable_progress_bar": False, "n_cells": 10, "n_splits": 2, "max_cells": 20}


def report_of(adata, model, **kwargs):
    return scgde.tl.predict_perturbations(adata, model, **{**QUICK, **kwargs})


def estimates(summary, metric):
    return summary[summary["metric"] == metric].set_index("method")["estimate"]


def test_a_report_of_counts(tmp_path):
    adata, features = screen()
    before = adata.copy()
    model = LinearPredictor(adata, features)
    summary = report_of(adata, model, n_splits=5)
    result = adata.uns["gde_perturbation"]
    table = result["predictions"]["table"]
    # Each perturbation once, and never in what was trained on.
    assert sorted(table["perturbation"]) == sorted([*SINGLES, *PAIRS])
    for number, seen in enumerate(model.seen):
        assert not seen & set(table.loc[table["split"] == number, "perturbation"])
        assert "control" in seen
    r2 = estimates(summary, "r2_vs_training_mean")
    assert set(r2.index) >= {"gde", "no_change", "matching_mean", "ridge", "data_ceiling"}
    assert r2["training_mean"] == 0
    assert r2["gde"] > 0.3
    assert estimates(summary, "discrimination_rank")["gde"] < 0.2
    assert estimates(summary, "variance_ratio").index.tolist() == ["gde", "data_ceiling"]
    gde = summary[(summary["metric"] == "r2_shift") & (summary["method"] == "training_mean")]
    assert gde["difference_high"].item() < 0
    # Nothing else was touched, and all of it survives a file.
    del adata.uns["gde_perturbation"]
    assert (adata.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert not adata.uns
    adata.uns["gde_perturbation"] = result
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = anndata.read_h5ad(tmp_path / "a.h5ad").uns["gde_perturbation"]
    for name in ("summary", "report"):
        pd.testing.assert_frame_equal(kept[name], result[name])
    np.testing.assert_array_equal(
        kept["predictions"]["predicted"], result["predictions"]["predicted"]
    )
    assert kept["params"]["seed"] == 0


def test_observed_shifts_are_those_of_the_cells():
    adata, features = screen(covariate=True)
    report_of(adata, LinearPredictor(adata, features, "line"), held_out=["g3", "g0+g1"])
    found = adata.uns["gde_perturbation"]["predictions"]
    x = np.log1p(adata.to_df().div(adata.to_df().sum(1), axis=0) * 1e4)
    mean = x.groupby([adata.obs["gene"], adata.obs["line"]]).mean()
    assert len(found["table"]) == 4
    for row, observed in zip(found["table"].itertuples(), found["observed"], strict=True):
        assert row.population == f"{row.perturbation}|{row.covariate}"
        expected = mean.loc[row.perturbation, row.covariate] - mean.loc["control", row.covariate]
        np.testing.assert_allclose(observed, expected, rtol=1e-3, atol=1e-4)


def test_a_seed_reproduces_and_another_differs():
    adata, features = screen()
    model = LinearPredictor(adata, features)
    first, again, other = (report_of(adata, model, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first["estimate"].equals(other["estimate"])


def test_backed_cells_and_real_values(tmp_path):
    adata, features = screen()
    expected = report_of(adata, LinearPredictor(adata, features))
    del adata.uns["gde_perturbation"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    found = report_of(backed, LinearPredictor(adata, features))
    pd.testing.assert_frame_equal(found, expected)
    real, features = screen(is_counts=False)
    summary = report_of(real, LinearPredictor(real, features, is_counts=False), n_splits=5)
    assert estimates(summary, "r2_vs_training_mean")["ridge"] > 0.8
    assert estimates(summary, "r2_vs_training_mean")["gde"] > 0.9


def test_what_leaves_with_a_perturbation():
    adata, features = screen()
    model = LinearPredictor(adata, features)
    report_of(adata, model, held_out=["g0", "g7"])
    # Another spelling of the same would give it away.
    assert "control+g7" not in model.seen[0]
    assert {"g0+g1", "g0+g6"} <= model.seen[0]
    report = adata.uns["gde_perturbation"]["report"]
    seen = report.drop_duplicates("perturbation").set_index("perturbation")["n_seen"]
    assert seen.to_dict() == {"g0": 1, "g7": 0}
    report_of(adata, model, held_out=["g0", "g7"], hold_out_combinations=True)
    assert not {"g0+g1", "g0+g6", "g0"} & model.seen[1]
    assert "g2+g3" in model.seen[1]
    report = adata.uns["gde_perturbation"]["report"]
    assert (report["n_seen"] == 0).all()


def test_splits_given_and_drawn():
    adata, features = screen()
    model = LinearPredictor(adata, features)
    report_of(adata, model, held_out=[["g1", "g2"], ["g3", "g4", "g0+g1"]])
    table = adata.uns["gde_perturbation"]["predictions"]["table"]
    assert table.groupby("split")["perturbation"].agg(set).tolist() == [
        {"g1", "g2"},
        {"g3", "g4", "g0+g1"},
    ]
    report = adata.uns["gde_perturbation"]["report"]
    additive = report[report["method"] == "additive"]
    assert set(additive["perturbation"]) == {"g0+g1"}
    # More splits than folds: the second round holds each out again, differently.
    report_of(adata, model, n_splits=4, test_size=0.5, baselines=False)
    table = adata.uns["gde_perturbation"]["predictions"]["table"]
    assert (table["perturbation"].value_counts() == 2).all()
    splits = table.groupby("split")["perturbation"].agg(set).tolist()
    assert splits[0] | splits[1] == splits[2] | splits[3] == {*SINGLES, *PAIRS}
    assert splits[0] not in splits[2:]


def test_perturbations_without_features_or_cells_are_not_held_out():
    adata, features = screen()
    known = features.drop(index="g11")
    model = LinearPredictor(adata, features)
    model.refit = lambda training: _known_only(training, known)
    few = adata[~((adata.obs["gene"] == "g10") & (np.arange(adata.n_obs) % 6 > 0))].copy()
    model.features = known
    report_of(few, model, n_splits=5, min_cells=8)
    assert sorted(few.uns["gde_perturbation"]["predictions"]["table"]["perturbation"]) == sorted(
        {*SINGLES, *PAIRS} - {"g10", "g11"}
    )


def _known_only(training, features):
    own = training[(training.obs["gene"] != "g11").to_numpy()].copy()
    return LinearPredictor(own, features)


def test_generated_cells_for_other_tools():
    adata, features = screen(covariate=True)
    model = LinearPredictor(adata, features, "line")
    _, cells = report_of(adata, model, n_splits=5, return_cells=True)
    assert cells.var_names.equals(adata.var_names)
    assert set(cells.obs["gene"]) == set(adata.obs["gene"])
    predicted = cells[cells.obs["is_predicted"]]
    assert (predicted.obs.groupby(["gene", "line"], observed=True).size() == 10).all()
    control = cells[~cells.obs["is_predicted"]]
    assert set(control.obs["gene"]) == {"control"}
    own = adata[adata.obs["gene"] == "control"]
    assert (control[own.obs_names].X != own.X).nnz == 0
    assert (control[own.obs_names].obs["line"].astype(str) == own.obs["line"]).all()
    assert cells.obs_names.is_unique
    assert float(predicted.X.max()) == round(float(predicted.X.max()))


@pytest.mark.parametrize("covariate", [False, True])
def test_the_model_itself(covariate):
    adata, features = screen(covariate)
    before = adata.copy()
    scgde.model.PerturbationGDE.setup_anndata(
        adata, "gene", control="control", covariate_key="line" if covariate else None
    )
    model = scgde.model.PerturbationGDE(adata, features, n_latent=4, n_hidden=16)
    fit(model)
    summary, cells = report_of(adata, model, return_cells=True, held_out=["g1", "g2", "g4+g5"])
    scores = summary[summary["method"] == "gde"]
    assert np.isfinite(scores["estimate"]).all()
    assert set(scores["metric"]) == set(summary["metric"])
    assert (scores["n_perturbations"] == 3).all()
    assert set(cells.obs.loc[cells.obs["is_predicted"], "gene"]) == {"g1", "g2", "g4+g5"}
    assert (adata.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(summary, report_of(adata, model, held_out=["g1", "g2", "g4+g5"]))


def test_names_that_are_numbers_are_compared_as_text():
    adata, features = screen()
    adata.obs["gene"] = adata.obs["gene"].str.replace("g", "")
    model = LinearPredictor(adata, features.rename(index=lambda name: name[1:]))
    for held_out in ([1, 2], np.array([1, 2]), [["1", 2]]):
        report_of(adata, model, held_out=held_out, baselines=False)
        found = adata.uns["gde_perturbation"]
        assert set(found["predictions"]["table"]["perturbation"]) == {"1", "2"}
        assert found["params"]["test_size"] == 0


def test_the_model_must_be_of_perturbations_and_trained(patients):
    scgde.model.GDE.setup_anndata(patients, population_key="donor")
    with pytest.raises(TypeError, match="must be a PerturbationGDE, got GDE"):
        report_of(patients, scgde.model.GDE(patients, n_latent=2, n_hidden=4))
    adata, features = screen()
    scgde.model.PerturbationGDE.setup_anndata(adata, "gene", control="control")
    model = scgde.model.PerturbationGDE(adata, features, n_latent=2, n_hidden=4)
    with pytest.raises(RuntimeError, match="not trained"):
        report_of(adata, model)
    assert "gde_perturbation" not in adata.uns


def test_something_with_features_must_be_left_before_any_training():
    adata, features = screen()
    model = LinearPredictor(adata, features.loc[["g0", "g1"]])
    # The first split leaves g1, the second nothing.
    with pytest.raises(ValueError, match="no perturbation is left whose parts all have features"):
        report_of(adata, model, held_out=[["g0"], ["g0", "g1", "g0+g1"]])
    assert not model.seen


@pytest.mark.parametrize("column", ["split", "is_predicted"])
@pytest.mark.parametrize("argument", ["perturbation_key", "covariate_key"])
def test_columns_of_generated_cells_are_not_overwritten(argument, column):
    adata, features = screen(covariate=True)
    model = LinearPredictor(adata, features, "line")
    adata.obs = adata.obs.rename(columns={getattr(model, argument): column})
    setattr(model, argument, column)
    with pytest.raises(ValueError, match=f"{argument}='{column}'"):
        report_of(adata, model, return_cells=True)
    assert not model.seen


def test_mistakes_are_named():
    adata, features = screen()
    model = LinearPredictor(adata, features)

    def wrong(error, match, data=adata, predictor=model, **kwargs):
        with pytest.raises(error, match=match):
            report_of(data, predictor, **kwargs)

    wrong(KeyError, "Did you mean 'g1'", held_out=["g1x", "g2"])
    wrong(TypeError, "list of perturbations", held_out="g1")
    wrong(TypeError, "list of perturbations", held_out=1)
    wrong(TypeError, "list of perturbations", held_out=["g1", ["g2", "g3"]])
    wrong(ValueError, "empty", held_out=[])
    wrong(ValueError, "empty split", held_out=[["g1"], []])
    wrong(ValueError, "twice", held_out=["g1", "g1"])
    wrong(ValueError, "nothing|no perturbation", held_out=[*SINGLES, *PAIRS])
    wrong(ValueError, "test_size", test_size=0.7)
    wrong(ValueError, "n_splits", n_splits=0)
    wrong(ValueError, "min_cells", min_cells=2)
    wrong(ValueError, "n_cells", n_cells=-1)
    wrong(ValueError, "no variance", n_cells=1)
    wrong(ValueError, "max_cells=1", max_cells=1)
    wrong(ValueError, "return_cells", n_cells=0, return_cells=True)
    wrong(ValueError, "splits need three", min_cells=1_000)
    wrong(TypeError, "AnnData", data=adata.to_df())
    wrong(ValueError, "other features", data=adata[:, ::-1].copy())
    twice = adata.copy()
    twice.var_names = ["same", "same", *adata.var_names[2:]]
    predictor = LinearPredictor(twice, features)
    wrong(ValueError, "'same'.*var_names_make_unique", data=twice, predictor=predictor)
    renamed = adata.copy()
    renamed.obs = renamed.obs.rename(columns={"gene": "target"})
    wrong(KeyError, "perturbation_key='gene'", data=renamed)
    wrong(KeyError, "control", data=adata[adata.obs["gene"] != "control"].copy())
    lines, features = screen(covariate=True)
    keep = (lines.obs["gene"] != "control") | (lines.obs["line"] == "x")
    predictor = LinearPredictor(lines, features, "line")
    wrong(ValueError, "'y'.*control", data=lines[keep].copy(), predictor=predictor)
