from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import scgde
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
    adata.uns["result"] = dimension(
        adata, methods=("dpa", "twonn", "gride", "mle"), dpa_kwargs={"n_steps": 500}
    )
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
    assert result.loc["line", "dpa_above_noise"] <= 2
    assert 3 <= result.loc["cube", "dpa_knee"] <= 6
    profile = details["profile"]
    assert set(profile["population"]) == set(result.index)
    line = profile[profile["population"] == "line"].set_index("k")
    assert line.loc[1, "unexplained"] < 0.1 < line.loc[1, "null_unexplained"]
    # Only neighbour estimators make the consensus.
    median = result[["twonn", "gride", "mle"]].median(axis=1)
    np.testing.assert_allclose(result["estimate"], median)


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


def test_results_survive_a_file(analysed, tmp_path):
    analysed.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    kept = again.uns["intrinsic_dimension"]
    pd.testing.assert_frame_equal(kept, analysed.uns["intrinsic_dimension"])
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


def test_sparse_dense_backed_and_views_agree(tmp_path):
    adata = counts()
    options = {"methods": "twonn", "null": None, "n_subsamples": 4}
    expected = dimension(adata, "sample", **options)
    assert expected["null"].isna().all()
    dense = adata.copy()
    dense.X = dense.X.toarray()
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    more = anndata.concat([adata, counts(seed=1)], index_unique="-")
    for other in (dense, backed, more[: adata.n_obs]):
        found = dimension(other, "sample", **options)
        np.testing.assert_allclose(found["estimate"], expected["estimate"], rtol=1e-4)


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
    options = {"methods": "twonn", "null": None, "n_subsamples": 4, "n_permutations": 999}
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
    with pytest.raises(KeyError, match=r"groupby='half'.*constant within populations"):
        dimension(adata, groupby="half", methods="twonn", null=None, n_subsamples=4)
    adata.obsm["X_shape"][3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        dimension(adata)
