from __future__ import annotations

from importlib import import_module

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import scgde
from scgde.data import log_normalized
from scgde.tl._intrinsic_dimension_cells import DimensionCells, _distinct
from scgde.tl._intrinsic_dimension_profile import _next_latents
from scgde.train import fit_dpa

N = 103  # one of the sizes that curves are simulated for, and so is its half, but for rounding


def shapes(n=N, seed=0) -> AnnData:
    """Populations on a line, a plane and a cube of five dimensions, in ten, in ``.obsm``."""
    rng = np.random.default_rng(seed)
    dimensions = {"line": 1, "plane": 2, "cube": 5}
    x = np.concatenate(
        [rng.uniform(size=(n, d)) @ rng.normal(size=(d, 10)) for d in dimensions.values()]
    )
    adata = AnnData(np.zeros((len(x), 1), np.float32))
    adata.obs["shape"] = pd.Categorical(np.repeat(list(dimensions), n))
    adata.obsm["X_shape"] = x
    return adata


def dimension(adata, key="shape", **kwargs):
    options = {"methods": ("twonn", "gride", "mle"), "n_nulls": 3, "n_subsamples": 12}
    options |= {"use_rep": "X_shape"} if "X_shape" in adata.obsm else {}
    return scgde.tl.intrinsic_dimension(
        adata, key, enable_progress_bar=False, **{**options, **kwargs}
    )


@pytest.fixture(scope="module")
def analysed():
    adata = shapes()
    with pytest.warns(UserWarning, match="keep their variances") as warned:
        dimension(adata, methods=("dpa", "twonn", "gride", "mle"), dpa_kwargs={"n_steps": 500})
    assert len([w for w in warned if "keep their variances" in str(w.message)]) == 1
    return adata


def test_known_shapes(analysed):
    result = analysed.uns["intrinsic_dimension"]
    truth = pd.Series({"cube": 5, "line": 1, "plane": 2})
    assert list(result.index) == list(truth.index)
    np.testing.assert_allclose(result["estimate"], truth, rtol=0.25)
    # Intervals are of the sampling error; a bias of a tenth comes on top.
    assert ((0.9 * result["low"] <= truth) & (truth <= 1.1 * result["high"])).all()
    assert (result["n_cells"] == N).all()
    # Permuted columns of a line have the ten dimensions of the columns.
    assert (result["null"] > 1.5 * truth).all()
    assert result["reasoning"].str.contains("features hang together").all()


def test_the_autoencoder_stands_beside(analysed):
    result, details = (
        analysed.uns[k] for k in ("intrinsic_dimension", "intrinsic_dimension_details")
    )
    assert result.loc["line", "dpa_knee"] <= 2
    assert 3 <= result.loc["cube", "dpa_knee"] <= 6
    profile = details["profile"]
    assert set(profile["population"]) == set(result.index)
    line = profile[profile["population"] == "line"].set_index("k")
    assert line.loc[1, "unexplained"] < 0.1 < line.loc[1, "null_unexplained"]
    # Only neighbour estimators make the consensus.
    median = result[["twonn", "gride", "mle"]].median(axis=1)
    np.testing.assert_allclose(result["estimate"], median)


def test_noise_is_not_counted_of_a_representation(analysed):
    """Permuted principal components have the spectrum of the components."""
    result = analysed.uns["intrinsic_dimension"]
    columns = [c for c in result if "above_noise" in c]
    assert {"above_noise", "pca_above_noise", "dpa_above_noise"} <= set(columns)
    assert result[columns].isna().all(axis=None)
    assert result["reasoning"].str.contains("no dimension above noise of a repr").all()


