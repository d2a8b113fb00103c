from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scgde.metrics import (
    PerturbationSplit,
    ShiftPrediction,
    perturbation_baselines,
    perturbation_report,
    perturbation_summary,
)

N_GENES = 30
EFFECT = {name: np.random.default_rng(i).normal(0, 1, N_GENES) for i, name in enumerate("ABCDEFGH")}
EFFECT["A+B"], EFFECT["A+H"], EFFECT["G+H"] = (
    EFFECT["A"] + EFFECT["B"],
    EFFECT["A"] + EFFECT["H"],
    EFFECT["G"] + EFFECT["H"],
)
HELD_OUT = ["G", "H", "A+B", "A+H", "G+H"]


def screen(held_out=HELD_OUT, n_cells=200, covariates=("",), noise=0.3, sparse=False, seed=0):
    """Normal cells whose means add up, with a shift that all perturbations share."""
    rng = np.random.default_rng(seed)
    shared = np.linspace(0, 2, N_GENES)

    def cells(shift, covariate):
        x = shift + covariates.index(covariate) + rng.normal(0, noise, (n_cells, N_GENES))
        return sp.csr_matrix(x) if sparse else x

    observed, training, rows = {}, {}, {}
    for covariate in covariates:
        for name, effect in EFFECT.items():
            population = f"{name}|{covariate}" if covariate else name
            rows[population] = (name, covariate)
            if name in held_out:
                observed[population] = cells(shared + effect, covariate)
            elif "+" not in name:
                training[population] = shared + effect
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["perturbation", "covariate"])
    return PerturbationSplit(
        observed,
        {covariate: cells(np.zeros(N_GENES), covariate) for covariate in covariates},
        pd.DataFrame.from_dict(training, orient="index"),
        table,
        {name: name.split("+") for name in EFFECT},
    )


def truth(split):
    effect = {n: np.linspace(0, 2, N_GENES) + EFFECT[split.perturbation(n)] for n in split.observed}
    return ShiftPrediction(pd.DataFrame.from_dict(effect, orient="index"))


def values(report, method, metric):
    part = report[(report["method"] == method) & (report["metric"] == metric)]
    return part.set_index("perturbation")["value"]


@pytest.fixture(scope="module")
def split():
    return screen()


@pytest.fixture(scope="module")
def report(split):
    predictions = {"truth": truth(split), **perturbation_baselines(split)}
    return perturbation_report(split, predictions, n_top=5)


def test_the_truth_is_best_and_the_ceiling_near_it(report):
    for method in ("truth", "data_ceiling"):
        assert (values(report, method, "r2_shift") > 0.98).all()
        assert (values(report, method, "r2_vs_training_mean") > 0.97).all()
        assert (values(report, method, "pearson_delta_vs_training_mean") > 0.98).all()
        assert (values(report, method, "centroid_accuracy") == 1).all()
        assert (values(report, method, "discrimination_rank") == 0).all()
        assert (values(report, method, "energy_distance").abs() < 0.1).all()
        assert (values(report, method, "top_genes_overlap") >= 0.8).all()
    assert values(report, "data_ceiling", "variance_ratio").between(0.8, 1.25).all()
    assert "variance_ratio" not in set(report.loc[report["method"] == "truth", "metric"])


def test_what_says_nothing_scores_as_chance(report):
    nothing, mean = (
        {m: values(report, method, m) for m in report["metric"].unique()}
        for method in ("no_change", "training_mean")
    )
    assert (nothing["r2_shift"] == 0).all()
    assert nothing["pearson_delta"].isna().all()
    np.testing.assert_allclose(nothing["top_genes_overlap"], 5 / N_GENES)
    assert (mean["r2_vs_training_mean"] == 0).all()
    assert mean["pearson_delta_vs_training_mean"].isna().all()
    # Any fixed guess finds as many as chance would, whatever it is.
    assert nothing["centroid_accuracy"].mean() == pytest.approx(0.5)
    assert mean["discrimination_rank"].mean() == pytest.approx(0.5)
    # What perturbations share makes the mean look good against control.
    assert mean["pearson_delta"].mean() > 0.2
    assert (nothing["energy_distance"] > mean["energy_distance"]).all()


