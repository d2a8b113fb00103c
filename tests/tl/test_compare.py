from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mudata import MuData
from scipy import stats

import scgde
from scgde.stats import hotelling_test

from ..conftest import fit, normal_populations


@pytest.fixture(scope="module")
def _study():
    """Twelve donors with two samples each, and a model whose embedding is a mean."""
    adata = normal_populations(24, n_cells=80)
    code = adata.obs["population"].astype(str).str[1:].astype(int).to_numpy()
    adata.obs["donor"] = [f"donor {i // 2}" for i in code]
    adata.obs["day"] = np.where(code % 2 == 0, "before", "after")
    adata.obs["arm"] = np.array(["a/1", "a 1", "b"], dtype=object)[code // 2 % 3]
    adata.obs["site"] = np.array(["x", "y"])[code // 12]
    scgde.model.GDE.setup_anndata(adata, population_key="population", donor_key="donor")
    model = scgde.model.GDE(adata, encoder="mean", n_latent=4, n_hidden=16)
    fit(model, max_steps=60)
    scgde.tl.embed_populations(adata, model, enable_progress_bar=False)
    return adata, model


@pytest.fixture
def study(_study):
    adata, model = _study
    return adata.copy(), model


def compare(adata, *args, **kwargs):
    options = {"n_permutations": 199, "n_bootstrap": 50, "enable_progress_bar": False}
    return scgde.tl.compare_populations(adata, *args, **{**options, **kwargs})


def test_a_pair_is_tested_in_axes_of_the_others(study):
    adata, _ = study
    row = compare(adata, "p3", "p7", n_dims=2, genes=False).loc["p7 vs p3"]
    z, covariance = adata.uns["gde"]["embedding"], adata.uns["gde"]["covariance"].astype(float)
    others = z.drop(["p3", "p7"]).to_numpy(dtype=float)
    axes = np.linalg.svd(others - others.mean(0))[2][:2].T
    d = (z.loc["p7"] - z.loc["p3"]).to_numpy(dtype=float) @ axes
    a, b = (axes.T @ covariance[z.index.get_loc(name)] @ axes for name in ("p3", "p7"))
    expected = hotelling_test(d, a, 80, b, 80)
    assert row["statistic"] == pytest.approx(expected.statistic)
    assert row["p_value"] == pytest.approx(expected.p_value)
    assert (row["n_dims"], row["axes"], row["n_a"]) == (2, "other populations", 80)
    direction = adata.uns["gde_comparison"]["directions"].loc["p7 vs p3"]
    assert np.linalg.norm(direction) == pytest.approx(1)
    scores = adata.uns["gde_comparison"]["scores"].set_index("unit")["score"]
    assert scores["p7"] == -scores["p3"] > 0


def test_samples_of_one_distribution_and_of_two(study):
    adata, model = study
    halves = adata[adata.obs["population"].isin(["p1", "p2", "p3"])].copy()
    rng = np.random.default_rng(0)
    half = rng.permutation(np.arange(halves.n_obs) % 2).astype(str)
    halves.obs["population"] = halves.obs["population"].astype(str) + "_" + half
    scgde.tl.embed_populations(halves, model)
    p = [compare(halves, f"p{i}_0", f"p{i}_1", genes=False)["p_value"].iloc[0] for i in (1, 2, 3)]
    assert min(p) > 0.01
    row = compare(halves, "p1_0", "p2_0", genes=False).iloc[0]
    assert row["p_value"] < 1e-6
    assert 0 < row["low"] < row["distance"] < row["high"]


def test_pairs_that_training_told_apart_are_warned_of(tmp_path):
    """An encoder may know the cells it was trained on by heart, and with them their populations."""
    adata = normal_populations(12, n_cells=80)
    adata.obs["arm"] = np.where(adata.obs["population"].isin([f"p{i}" for i in range(6)]), "a", "b")
    adata.obs["lane"] = np.where(np.arange(adata.n_obs) % 2, "left", "right")
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, encoder="mean", n_latent=4, n_hidden=16)
    fit(model, validation="cell", train_size=0.5)
    held_out = adata[np.sort(model.validation_indices)].copy()
    halves = adata.copy()
    halves.obs["population"] = halves.obs["population"].astype(str) + halves.obs["lane"]
    model.save(tmp_path / "model")
    model = scgde.model.GDE.load(tmp_path / "model", adata)
    for cells in (adata, held_out, halves):
        scgde.tl.embed_populations(cells, model, covariance=True)
    assert list(adata.uns["gde"]["trained_as"]) == list(adata.uns["gde"]["embedding"].index)
    assert set(held_out.uns["gde"]["trained_as"]) == {""}
    with pytest.warns(UserWarning, match="trained on cells of 'p3', 'p7'"):
        compare(adata, "p3", "p7", genes=False)
    with pytest.warns(UserWarning, match="p3left"):
        compare(halves, "p3left", "p7left", genes=False)
    adata.write_h5ad(tmp_path / "a.h5ad")
    with pytest.warns(UserWarning, match="trained on"):
        compare(anndata.read_h5ad(tmp_path / "a.h5ad"), "p3", "p7", genes=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(held_out, "p3", "p7", genes=False)
        compare(halves, "p3left", "p3right", genes=False)  # one population in training
        compare(adata, groupby="arm", genes=False)


def test_cells_of_one_name_are_told_apart():
    """Barcodes repeat from lane to lane, and "0", "1", ... where cells have no names."""
    adata = normal_populations(4, n_cells=40)
    adata.obs_names = [str(i % 40) for i in range(adata.n_obs)]
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, encoder="mean", n_latent=4, n_hidden=16)
    fit(model, train_size=1.0)
    scgde.tl.embed_populations(adata, model)
    assert list(adata.uns["gde"]["trained_as"]) == list(adata.uns["gde"]["embedding"].index)
    other = normal_populations(4, n_cells=40)
    other.obs_names = adata.obs_names
    other.X = other.X + np.random.default_rng(5).normal(size=other.shape).astype(np.float32)
    scgde.tl.embed_populations(other, model)
    assert set(other.uns["gde"]["trained_as"]) == {""}
    adata.X = sp.csr_matrix(adata.X)
    scgde.tl.embed_populations(adata, model)
    assert "" not in set(adata.uns["gde"]["trained_as"])


def test_training_that_goes_on_adds_to_what_was_seen():
    adata = normal_populations(4, n_cells=40)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, encoder="mean", n_latent=4, n_hidden=16)
    assert model.get_training_populations().isna().all()
    fit(model, validation="cell", train_size=0.5)
    seen = model.get_training_populations()
    assert seen.notna().sum() == len(model.train_indices)
    trained = model.train_indices
    fit(model)
    assert model.get_training_populations().equals(seen)  # the split is kept
    assert (seen.iloc[trained] == adata.obs["population"].iloc[trained].astype(str)).all()
    other = adata[np.sort(model.validation_indices)].copy()
    other.obs["population"] = "other"
    assert model.get_training_populations(other).isna().all()