def test_the_next_latent_is_tested_given_those_before_it(analysed):
    # A fifth of N cells is too few for the test.
    assert analysed.uns["intrinsic_dimension"]["dpa_next_latent"].isna().all()
    rng = np.random.default_rng(0)
    across = rng.uniform(-1, 1, (2, 500, 2)).astype(np.float32)
    across[0, :, 1] = 0
    sets = list(across @ rng.normal(size=(2, 4)).astype(np.float32))
    fit = fit_dpa(sets, n_latent=3, n_hidden=32, n_noise=8, n_steps=600, enable_progress_bar=False)
    both = np.arange(2)
    line, plane = _next_latents(fit, sets, both, np.array([1.0, 1.0]))
    assert line > 0.05
    assert plane == 0.01  # the least that 99 draws can give
    assert np.isnan(_next_latents(fit, sets, both, np.array([3.0, 3.0]))).all()
    # 100 cells are held out: enough for two latents, none of them conditioned on with 40 a piece
    # when there are three.
    few = fit_dpa(
        [x[:250] for x in sets],
        n_latent=4,
        n_hidden=8,
        n_noise=8,
        n_steps=5,
        held_out=0.4,
        enable_progress_bar=False,
    )
    known = _next_latents(few, [x[:250] for x in sets], both, np.array([2.0, 3.0]))
    assert np.isfinite(known[0])
    assert np.isnan(known[1])


def test_results_survive_a_file(analysed, tmp_path):
    analysed.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    kept = again.uns["intrinsic_dimension"]
    pd.testing.assert_frame_equal(kept, analysed.uns["intrinsic_dimension"])
    assert kept["reasoning"].str.contains("; ").all()
    for name in ("methods", "profile"):
        pd.testing.assert_frame_equal(
            again.uns["intrinsic_dimension_details"][name],
            analysed.uns["intrinsic_dimension_details"][name],
        )


def counts(n=N, n_genes=30, seed=0, rate=1.0) -> AnnData:
    """Counts of a population whose genes follow two programmes, and of one whose genes do not."""
    rng = np.random.default_rng(seed)
    programmes = np.exp(rate * rng.normal(size=(n, 2)) @ rng.normal(size=(2, n_genes)))
    x = np.concatenate([rng.poisson(8 * programmes), rng.poisson(8, (n, n_genes))])
    adata = AnnData(sp.csr_matrix(x.astype(np.float32)))
    adata.obs["sample"] = np.repeat(["programmes", "noise"], n)
    return adata


def test_dimension_above_noise_of_counts():
    adata = counts()
    before = adata.X.copy()
    result = dimension(adata, "sample", methods="twonn", n_nulls=6)
    assert result.loc["noise", "above_noise"] <= 1
    assert 2 <= result.loc["programmes", "above_noise"] <= 4
    assert result.loc["programmes", "estimate"] < result.loc["noise", "estimate"]
    assert (before != adata.X).nnz == 0
    assert set(adata.obs) == {"sample"}


def test_depth_is_not_a_dimension_above_noise():
    """Genes that are independent, in cells of different depth."""
    rng = np.random.default_rng(0)
    rate, depth = np.exp(rng.normal(size=100)), np.exp(0.6 * rng.normal(size=(4 * N, 1)))
    adata = AnnData(sp.csr_matrix(rng.poisson(2 * rate * depth).astype(np.float32)))
    adata.obs["sample"] = np.repeat(list("abcd"), N)
    assert (dimension(adata, "sample", methods="twonn", n_nulls=6)["above_noise"] == 0).all()
    # Where totals are not known, depth is a dimension.
    log_normalised = adata.copy()
    log_normalised.X = log_normalized(adata.X)
    found = dimension(log_normalised, "sample", methods="twonn", n_nulls=6)
    assert (found["above_noise"] >= 1).all()


def test_the_null_keeps_what_depth_says_and_nothing_else():
    rng = np.random.default_rng(0)
    depth = np.exp(0.6 * rng.normal(size=(2_000, 1)))
    x = rng.poisson(depth * np.append([0.3, 1, 3, 3, 3], np.full(100, 3.0)))
    x[:, 4] = x[:, 3]  # two genes that hang together
    cells = DimensionCells(sp.csr_matrix(x.astype(np.float32)), True, 0)
    real, null = cells.values(np.arange(2_000)), cells.null(2_000, np.random.default_rng(1))
    # The null's cells are these, in the order in which the generator draws them.
    total = x.sum(1)[np.random.default_rng(1).permutation(2_000)]
    deepest, shallowest = total > np.quantile(total, 0.8), total < np.quantile(total, 0.2)
    of_real = x.sum(1) > np.quantile(total, 0.8), x.sum(1) < np.quantile(total, 0.2)
    np.testing.assert_allclose(null[deepest].mean(0), real[of_real[0]].mean(0), rtol=0.05)
    np.testing.assert_allclose(null[shallowest].mean(0), real[of_real[1]].mean(0), rtol=0.05)
    assert np.corrcoef(real.T)[3, 4] > 0.99
    assert abs(np.corrcoef(null.T)[3, 4]) < 0.35
    shared = np.repeat(rng.poisson(3, (2_000, 1)), 4, axis=1)  # genes that hang together
    null = DimensionCells(rng.binomial(shared, 0.5).astype(np.float32), False, 0).null(2_000, rng)
    assert np.abs(np.corrcoef(null.T) - np.eye(4)).max() < 0.1