def test_published_r2_is_high_for_no_change_where_expression_is():
    split = screen(noise=1.0)
    base = np.linspace(0, 30, N_GENES)
    split = PerturbationSplit(
        {name: x + base for name, x in split.observed.items()},
        {"": split.control[""] + base},
        split.training_shifts,
        split.table,
        split.components,
    )
    report = perturbation_report(split, perturbation_baselines(split))
    assert values(report, "no_change", "r2_mean").mean() > 0.9
    assert (values(report, "no_change", "r2_shift") == 0).all()


def test_baselines_of_combinations(split, report):
    predictions = perturbation_baselines(split)
    trained, mean = split.training_shifts, split.training_shifts.mean()
    matching = predictions["matching_mean"].shift
    np.testing.assert_allclose(matching.loc["A+B"], (trained.loc["A"] + trained.loc["B"]) / 2)
    np.testing.assert_allclose(matching.loc["A+H"], (trained.loc["A"] + mean) / 2)
    np.testing.assert_allclose(matching.loc["G"], mean)
    assert list(predictions["additive"].shift.index) == ["A+B"]
    np.testing.assert_allclose(
        predictions["additive"].shift.loc["A+B"], trained.loc["A"] + trained.loc["B"]
    )
    assert not {"ridge", "kriging"} & set(predictions)
    seen = report.drop_duplicates("perturbation").set_index("perturbation")["n_seen"]
    assert seen.to_dict() == {"G": 0, "H": 0, "A+B": 2, "A+H": 1, "G+H": 0}


@pytest.mark.parametrize("regression", ["ridge", "kriging"])
def test_regressions_learn_what_features_know_and_sum_them(regression):
    split = screen(held_out=["G", "H", "G+H"])
    features = pd.DataFrame(EFFECT).T.loc[list("ABCDEFGH")] @ np.random.default_rng(0).normal(
        size=(N_GENES, 4)
    )
    weights = np.random.default_rng(1).normal(size=(4, N_GENES))
    split.training_shifts = features.loc[split.training_shifts.index] @ weights
    split.training_shifts.columns = range(N_GENES)
    found = perturbation_baselines(split, features)[regression].shift
    for name, expected in (
        ("G", features.loc["G"] @ weights),
        ("G+H", (features.loc["G"] + features.loc["H"]) @ weights),
    ):
        assert np.corrcoef(found.loc[name], expected)[0, 1] > 0.99, name
    with pytest.raises(KeyError, match=r"G\+H"):
        perturbation_baselines(split, features.drop(index="H"))
    few = perturbation_baselines(split, features.loc[["A", "G", "H"]])[regression].shift
    np.testing.assert_allclose(few, split.mean_training_shifts)


def test_covariates_are_apart():
    split = screen(covariates=("x", "y"))
    report = perturbation_report(split, {"truth": truth(split), **perturbation_baselines(split)})
    assert set(report["covariate"]) == {"x", "y"}
    assert (values(report, "truth", "centroid_accuracy") == 1).all()
    assert values(report, "no_change", "centroid_accuracy").mean() == pytest.approx(0.5)
    one = PerturbationSplit(
        split.observed,
        split.control,
        split.training_shifts.filter(like="|x", axis=0),
        split.table,
        split.components,
    )
    # Where nothing was trained on, the mean of the others stands in.
    np.testing.assert_allclose(
        one.mean_training_shifts.loc["G|y"], one.mean_training_shifts.loc["G|x"]
    )


def test_sparse_cells_score_as_dense_ones():
    tables = []
    for sparse in (False, True):
        split = screen(n_cells=60, sparse=sparse)
        cells = {name: x[:30] for name, x in split.observed.items()}
        guess = ShiftPrediction(truth(split).shift, cells)
        tables.append(perturbation_report(split, {"guess": guess}, max_cells=25))
    np.testing.assert_allclose(tables[0]["value"], tables[1]["value"], rtol=1e-4, atol=1e-6)


def test_cells_that_are_means_are_found_out(split):
    shift = truth(split).shift
    cells = {n: np.tile(x.mean(0), (50, 1)) for n, x in split.observed.items()}
    report = perturbation_report(
        split, {"means": ShiftPrediction(shift, cells), "moved": ShiftPrediction(shift)}
    )
    assert (values(report, "means", "r2_mean") > 0.999).all()
    assert (values(report, "means", "variance_ratio") < 1e-9).all()
    means, moved = (values(report, m, "energy_distance") for m in ("means", "moved"))
    assert (means > moved + 0.3).all()


