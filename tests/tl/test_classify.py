from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import scgde
from scgde.tl import classify_populations, embed_populations
from scgde.tl._cross_validation import held_out_predictions, label_problem, splits_of
from scgde.tl._representations import Representation

from ..conftest import fit, normal_populations

GDE = scgde.model.GDE
QUICK = {"n_repeats": 2, "n_splits": 3, "enable_progress_bar": False}


@pytest.fixture(scope="module")
def separable():
    adata = normal_populations(30)
    GDE.setup_anndata(adata, population_key="population")
    model = GDE(adata, n_latent=6, n_hidden=16)
    fit(model, max_steps=300, cells_per_population=30, plan_kwargs={"lr": 5e-3})
    embed_populations(adata, model)
    return adata, model


def value(table, representation, metric="roc_auc", **where):
    rows = table[(table.representation == representation) & (table.metric == metric)]
    for key, wanted in where.items():
        rows = rows[rows[key] == wanted]
    assert len(rows) == 1
    return rows.iloc[0]


def test_finds_a_signal_beside_its_baselines(separable):
    adata, _ = separable
    adata.obs["type"] = np.where(np.arange(adata.n_obs) % 3, "T", "B")
    table = classify_populations(adata, "group", cell_type_key="type", **QUICK)
    assert set(table.representation) == {
        "gde",
        "majority",
        "mean_sd",
        "pseudobulk_pca",
        "composition",
        "kernel_mean",
    }
    for name in ("gde", "mean_sd", "pseudobulk_pca", "kernel_mean"):
        assert value(table, name).estimate > 0.75, name
    assert value(table, "majority").estimate == 0.5
    assert value(table, "composition").estimate < 0.8  # all populations have one composition
    assert ((table.low <= table.estimate) & (table.estimate <= table.high)).all()


def test_no_signal_gives_no_score(separable):
    """Labels by coin are predicted as well as a coin predicts, on average over coins."""
    adata, _ = separable
    adata = adata.copy()
    rng = np.random.default_rng(0)
    names = adata.obs["population"].unique()
    for i in range(8):
        coin = dict(zip(names, rng.permutation(["x", "y"] * 15), strict=True))
        adata.obs[f"coin{i}"] = adata.obs["population"].map(coin).astype(str)
    table = classify_populations(
        adata, [f"coin{i}" for i in range(8)], baselines=["mean_sd", "kernel_mean"], **QUICK
    )
    mean = table[table.metric == "roc_auc"].groupby("representation")["estimate"].mean()
    assert ((mean > 0.35) & (mean < 0.65)).all(), mean


@pytest.mark.parametrize("n_splits", [5, "leave-one-out"])
def test_folds_do_not_leak_through_what_is_left_to_train_on(n_splits):
    """Whoever is held out is missing from the training set: noise must not score below chance."""
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(30):
        x = rng.normal(size=(30, 4))
        arm, age = rng.permutation(["x", "y"] * 15), rng.normal(size=30)
        table = pd.DataFrame({"arm": arm, "age": age})
        found = {}
        for label in table:
            problem = label_problem(table, np.arange(30), label, "auto")
            splits = list(splits_of(problem, n_splits, 1, 0))
            for name in ("gde", "majority"):
                kind = Representation(name, "any", lambda train, x=x: x)
                (held_out,) = held_out_predictions(problem, kind, splits, progress=False)
                found |= {(name, k): v for k, v in problem.score(problem.y, held_out).items()}
        scores.append(found)
    mean = pd.DataFrame(scores).mean()
    assert abs(mean["gde", "spearman"]) < 0.2  # with folds simply pooled about -.2 and -.6
    assert abs(mean["gde", "roc_auc"] - 0.5) < 0.1
    assert mean["majority", "spearman"] == 0
    assert mean["majority", "roc_auc"] == mean["majority", "accuracy"] == 0.5