def test_few_others_leave_the_axes_of_cells(study):
    adata, model = study
    two = adata[adata.obs["population"].isin(["p1", "p2", "p3"])].copy()
    scgde.tl.embed_populations(two, model)
    row = compare(two, "p1", "p2", genes=False).iloc[0]
    assert (row["axes"], row["n_dims"]) == ("cells", 2)  # one for each 30 cells


def test_influence_pulls_towards_b(study):
    adata, model = study
    compare(adata, "p3", "p7", model=model)
    influence = adata.obs["gde_comparison"]
    own = adata.obs["population"].isin(["p3", "p7"]).to_numpy()
    assert influence.notna().to_numpy().tolist() == own.tolist()
    # Of a population with its most b-like cells doubled the embedding lies further along.
    direction = adata.uns["gde_comparison"]["directions"].iloc[0].to_numpy()
    cells = np.flatnonzero(adata.obs["population"] == "p3")
    top = cells[np.argsort(influence.iloc[cells])[-20:]]
    more = anndata.concat([adata[cells], adata[top]], index_unique="-")
    moved = model.get_population_embedding(more).iloc[0] - adata.uns["gde"]["embedding"].loc["p3"]
    expected = influence.iloc[top].sum() / (len(cells) + len(top))
    assert moved @ direction == pytest.approx(expected, rel=0.2)
    genes = adata.uns["gde_comparison"]["genes"].set_index("gene")
    x = adata.to_df()[own]
    within = x - x.groupby(adata.obs["population"][own].to_numpy()).transform("mean")
    for gene in adata.var_names:
        expected = np.corrcoef(within[gene], influence[own])[0, 1]
        assert genes.loc[gene, "influence_correlation"] == pytest.approx(expected, abs=1e-3)