def test_pure_noise_lies_within_its_null():
    """Both are held to the twenty components only after they are compared."""
    rng = np.random.default_rng(0)
    adata = AnnData(rng.normal(size=(12 * N, 60)).astype(np.float32))
    adata.obs["sample"] = np.repeat(list("abcdefghijkl"), N)
    result = dimension(adata, "sample", n_components=20)
    assert (result["estimate"] <= 20).all()
    assert (result["null_high"] <= 20).all()
    assert result["reasoning"].str.contains("no structure seen").sum() >= 10  # of 12 at 95 %
    width = result["null_high"] - result["null_low"]
    assert ((width > 0) | (result["null_low"] == 20)).all()


def test_repeats_are_found_in_any_storage():
    x = np.array([[1, 0, 2], [2, 0, 4], [1, 0, 2], [0, 0, 0], [-0.0, 0, 0]], np.float32)
    stored = sp.csr_matrix(x)
    stored[3, 1] = 5
    stored[3, 1] = 0  # a zero that is stored
    for rows in (x, stored):
        assert _distinct(rows).tolist() == [0, 1, 3]


def test_sparse_dense_and_backed_agree(tmp_path):
    adata = counts()
    options = {"methods": "twonn", "null": None, "n_subsamples": 8}
    expected = dimension(adata, "sample", **options)
    assert expected["null"].isna().all()
    dense = adata.copy()
    dense.X = dense.X.toarray()
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for other in (dense, backed):
        found = dimension(other, "sample", **options)
        np.testing.assert_allclose(found["estimate"], expected["estimate"], rtol=1e-4)
    # A view cannot be written to.
    with pytest.raises(ValueError, match=r"adata is a view.*adata\.copy\(\)"):
        dimension(adata[:100], "sample", **options)


def test_groups_survive_a_file(tmp_path):
    adata = cohort(0, 3)
    arms(adata, donor_key="donor")
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad").uns["intrinsic_dimension_details"]
    details = adata.uns["intrinsic_dimension_details"]
    pd.testing.assert_frame_equal(again["groups"], details["groups"])
    assert set(again["params"]) == set(details["params"])
    assert again["params"]["n_permutations"] == 999


def cohort(seed, effect, n_donors=6) -> AnnData:
    """Donors of two arms; the second arm's cells have more dimensions."""
    rng = np.random.default_rng(seed)
    parts, rows = [], []
    for donor in range(2 * n_donors):
        d = 2 + effect * (donor >= n_donors)
        x = np.zeros((60, 8))
        x[:, :d] = rng.uniform(size=(60, d))
        parts.append(x)
        rows += [(f"d{donor}", "ab"[donor >= n_donors])] * 60
    adata = AnnData(np.zeros((len(rows), 1), np.float32))
    adata.obs[["donor", "arm"]] = rows
    adata.obsm["X_shape"] = np.concatenate(parts)
    return adata


def arms(adata, **kwargs):
    options = {"methods": "twonn", "null": None, "n_subsamples": 8, "n_permutations": 999}
    dimension(adata, "donor", **{**options, "groupby": "arm", **kwargs})
    return adata.uns["intrinsic_dimension_details"]["groups"].iloc[0]


def test_arms_that_differ_are_found():
    found = arms(cohort(0, 3))
    assert found["p_value"] <= 0.01
    assert 1 < found["low"] < found["difference"] < found["high"]
    assert (found["n_donors_1"], found["n_donors_2"]) == (6, 6)


def test_arms_that_do_not_differ_are_not():
    p_values = np.array([arms(cohort(seed, 0))["p_value"] for seed in range(8)])
    assert (p_values <= 0.05).sum() <= 2  # P(more of 8 at 5 %) = .006