def test_donors_are_held_out_whole(separable):
    """Labels that are coin flips of donors can be known only through the donor."""
    adata, model = separable
    adata = adata.copy()
    population = adata.obs["population"].str.removeprefix("p").astype(int)
    x = adata.X.copy()
    x[:, 0] = (population // 3) * 5  # a donor's three populations look alike
    adata.X = x
    rng = np.random.default_rng(1)
    adata.obs["donor"] = (population // 3).astype(str)
    flips = rng.permutation(["x", "y"] * 5)
    adata.obs["flip"] = [flips[d] for d in population // 3]
    embed_populations(adata, model)
    leaky = classify_populations(adata, "flip", baselines=["mean_sd"], **QUICK)
    sound = classify_populations(adata, "flip", baselines=["mean_sd"], donor_key="donor", **QUICK)
    assert value(sound, "mean_sd").estimate < value(leaky, "mean_sd").estimate


def test_numbers_several_labels_and_missing_values(separable):
    adata, _ = separable
    adata.obs["three"] = pd.cut(adata.obs["size"], 3, labels=["s", "m", "l"]).astype(object)
    adata.obs.loc[adata.obs["population"].isin(["p0", "p1"]), "three"] = None
    table = classify_populations(
        adata, ["size", "three"], baselines=["majority", "mean_sd"], **QUICK
    )
    assert value(table, "gde", "r2", label="size").estimate > 0.7
    assert value(table, "majority", "r2", label="size").estimate < 0.1
    assert value(table, "gde", label="three").n_populations == 28
    assert value(table, "gde", "r2", label="size").n_populations == 30
    predictions = adata.uns["gde_classification"]["predictions"]
    assert len(predictions) == 3 * (28 + 30)
    assert set(predictions["truth"].map(type)) == {str}  # a column of a file is of one kind
    table = classify_populations(adata, "size", baselines=["mean_sd"], **QUICK)
    numbers = adata.uns["gde_classification"]["predictions"]
    off = (numbers["truth"] - numbers["prediction"]).abs().groupby(numbers["representation"])
    mae = table[table["metric"] == "mae"].set_index("representation")["estimate"]
    assert (off.mean() <= mae[off.mean().index] + 1e-9).all()  # of the mean over repeats


def test_leave_one_out(separable):
    adata, _ = separable
    table = classify_populations(adata, "group", baselines=["majority"], n_splits="leave-one-out")
    assert value(table, "gde").estimate > 0.75


def test_inductive_trains_without_the_held_out_populations(separable, monkeypatch, caplog):
    adata, model = separable
    seen = []
    monkeypatch.setattr(logging.getLogger("scvi"), "handlers", [caplog.handler])
    caplog.set_level(logging.INFO, logger="scvi")  # whatever another test left
    original = GDE.refit

    def spy(self, cells, **kwargs):
        seen.append(set(cells.obs["population"]))
        return original(self, cells, **kwargs)

    monkeypatch.setattr(GDE, "refit", spy)
    before = len(GDE._per_instance_manager_store)
    table = classify_populations(
        adata, "group", setting="both", model=model, baselines=["majority"], **QUICK
    )
    assert len(seen) == 3
    everyone = set(adata.obs["population"])
    held_out = [everyone - fold for fold in seen]
    assert set.union(*held_out) == everyone
    assert sum(map(len, held_out)) == 30
    assert value(table, "gde", setting="inductive").estimate > 0.6
    assert value(table, "gde", setting="transductive").estimate > 0.75
    assert len(GDE._per_instance_manager_store) == before
    assert not caplog.records  # a fold's copies of the cells are nobody's business
    model.get_population_embedding(adata.copy(), enable_progress_bar=False)
    assert "transfer setup" in caplog.text


def test_population_adata(separable):
    adata, model = separable
    populations = model.get_population_adata(adata)
    table = classify_populations(populations, "group", **QUICK)
    assert value(table, "gde").estimate > 0.75
    assert set(table.representation) == {"gde", "majority"}
    with pytest.raises(ValueError, match="need cells"):
        classify_populations(populations, "group", baselines=["mean_sd"], **QUICK)


def test_baselines_may_be_any_iterable(separable):
    adata, _ = separable
    table = classify_populations(adata, "group", baselines=iter(["majority", "mean_sd"]), **QUICK)
    assert set(table.representation) == {"gde", "majority", "mean_sd"}


def test_scores_are_reproducible(separable):
    adata, _ = separable
    tables = [classify_populations(adata, "group", **QUICK) for _ in range(2)]
    pd.testing.assert_frame_equal(*tables)


def test_an_embedding_trained_on_the_label_is_refused():
    adata = normal_populations(12)
    GDE.setup_anndata(adata, population_key="population", labels_key="group")
    model = GDE(adata, n_latent=4, n_hidden=8, label_head=True)
    fit(model)
    embed_populations(adata, model)
    with pytest.raises(ValueError, match="trained on this label"):
        classify_populations(adata, "group", **QUICK)
    table = classify_populations(
        adata, "group", setting="inductive", model=model, baselines=["majority"], **QUICK
    )
    assert set(table.setting) == {"inductive", "no cells"}


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"labels_key": "grup"}, KeyError, "Did you mean 'group'"),
        ({"embedding_key": "gdee"}, KeyError, "embed_populations"),
        ({"setting": "inductive"}, ValueError, "pass model="),
        ({"setting": "trans"}, ValueError, "setting='trans'"),
        ({"n_splits": 28}, ValueError, "rarest class"),
        ({"n_splits": "loo"}, ValueError, "n_splits='loo'"),
        ({"n_splits": 2.5}, TypeError, "n_splits=2.5"),
        ({"labels_key": "one", "n_splits": "leave-one-out"}, ValueError, "class of one donor"),
        ({"labels_key": "one"}, ValueError, "class of one donor"),
        ({"task": "regression"}, ValueError, "no numbers"),
        ({"baselines": ["mean"]}, ValueError, "baselines='mean'"),
        ({"baselines": ["composition"]}, ValueError, "pass cell_type_key"),
        ({"labels_key": "same"}, ValueError, "one value only"),
        ({"donor_key": "hospital"}, KeyError, "donor_key='hospital'"),
    ],
)
def test_bad_input(separable, arguments, error, match):
    adata, _ = separable
    adata.obs["same"] = "x"
    adata.obs["one"] = np.where(adata.obs["population"] == "p3", "x", "y")
    before = set(adata.uns)
    with pytest.raises(error, match=match):
        classify_populations(adata, **{"labels_key": "group", **QUICK, **arguments})
    assert set(adata.uns) == before


def test_populations_that_changed_since_are_noticed(separable):
    adata, _ = separable
    fewer = adata[adata.obs["population"] != "p0"].copy()
    with pytest.raises(ValueError, match="embed_populations again"):
        classify_populations(fewer, "group", **QUICK)