def test_genes_of_a_pair_are_tested_over_cells(patients):
    scgde.model.GDE.setup_anndata(patients, population_key="donor")
    model = scgde.model.GDE(patients, n_latent=4, n_hidden=8)
    fit(model)
    scgde.tl.embed_populations(patients, model)
    a, b = patients.obs["donor"].cat.categories[[0, 4]]
    compare(patients, a, b)
    genes = patients.uns["gde_comparison"]["genes"].set_index("gene")
    x = patients.X.toarray()
    x = np.log1p(1e4 * x / x.sum(1, keepdims=True))
    x, y = (x[(patients.obs["donor"] == name).to_numpy()] for name in (a, b))
    with np.errstate(invalid="ignore"):
        welch = stats.ttest_ind(y, x, equal_var=False)
    found = genes.loc[patients.var_names]
    varies = (x.var(0) > 0) | (y.var(0) > 0)
    np.testing.assert_allclose(found["t"][varies], welch.statistic[varies], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["difference"], y.mean(0) - x.mean(0), rtol=1e-3, atol=1e-5)
    adjusted = stats.false_discovery_control(found["p_value"].dropna())
    np.testing.assert_allclose(found["p_adjusted"].dropna(), adjusted)


@pytest.mark.parametrize("form", ["sparse", "backed"])
def test_genes_of_groups_are_tested_over_donors(study, tmp_path, form):
    adata, model = study
    adata = adata[adata.obs["arm"] != "b"].copy()
    scgde.tl.embed_populations(adata, model)
    compare(adata, groupby="arm", reference="a 1")
    dense = adata.uns["gde_comparison"]["genes"]
    means = adata.to_df().groupby(adata.obs["donor"].to_numpy()).mean()
    arm = adata.obs.drop_duplicates("donor").set_index("donor")["arm"][means.index]
    welch = stats.ttest_ind(means[arm == "a/1"], means[arm == "a 1"], equal_var=False)
    found = dense.set_index("gene").loc[adata.var_names]
    np.testing.assert_allclose(found["t"], welch.statistic, rtol=1e-4)
    np.testing.assert_allclose(found["p_value"], welch.pvalue, rtol=1e-4)
    adata.X = sp.csr_matrix(adata.X)
    if form == "backed":
        adata.write_h5ad(tmp_path / "a.h5ad")
        adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    compare(adata, groupby="arm", reference="a 1", model=model)
    again = adata.uns["gde_comparison"]["genes"]
    pd.testing.assert_frame_equal(
        again.drop(columns="influence_correlation"), dense, check_dtype=False, rtol=1e-4
    )


def test_donors_are_the_units(study):
    adata, model = study
    table = compare(adata, groupby="arm", correction="fdr", genes=False)
    assert table.index.tolist() == ["a/1 vs a 1", "b vs a 1", "b vs a/1"]
    assert table["n_a"].tolist() == table["n_b"].tolist() == [4, 4, 4]
    np.testing.assert_allclose(table["p_adjusted"], stats.false_discovery_control(table["p_value"]))
    # Populations as observations give the same test.
    of_populations = compare(model.get_population_adata(adata), groupby="arm", correction="fdr")
    pd.testing.assert_frame_equal(of_populations, table, rtol=1e-4)
    # A donor is the average of its cells, not of its samples.
    thinned = adata[~((adata.obs["population"] == "p0") & (np.arange(adata.n_obs) > 9))].copy()
    scgde.tl.embed_populations(thinned, model)
    compare(thinned, groupby="arm", genes=False)
    scores = thinned.uns["gde_comparison"]["scores"].set_index(["contrast", "unit"])["score"]
    thinned.obs["population"] = thinned.obs["donor"]
    direction = thinned.uns["gde_comparison"]["directions"].iloc[0]
    pooled = model.get_population_embedding(thinned.copy()) @ direction.to_numpy()
    own = scores.loc["a/1 vs a 1"]
    # The encoder is a mean of hidden states: that of the pooled cells is the weighted one.
    np.testing.assert_allclose(own - own.mean(), (pooled - pooled.mean())[own.index], atol=1e-4)


