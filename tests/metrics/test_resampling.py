from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scgde.metrics import resampling_report

D = 20


def counts(n, rng, variable=0.5, correlated=True):
    """Counts whose genes share a cell's size, gamma with this coefficient of variation."""
    mean = np.exp(np.random.default_rng(0).normal(1, 0.5, D))
    shape = 1 / variable**2
    size = rng.gamma(shape, 1 / shape, (n, 1 if correlated else D))
    return rng.poisson(mean * size).astype(np.float32)


def report(real, generated, **kwargs):
    return resampling_report(
        real, generated, **{"n_splits": 3, **kwargs}, enable_progress_bar=False
    )


@pytest.fixture(scope="module")
def real():
    return counts(300, np.random.default_rng(1))


@pytest.fixture
def no_classifiers(monkeypatch):
    """Thousands of classifiers would take minutes where moments are what is tested."""
    monkeypatch.setattr("scgde.metrics._two_sample._auc", lambda *arguments: 0.5)


def test_a_perfect_generator_reaches_the_ceiling(real):
    table = report(real, counts(800, np.random.default_rng(2)), log_normalize=True, n_splits=5)
    assert (table["low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["high"]).all()
    overlap = (table["low"] <= table["ceiling_high"]) & (table["ceiling_low"] <= table["high"])
    assert overlap.all(), table[~overlap]
    for row in ("variance_ratio", "total_mean_ratio", "total_sd_ratio", "auc_trees"):
        assert table.loc[row, "estimate"] == pytest.approx(table.loc[row, "ideal"], abs=0.15)


def test_a_collapsed_generator_has_perfect_means_and_nothing_else(real):
    table = report(real, np.tile(real.mean(0), (400, 1)))
    estimate, ceiling = table["estimate"], table["ceiling"]
    assert estimate["mean_correlation"] > 0.99
    assert estimate["variance_ratio"] < 0.01
    assert estimate["gene_correlation"] == 0
    assert estimate["energy_distance"] > 10 * ceiling["energy_distance"]
    assert estimate["auc_trees"] > 0.95
    assert abs(ceiling["auc_trees"] - 0.5) < 0.1


def test_each_fault_shows_in_its_own_row(real):
    rng = np.random.default_rng(3)
    independent = report(real, np.stack([rng.permutation(column) for column in real.T], 1))
    assert (
        independent.loc["gene_correlation_rms", "low"]
        > (independent.loc["gene_correlation_rms", "ceiling_high"])
    )
    assert independent.loc["variance_ratio", "estimate"] == pytest.approx(1, abs=0.1)
    assert independent.loc["auc_trees", "estimate"] > 0.6
    shallow = report(real, rng.binomial(real.astype(int), 0.5), log_normalize=True)
    assert shallow.loc["total_mean_ratio", "estimate"] == pytest.approx(0.5, abs=0.05)
    assert (
        shallow.loc["zero_fraction_difference", "low"]
        > (shallow.loc["zero_fraction_difference", "ceiling_high"])
    )
    shifted = report(real, real + 1)
    assert shifted.loc["mean_difference", "estimate"] == pytest.approx(1, abs=0.1)
    assert shifted.loc["auc_logistic", "estimate"] > 0.6


def test_small_samples_do_not_count_against_a_generator(no_classifiers):
    """At 40 cells every statistic is far from its ideal; its ceiling is as far."""
    rng = np.random.default_rng(0)
    tables = [report(counts(40, rng), counts(40, rng)) for _ in range(8)]
    mean = pd.concat(tables).groupby(level=0, sort=False).mean()
    assert mean.loc["gene_correlation_rms", "ceiling"] > 0.2
    for row in ("mean_difference", "gene_correlation_rms", "energy_distance"):
        assert mean.loc[row, "estimate"] == pytest.approx(mean.loc[row, "ceiling"], rel=0.15)


def test_interval_covers_the_statistic_of_new_samples(no_classifiers):
    """The variance ratio of populations whose true ratio is known, over 40 studies."""
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        real, wide = rng.normal(0, 1, (80, 1)), rng.normal(0, 1.2, (80, 1))
        low, high = report(real, wide, n_splits=10).loc["variance_ratio", ["low", "high"]]
        covered += low <= 1.44 <= high
    assert 0.85 <= covered / 40 <= 1


def test_sparse_frames_and_arrays_give_the_same_and_seeds_count(real, tmp_path):
    generated = counts(300, np.random.default_rng(4))
    table = report(real, generated, log_normalize=True, min_mean=0.5)
    again = report(sp.csc_matrix(real), pd.DataFrame(generated), log_normalize=True, min_mean=0.5)
    pd.testing.assert_frame_equal(table, again, rtol=1e-4)
    other = report(real, generated, log_normalize=True, min_mean=0.5, seed=1)
    assert not np.allclose(table["estimate"], other["estimate"], rtol=1e-4)
    adata = anndata.AnnData(real, uns={"resampling": table})
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = anndata.read_h5ad(tmp_path / "a.h5ad").uns["resampling"]
    pd.testing.assert_frame_equal(table, kept, check_names=False)


def test_nothing_given_is_changed_and_subsets_are_drawn(real):
    before = real.copy()
    table = report(real, real[:100], max_cells=50)
    np.testing.assert_array_equal(real, before)
    assert np.isfinite(table.to_numpy()).all()


def test_real_values_without_zeros_and_two_features():
    rng = np.random.default_rng(0)
    table = report(rng.normal(size=(100, 2)), rng.normal(size=(100, 2)))
    assert "total_mean_ratio" not in table.index
    assert np.isnan(table.loc["gene_correlation", "estimate"])
    assert np.isfinite(table.drop(index="gene_correlation").to_numpy()).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generated": np.ones((30, 4))}, "features"),
        ({"generated": np.ones((19, 3))}, "generated has 19 cells.*20"),
        ({"real": np.ones(30)}, "real has 1 dimensions"),
        ({"real": np.full((30, 3), np.nan)}, "real has values that are NaN"),
        ({"real": np.ones((30, 3))}, "No feature of real varies"),
        ({"min_mean": 99}, "min_mean=99"),
        ({"min_cells": 31}, "min_cells=31"),
        ({"max_cells": 10}, "max_cells=10"),
        ({"generated": -np.ones((30, 3)), "log_normalize": True}, "generated has negative"),
        ({"n_splits": 1}, "n_splits=1"),
    ],
)
def test_mistakes_are_named(change, message):
    arguments = {
        "real": np.random.default_rng(0).poisson(1, (30, 3)),
        "generated": np.ones((30, 3)),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        report(**arguments)


def test_normalised_values_are_not_normalised_silently():
    counts = np.random.default_rng(0).poisson(2, (60, 4))
    with pytest.warns(UserWarning, match="real is not counts"):
        report(np.log1p(counts), counts, log_normalize=True)


def test_matrices_are_asked_for():
    cells = AnnData(np.ones((30, 3)))
    with pytest.raises(TypeError, match=r"real is an AnnData; pass its matrix, such as real\.X"):
        report(cells, cells)