def test_the_donor_is_the_unit():
    adata = cohort(0, 3, n_donors=4)
    number = adata.obs["donor"].str[1:].astype(int) // 2
    adata.obs["patient"] = number.astype(str)
    found = arms(adata, donor_key="patient")
    assert (found["n_donors_1"], found["n_donors_2"]) == (2, 2)
    # Of four donors, two a group, there are six arrangements, in pairs that mirror each other.
    assert found["smallest_p_value"] == pytest.approx(1 / 3)
    adata.obs["block"] = (number % 2).astype(str)
    assert np.isfinite(arms(adata, donor_key="patient", block_key="block")["low"])


def never(*args, **kwargs):
    raise AssertionError("something was estimated or trained before arguments were checked")


@pytest.fixture
def nothing_is_estimated(monkeypatch):
    where = import_module("scgde.tl._intrinsic_dimension")
    monkeypatch.setattr(where, "local_dimensions", never)
    monkeypatch.setattr(where, "dpa_dimensions", never)


def test_groups_and_blocks_that_cannot_be_told_apart(nothing_is_estimated):
    adata = cohort(0, 3)
    adata.obs["site"] = adata.obs["arm"]
    with pytest.raises(ValueError, match=r"block_key='site'.*cannot be told apart"):
        arms(adata, block_key="site")
    adata.obs["own"] = adata.obs["donor"]
    with pytest.raises(ValueError, match=r"block_key='own'.*cannot be told apart"):
        arms(adata, block_key="own")


def test_donors_are_averaged_over_the_same_populations(nothing_is_estimated):
    """A cell type that some donors lack would be a difference of the others."""
    adata = cohort(0, 0)
    adata.obs["ct"] = np.tile(np.repeat(["A", "B"], 30), 12)
    adata = anndata.concat([adata] * 4, index_unique="-")
    adata.obsm["X_shape"] = adata.obsm["X_shape"] + 0.01 * np.random.default_rng(0).normal(
        size=adata.obsm["X_shape"].shape
    )
    keys = ["donor", "ct"]
    lacks = adata[(adata.obs["donor"] != "d7") | (adata.obs["ct"] == "A")].copy()
    options = {"groupby": "arm", "donor_key": "donor", "methods": "twonn", "null": None}
    with pytest.raises(ValueError, match=r"'d7' has no population of ct='B'"):
        dimension(lacks, keys, **options)
    with pytest.raises(AssertionError, match="estimated"):  # complete: on to the estimates
        dimension(adata, keys, **options)
    # A population of too few cells is lacking, too.
    few = adata[
        (adata.obs["donor"] != "d7") | (adata.obs["ct"] == "A") | (np.arange(len(adata)) % 4 == 0)
    ]
    with (
        pytest.warns(UserWarning, match="get no estimate"),
        pytest.raises(ValueError, match=r"'d7' has no population of ct='B'"),
    ):
        dimension(few.copy(), keys, n_cells=50, **options)
    # Twice as many samples of one cell type change a donor's mean, too.
    adata.obs["sample"] = adata.obs["donor"] + adata.obs["ct"]
    twice = (adata.obs["sample"] == "d7A") & (np.arange(len(adata)) % 2 == 0)
    split = adata.copy()
    split.obs["sample"] = np.where(twice, "d7A2", adata.obs["sample"])
    with pytest.raises(ValueError, match=r"'d7' has another share of populations of ct='[AB]'"):
        dimension(split, ["sample", "ct"], n_cells=50, **options)
    # Samples are of one donor each, and the arm's site is of the donor as a whole.
    adata.obs["site"] = np.where(adata.obs["donor"].isin(["d1", "d8"]), "x", "y")
    with pytest.raises(AssertionError, match="estimated"):
        dimension(adata, ["sample", "site"], **options)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_cells": 60.5}, TypeError, "n_cells=60.5"),
        ({"n_cells": 0}, ValueError, "n_cells=0"),
        ({"n_nulls": 2.5}, TypeError, "n_nulls=2.5"),
        ({"n_subsamples": 7}, ValueError, "n_subsamples=7 must be 8 or more"),
        ({"groupby": "age"}, KeyError, "groupby='age'"),
        ({"groupby": "arm", "donor_key": "age"}, KeyError, "donor_key='age'"),
        ({"groupby": "donor"}, ValueError, "two donors or more each"),
        ({"donor_key": "donor"}, ValueError, "name its groupby"),
        ({"dpa_kwargs": {"seed": 3}}, ValueError, "dpa_kwargs='seed'"),
        ({"dpa_kwargs": {"n_steps": 0}}, ValueError, "dpa_kwargs: n_steps=0"),
        ({"dpa_kwargs": {"n_starts": 1.5}}, TypeError, "dpa_kwargs: n_starts=1.5"),
        ({"dpa_kwargs": {"beta": 3}}, ValueError, "dpa_kwargs: beta=3"),
        ({"dpa_kwargs": {"n_nulls": 1}}, ValueError, "dpa_kwargs: .*2 or more"),
        ({"dpa_kwargs": {"held_out": 0.01}}, ValueError, "dpa_kwargs: held_out=0.01"),
        ({"dpa_kwargs": {"held_out": 1}}, ValueError, "dpa_kwargs: held_out=1"),
    ],
)
def test_mistakes_are_named_before_anything_runs(nothing_is_estimated, change, error, message):
    with pytest.raises(error, match=message):
        dimension(cohort(0, 0), "donor", **{"methods": ("dpa", "twonn"), **change})