def test_a_difference_between_donors_is_found(study):
    adata, model = study
    arm = adata.obs["arm"].to_numpy()
    adata.X = adata.X + 12 * (arm == "b")[:, None].astype(np.float32)
    scgde.tl.embed_populations(adata, model)
    table = compare(adata, groupby="arm", reference="a 1", n_dims=2, model=model)
    # Of four against four donors few arrangements are as extreme.
    assert table.loc["b vs a 1", "p_value"] <= 0.06
    assert table.loc["b vs a 1", "distance"] > table.loc["a/1 vs a 1", "distance"]
    assert {"gde_comparison_0_a_1_vs_a_1", "gde_comparison_1_b_vs_a_1"} <= set(adata.obs)
    scores = adata.uns["gde_comparison"]["scores"]
    scores = scores[scores["contrast"] == "b vs a 1"].groupby("group")["score"].mean()
    assert scores["b"] > scores["a 1"]


def test_within_donors(study):
    adata, _ = study
    with pytest.raises(ValueError, match="block_key='donor'"):
        compare(adata, groupby="day")
    table = compare(adata, groupby="day", block_key="donor", reference="before")
    assert (table.index[0], table["n_a"].iloc[0]) == ("after vs before", 12)
    assert table["smallest_p_value"].iloc[0] == pytest.approx(1 / 200)
    genes = adata.uns["gde_comparison"]["genes"].set_index("gene")
    means = adata.to_df().groupby([adata.obs["day"].to_numpy(), adata.obs["donor"].to_numpy()])
    means = means.mean()
    paired = stats.ttest_rel(means.loc["after"], means.loc["before"])
    found = genes.loc[adata.var_names]
    np.testing.assert_allclose(found["t"], paired.statistic, rtol=1e-4)
    np.testing.assert_allclose(found["p_value"], paired.pvalue, rtol=1e-4)


def test_survives_writing_and_reproduces(study, tmp_path):
    adata, model = study
    options = {"groupby": "arm", "n_permutations": 99, "seed": 3}
    first = compare(adata, model=model, **options)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    for name in ("tests", "directions", "scores", "genes"):
        pd.testing.assert_frame_equal(
            again.uns["gde_comparison"][name],
            adata.uns["gde_comparison"][name],
            check_dtype=False,
        )
    obs_keys = list(again.uns["gde_comparison"]["params"]["obs_keys"])
    assert len(obs_keys) == 3
    assert set(obs_keys) <= set(again.obs)
    second = compare(again, **options)
    pd.testing.assert_frame_equal(second, first)


def test_few_donors_are_warned_of(study):
    adata, model = study
    few = adata[adata.obs["donor"].isin([f"donor {i}" for i in (0, 1, 3, 4)])].copy()
    scgde.tl.embed_populations(few, model)
    with pytest.warns(UserWarning, match="cannot fall below 0.33"):
        compare(few, groupby="arm", genes=False)
    # Two of each arm at each of two sites: 6 x 6 arrangements, of which two are mirror images.
    with pytest.warns(UserWarning, match="cannot fall below 0.056"):
        compare(adata, groupby="arm", block_key="site", genes=False)


def test_missing_groups_are_left_out(study):
    adata, model = study
    adata.obs["arm"] = adata.obs["arm"].where(adata.obs["arm"] != "b")
    table = compare(adata, groupby="arm", model=model)
    assert table.index.tolist() == ["a/1 vs a 1"]
    assert adata.obs["gde_comparison"].isna().sum() == 8 * 80