def test_control_cells_at_the_right_mean_have_no_distance():
    """Moved by a shift measured from their own mean, fifty cells would score 0.2 below zero."""
    rng, found = np.random.default_rng(0), []
    names = range(200)
    table = pd.DataFrame({"perturbation": ["A", "B"], "covariate": ""}, ["A", "B"])
    for _ in range(40):
        control, cells = rng.normal(size=(50, 200)), rng.normal(1, 1, (60, 200))
        known = pd.DataFrame([1 - control.mean(0)], ["B"], names)
        split = PerturbationSplit({"A": cells}, {"": control}, known, table)
        report = perturbation_report(split, perturbation_baselines(split), ceiling=False)
        found.append(values(report, "training_mean", "energy_distance").item())
    assert abs(np.mean(found)) < 0.02


def test_a_seed_reproduces(split):
    def of(seed):
        return perturbation_report(split, {"t": truth(split)}, max_cells=20, seed=seed)["value"]

    pd.testing.assert_series_equal(of(1), of(1))
    assert not of(1).equals(of(2))


def test_summary_counts_and_pairs(report):
    summary = perturbation_summary(report, reference="truth").set_index(["method", "metric"])
    assert summary.loc[("truth", "r2_shift"), "n_perturbations"] == 5
    assert summary.loc[("additive", "r2_shift"), "n_perturbations"] == 1
    assert np.isnan(summary.loc[("additive", "r2_shift"), "low"])
    assert summary.loc[("no_change", "pearson_delta"), "estimate"] == 0
    low, estimate, high = summary.loc[("training_mean", "mse_shift"), ["low", "estimate", "high"]]
    assert low < estimate < high
    row = summary.loc[("training_mean", "r2_vs_training_mean")]
    assert row["difference_high"] < 0
    own = summary.loc[("truth", "r2_shift")]
    assert row["difference"] == pytest.approx(
        row["estimate"] - summary.loc[("truth", "r2_vs_training_mean"), "estimate"]
    )
    assert np.isnan(own["difference"])
    # R2 of all together is one minus the ratio of errors.
    errors = summary.xs("mse_shift", level="metric")["estimate"]
    assert summary.loc[("training_mean", "r2_shift"), "estimate"] == pytest.approx(
        1 - errors["training_mean"] / errors["no_change"]
    )


def test_summary_by_components_seen(report):
    by = perturbation_summary(report, by=["n_components", "n_seen"])
    part = by[(by["method"] == "matching_mean") & (by["metric"] == "r2_shift")]
    assert part.set_index(["n_components", "n_seen"])["n_perturbations"].to_dict() == {
        (1, 0): 2,
        (2, 0): 1,
        (2, 1): 1,
        (2, 2): 1,
    }


def test_splits_and_covariates_of_a_perturbation_are_one():
    """Two perturbations, one scored nine times: its error weighs no more than the other's."""
    rows = [("m", "A", "mse_shift", 1.0, 1.0)] * 9 + [("m", "B", "mse_shift", 3.0, 1.0)]
    report = pd.DataFrame(rows, columns=["method", "perturbation", "metric", "value", "weight"])
    row = perturbation_summary(report).iloc[0]
    assert row["estimate"] == 2
    assert row["n_perturbations"] == 2
    assert (row["low"], row["high"]) == (1, 3)


@pytest.mark.parametrize("column", ["covariate", "split"])
def test_differences_are_of_the_same_populations(column):
    """The model errs by 1 in x and 5 in y; the other, always better by 0.5, lacks some of y."""
    rows = []
    for name in "ABC":
        for where, error in (("x", 1.0), ("y", 5.0)):
            rows.append(("model", name, where, error))
            if where == "x" or name == "C":
                rows.append(("other", name, where, error - 0.5))
    report = pd.DataFrame(rows, columns=["method", "perturbation", column, "value"])
    report = report.assign(metric="mse_shift", weight=1.0)
    summary = perturbation_summary(report, reference="model").set_index("method")
    row = summary.loc["other"]
    np.testing.assert_allclose(
        row[["difference", "difference_low", "difference_high"]].astype(float), -0.5
    )
    # Each by itself is over all that it predicts.
    assert summary.loc["model", "estimate"] == 3
    assert row["estimate"] == pytest.approx((0.5 + 0.5 + 2.5) / 3)
    assert row["n_perturbations"] == 3
    apart = report[(report["method"] == "model") == (report[column] == "x")]
    row = perturbation_summary(apart, reference="model").set_index("method").loc["other"]
    assert np.isnan(row["difference"])