def test_subsamples_and_nulls_of_autoencoders_are_compared_like_with_like(monkeypatch):
    sizes = []

    def fitted(sets, **kwargs):
        sizes.extend(len(x) for x in sets)
        return fit_dpa(sets, **kwargs)

    monkeypatch.setattr("scgde.tl._intrinsic_dimension_profile.fit_dpa", fitted)
    adata = counts()
    kwargs = {"n_steps": 5, "n_subsamples": 2, "n_nulls": 3, "n_starts": 2, "levels_per_step": None}
    options = {"methods": ("dpa", "twonn"), "n_subsamples": 8, "dpa_kwargs": kwargs}
    found = dimension(adata, "sample", **options)
    assert sizes == 2 * ([N] + 2 * [N // 2] + 3 * [N] + 3 * [N // 2])
    assert found["dpa_above_noise"].notna().all()
    assert found["above_noise"].notna().all()


def test_a_seed_reproduces():
    adata = shapes()
    first = dimension(adata, seed=3, methods="twonn")
    pd.testing.assert_frame_equal(dimension(adata, seed=3, methods="twonn"), first)
    assert (dimension(adata, seed=4, methods="twonn")["low"] != first["low"]).any()


def test_small_populations_are_named():
    adata = shapes()
    few = adata[(adata.obs["shape"] != "line") | (np.arange(adata.n_obs) < 30)].copy()
    with pytest.raises(ValueError, match=r"'line'.*n_cells=50"):
        dimension(few)
    with pytest.warns(UserWarning, match="'line'"):
        result = dimension(few, n_cells=80, methods="twonn")
    assert np.isnan(result.loc["line", "estimate"])
    assert "no estimate" in result.loc["line", "reasoning"]
    assert result.loc["line", "n_cells"] == 0
    with pytest.raises(ValueError, match="too few"):
        dimension(adata, n_cells=20)
    repeated = anndata.concat([adata, adata], index_unique="-")
    with pytest.warns(UserWarning, match="repeats another"):
        found = dimension(repeated, methods="twonn")
    assert (found["n_cells"] == N).all()


def test_mistakes_are_named():
    adata = shapes()
    with pytest.raises(ValueError, match="Did you mean 'twonn'"):
        dimension(adata, methods=("twoNN",))
    with pytest.raises(ValueError, match="neighbour estimator"):
        dimension(adata, methods=("dpa",))
    with pytest.raises(KeyError, match="population_key='donor'"):
        dimension(adata, "donor")
    with pytest.raises(ValueError, match="n_nulls"):
        dimension(adata, n_nulls=1)
    with pytest.raises(ValueError, match="dpa_kwargs"):
        dimension(adata, dpa_kwargs={"n_step": 3})
    adata.obs["half"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    with pytest.raises(KeyError, match=r"groupby='half' varies within populations"):
        dimension(adata, groupby="half", methods="twonn", null=None)
    adata.obsm["X_shape"][3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        dimension(adata)