def test_mistakes_are_named(study):
    adata, model = study
    adata.obs["same"] = "x"
    adata.obs["rare"] = np.where(adata.obs["donor"] == "donor 1", "rare", adata.obs["arm"])
    with pytest.raises(ValueError, match="name either two populations"):
        compare(adata, "p1")
    with pytest.raises(ValueError, match="name either two populations"):
        compare(adata, "p1", "p2", groupby="arm")
    with pytest.raises(KeyError, match="Did you mean 'p10'"):
        compare(adata, "p1", "p100")
    with pytest.raises(ValueError, match="both 'p1'"):
        compare(adata, "p1", "p1")
    with pytest.raises(KeyError, match=r"groupby='arms'.*Did you mean 'arm'"):
        compare(adata, groupby="arms")
    with pytest.raises(KeyError, match="reference='c'"):
        compare(adata, groupby="arm", reference="c")
    with pytest.raises(ValueError, match="correction='bonferroni'"):
        compare(adata, groupby="arm", correction="bonferroni")
    with pytest.raises(ValueError, match="n_permutations=0"):
        compare(adata, groupby="arm", n_permutations=0)
    with pytest.raises(ValueError, match="never occur in the same block"):
        compare(adata, groupby="arm", block_key="donor")
    with pytest.raises(ValueError, match="varies within a donor"):
        compare(adata, groupby="arm", block_key="day")
    with pytest.raises(ValueError, match="needs two or more"):
        compare(adata, groupby="same")
    with pytest.raises(ValueError, match="fewer than two donors: 'rare'"):
        compare(adata, groupby="rare")
    adata.obs["donor"] = adata.obs["donor"].where(adata.obs["donor"] != "donor 1")
    with pytest.raises(ValueError, match="donor_key='donor' is missing"):
        compare(adata, groupby="arm")
    with pytest.raises(TypeError, match="MuData"):
        compare(MuData({"rna": adata}), groupby="arm")
    with pytest.raises(KeyError, match="sampling covariances"):
        compare(model.get_population_adata(adata), "p1", "p2")
    other = scgde.model.GDE(model.adata, encoder="mean", n_latent=2, n_hidden=8)
    with pytest.raises(ValueError, match="n_latent=2"):
        compare(adata, "p1", "p2", model=other)
    del adata.uns["gde"]["covariance"]
    with pytest.raises(KeyError, match="covariance=True"):
        compare(adata, "p1", "p2")


def test_a_pair_with_its_model_is_tested_by_the_bootstrap(study):
    adata, model = study
    plain = compare(adata, "p3", "p7", n_dims=2, genes=False).iloc[0]
    row = compare(adata, "p3", "p7", n_dims=2, genes=False, model=model).iloc[0]
    assert (plain["method"], row["method"]) == ("hotelling", "bootstrap-t")
    assert plain["p_value"] == plain["p_hotelling"] == row["p_hotelling"]
    # No draw of 50 is as far apart as these.
    assert row["p_value"] == row["p_adjusted"] == pytest.approx(1 / 51)
    own = adata[adata.obs["population"].isin(["p3", "p4", "p7"])].copy()
    at = np.flatnonzero(own.obs["population"] == "p3")
    own.obs["population"] = own.obs["population"].astype(str)
    own.obs.iloc[at[::2], own.obs.columns.get_loc("population")] = "half"
    scgde.tl.embed_populations(own, model)
    alike = compare(own, "half", "p3", genes=False, model=model, n_bootstrap=400).iloc[0]
    assert alike["p_value"] == pytest.approx(alike["p_hotelling"], abs=0.03)
    assert alike["p_value"] > 0.01