def test_the_interval_covers():
    """95 % of intervals hold the true mean; 40 perturbations, 200 studies."""
    rng, covered = np.random.default_rng(0), 0
    for study in range(200):
        report = pd.DataFrame(
            {
                "method": "m",
                "perturbation": [f"p{i}" for i in range(40)],
                "metric": "mse_shift",
                "value": rng.gamma(4, 1, 40),
                "weight": 1.0,
            }
        )
        row = perturbation_summary(report, n_bootstrap=200, seed=study).iloc[0]
        covered += row["low"] <= 4 <= row["high"]
    assert 175 <= covered <= 199


def test_mistakes_are_named(split):
    def changed(**what):
        fields = ("observed", "control", "training_shifts", "table", "components")
        return PerturbationSplit(**{**{f: getattr(split, f) for f in fields}, **what})

    with pytest.raises(KeyError, match="covariate"):
        changed(table=split.table[["perturbation"]])
    with pytest.raises(KeyError, match="'G'"):
        changed(table=split.table.drop(index="G"))
    with pytest.raises(ValueError, match="both held out and trained on"):
        changed(observed={"A": split.observed["G"]})
    with pytest.raises(KeyError, match="control"):
        changed(control={"x": split.control[""]})
    with pytest.raises(ValueError, match="NaN"):
        changed(observed={"G": split.observed["G"] * np.nan})
    with pytest.raises(ValueError, match="1 cells"):
        changed(observed={"G": split.observed["G"][:1]})
    with pytest.raises(ValueError, match="shape"):
        changed(observed={"G": split.observed["G"][:, :3]})
    with pytest.raises(ValueError, match="empty"):
        changed(observed={})
    with pytest.raises(ValueError, match="at least 4"):
        perturbation_report(changed(observed={"G": split.observed["G"][:3]}), {})
    shift = truth(split).shift
    with pytest.raises(ValueError, match="no row"):
        perturbation_report(
            split, {"mine": ShiftPrediction(shift.where(shift != shift.iloc[0, 0]))}
        )
    with pytest.raises(ValueError, match="'mine'"):
        perturbation_report(split, {"mine": ShiftPrediction(shift[shift.columns[::-1]])})
    with pytest.raises(ValueError, match="has cells, but none of"):
        perturbation_report(split, {"mine": ShiftPrediction(shift, {})})
    one = {name: x[:1] for name, x in split.observed.items()}
    with pytest.raises(ValueError, match="fewer than two"):
        perturbation_report(split, {"mine": ShiftPrediction(shift, one)})
    with pytest.raises(ValueError, match="predictions is empty"):
        perturbation_report(split, {}, ceiling=False)
    with pytest.raises(ValueError, match="data_ceiling"):
        perturbation_report(split, {"data_ceiling": ShiftPrediction(shift)})
    with pytest.raises(ValueError, match="max_cells=1"):
        perturbation_report(split, {}, max_cells=1)
    with pytest.raises(ValueError, match="n_top"):
        perturbation_report(split, {}, n_top=0)
    report = perturbation_report(split, {})
    with pytest.raises(KeyError, match="reference='gde'"):
        perturbation_summary(report, reference="gde")
    with pytest.raises(ValueError, match="report is empty"):
        perturbation_summary(report[:0])
    with pytest.raises(ValueError, match="no value that is not NaN"):
        perturbation_summary(report[report["metric"] == "r2_shift"].assign(value=np.nan))
    with pytest.raises(KeyError, match="n_seen"):
        perturbation_summary(report, by=["n_sen"])
    with pytest.raises(ValueError, match="level"):
        perturbation_summary(report, level=95)