def test_the_second_population_may_come_first_in_the_data(patients):
    scgde.model.GDE.setup_anndata(patients, population_key="donor")
    model = scgde.model.GDE(patients, n_latent=4, n_hidden=8)
    fit(model)
    b, a = patients.obs["donor"].cat.categories[[0, 4]]
    fewer = (patients.obs["donor"] != b) | (np.arange(patients.n_obs) % 3 == 0)
    adata = patients[fewer].copy()
    scgde.tl.embed_populations(adata, model)
    row = compare(adata, a, b).iloc[0]
    x = adata.X.toarray()
    x = np.log1p(1e4 * x / x.sum(1, keepdims=True))
    x, y = (x[(adata.obs["donor"] == name).to_numpy()] for name in (a, b))
    assert (row["n_a"], row["n_b"]) == (len(x), len(y))
    assert len(x) != len(y)
    with np.errstate(invalid="ignore", divide="ignore"):
        welch = stats.ttest_ind(y, x, equal_var=False)
    found = adata.uns["gde_comparison"]["genes"].set_index("gene").loc[adata.var_names]
    varies = (x.var(0) > 0) | (y.var(0) > 0)
    np.testing.assert_allclose(found["t"][varies], welch.statistic[varies], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("of", ["cells", "donors", "donors in blocks"])
def test_genes_that_differ_between_constant_sides(study, of):
    adata, model = study
    after = (adata.obs["day"] == "after").to_numpy()
    adata.X[:, 0] = np.where(after, 0.1, 0.3)
    adata.X[:, 1] = 0.1
    scgde.tl.embed_populations(adata, model)
    if of == "cells":
        fewer = adata[(adata.obs["population"] != "p3") | (np.arange(adata.n_obs) % 3 == 0)].copy()
        scgde.tl.embed_populations(fewer, model)
        compare(fewer, "p2", "p3")
        adata = fewer
    elif of == "donors":
        adata.obs["donor"] = adata.obs["population"]
        compare(adata, groupby="day", reference="before")
    else:
        compare(adata, groupby="day", reference="before", block_key="donor")
    genes = adata.uns["gde_comparison"]["genes"].set_index("gene")
    first, second = (genes.loc[name] for name in adata.var_names[:2])
    assert (first["t"], first["p_value"], first["p_adjusted"]) == (-np.inf, 0, 0)
    assert np.isnan([second["t"], second["p_value"]]).all()


def test_another_model_of_the_same_size_is_noticed(study):
    adata, model = study
    other = scgde.model.GDE(model.adata, encoder="mean", n_latent=4, n_hidden=16)
    fit(other, max_steps=1)
    for options in ({"groupby": "arm"}, {"a": "p1", "b": "p2"}):
        with pytest.raises(ValueError, match="otherwise than adata"):
            compare(adata, model=other, genes=False, **options)
    assert "gde_comparison" not in adata.uns


def test_columns_of_the_comparison_before_are_dropped(study):
    adata, model = study
    before = set(adata.obs)
    compare(adata, groupby="arm", model=model, genes=False)
    assert len(set(adata.obs) - before) == 3
    compare(adata, "p1", "p2", model=model, genes=False)
    assert set(adata.obs) - before == {"gde_comparison"}
    compare(adata, "p1", "p2", genes=False)
    assert set(adata.obs) == before


def test_names_that_are_numbers(study):
    adata, model = study
    adata.obs["dose"] = adata.obs["arm"].map({"a 1": 1.0, "a/1": 2.0, "b": 3.0})
    assert compare(adata, groupby="dose", reference=1.0, genes=False)["a"].tolist() == ["1", "1"]
    adata.obs["population"] = adata.obs["population"].astype(str).str[1:].astype(int)
    scgde.tl.embed_populations(adata, model)
    compare(adata, 0, 1, genes=False)
    params = adata.uns["gde_comparison"]["params"]
    assert (params["a"], params["b"]) == ("0", "1")


def test_few_donors_of_a_wide_spread_are_warned_of(study):
    adata, model = study
    name = adata.obs["donor"].astype(str)
    adata.obs["arm"] = np.where(name.isin(["donor 0", "donor 1", "donor 2", "donor 3"]), "few", "x")
    number = name.str[6:].astype(int).to_numpy()[:, None]
    adata.X = np.where(number < 4, 3, 0.3).astype(np.float32) * adata.X
    scgde.tl.embed_populations(adata, model)
    with pytest.warns(UserWarning, match="'x vs few': the group of fewer donors"):
        compare(adata, groupby="arm", genes=False)
    adata.X = np.where(number < 4, 0.1, 10).astype(np.float32) * adata.X
    scgde.tl.embed_populations(adata, model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(adata, groupby="arm", genes=False)
