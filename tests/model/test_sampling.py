"""Paths between populations, options of samplers, and genes from components."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc

import scgde

from ..conftest import fit, normal_populations


@pytest.fixture
def flow():
    adata = normal_populations()
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, generator="flow_matching", n_latent=4, n_hidden=32)
    fit(model, max_steps=300, populations_per_batch=12, cells_per_population=30)
    return model


def test_a_path_leads_from_one_population_to_the_other(flow):
    path = flow.interpolate("p3", "p9", n_steps=5, n_cells=400)
    assert path.shape == (2_000, 5)
    assert list(np.unique(path.obs["position"])) == [0, 0.25, 0.5, 0.75, 1]
    assert path.obs["population"].cat.categories[0] == "p3 to p9, 0"
    means = [path.X[path.obs["position"] == t].mean(0) for t in (0, 0.5, 1)]
    real = [flow.adata[flow.adata.obs["population"] == p].X.mean(0) for p in ("p3", "p9")]
    apart = np.linalg.norm(real[0] - real[1])
    assert np.linalg.norm(means[0] - real[0]) < 0.3 * apart
    assert np.linalg.norm(means[2] - real[1]) < 0.3 * apart
    between = [np.linalg.norm(means[1] - r) for r in real]
    assert max(between) < 0.9 * apart
    ends = flow.get_population_embedding(populations=["p3", "p9"])
    np.testing.assert_allclose(path.uns["path"].iloc[[0, -1]], ends, rtol=1e-5)
    np.testing.assert_allclose(path.uns["path"].iloc[2], ends.mean(0), rtol=1e-5)


def test_a_path_is_seeded_and_survives_a_file(flow, tmp_path):
    path = flow.interpolate("p3", "p9", n_steps=3, n_cells=20, seed=4)
    again = flow.interpolate("p3", "p9", n_steps=3, n_cells=20, seed=4)
    assert np.array_equal(path.X, again.X)
    path.write_h5ad(tmp_path / "path.h5ad")


def test_a_path_between_batches_mixes_them():
    adata = normal_populations(6)
    adata.obs["lane"] = np.where(adata.obs["population"].isin(["p0", "p1", "p2"]), "a", "b")
    scgde.model.GDE.setup_anndata(adata, population_key="population", batch_key="lane")
    model = scgde.model.GDE(adata, n_latent=3, n_hidden=8)
    fit(model)
    path = model.interpolate("p0", "p5", n_steps=3, n_cells=400)
    share = (path.obs["lane"] == "b").groupby(path.obs["position"]).mean()
    assert share[0] == 0
    assert share[1] == 1
    assert share[0.5] == pytest.approx(0.5, abs=0.1)
    ends = path[path.obs["position"] == 0].X
    assert ends.mean(0) == pytest.approx(model.sample("p0", 400).X.mean(0), abs=1.0)


def test_a_population_twice_is_refused(flow):
    with pytest.raises(ValueError, match="'p3' twice"):
        flow.sample(["p3", "p3"], 5)
    with pytest.raises(ValueError, match="NaN"):
        flow.sample(np.full((1, 4), np.nan), 5)
    with pytest.raises(TypeError, match=r"n_cells=2\.5"):
        flow.sample("p3", 2.5)


def test_bad_paths(flow):
    with pytest.raises(KeyError, match="p77"):
        flow.interpolate("p3", "p77")
    with pytest.raises(ValueError, match="n_steps=1"):
        flow.interpolate("p3", "p9", n_steps=1)


def test_options_reach_the_sampler(flow):
    one, many = (flow.sample("p3", 200, n_steps=n, method="euler").X for n in (1, 30))
    assert not np.allclose(one, many)
    real = flow.adata[flow.adata.obs["population"] == "p3"].X
    # One step draws every cell where the mean velocity points: no spread of its own.
    assert abs(np.log(many.var() / real.var())) < abs(np.log(one.var() / real.var())) + 0.5


def test_unknown_options_are_named(flow):
    with pytest.raises(ValueError, match="n_steps"):
        flow.sample("p3", 10, n_step=5)
    with pytest.raises(ValueError, match="guidance_scale"):
        flow.sample("p3", 10, guidance_scale=2.0)


@pytest.fixture
def components(patients):
    sc.pp.normalize_total(patients, target_sum=1e4)
    sc.pp.log1p(patients)
    sc.pp.pca(patients, n_comps=15)
    scgde.model.GDE.setup_anndata(patients, population_key="donor", use_rep="X_pca")
    return patients


@pytest.mark.parametrize("generator", ["flow_matching", "ddpm", "energy"])
def test_components_of_real_cells_come_back_as_genes(components, generator):
    model = scgde.model.GDE(components, generator=generator, n_latent=8, n_hidden=64)
    fit(model, max_steps=400, populations_per_batch=15, cells_per_population=20)
    donor = components.obs["donor"].cat.categories[0]
    cells = model.sample(donor, 500, to_genes=True)
    real = components[components.obs["donor"] == donor]
    assert list(cells.var_names) == list(components.var_names)
    assert cells.obsm["X_pca"].shape == (500, 15)
    assert np.corrcoef(cells.X.mean(0), real.to_df().mean())[0, 1] > 0.95
    ratio = cells.obsm["X_pca"].var(0).sum() / real.obsm["X_pca"].var(0).sum()
    assert 0.5 < ratio < 2


def test_genes_that_were_not_in_the_pca_are_left_out(components):
    components.var["highly_variable"] = np.arange(60) < 40
    sc.pp.pca(components, n_comps=10)
    scgde.model.GDE.setup_anndata(components, population_key="donor", use_rep="X_pca")
    model = scgde.model.GDE(components, generator="energy", n_latent=4, n_hidden=8)
    fit(model)
    assert model.sample(n_cells=2, to_genes=True).shape == (30, 40)


def test_genes_are_refused_where_they_cannot_be_had(components, flow):
    with pytest.raises(ValueError, match="draws genes already"):
        flow.sample("p3", 5, to_genes=True)
    model = scgde.model.GDE(components, generator="energy", n_latent=4, n_hidden=8)
    fit(model)
    components.X = components.X * 2
    with pytest.raises(ValueError, match="changed after the PCA"):
        model.sample(n_cells=2, to_genes=True)
    del components.varm["PCs"]
    with pytest.raises(KeyError, match="PCs"):
        model.sample(n_cells=2, to_genes=True)


def test_real_generators_on_many_counts_point_to_components():
    adata = scgde.datasets.load("schulteschrepping2020")[:200].copy()
    scgde.model.GDE.setup_anndata(adata, population_key="donor")
    with pytest.warns(UserWarning, match="use_rep='X_pca'"):
        scgde.model.GDE(adata, generator="flow_matching", n_hidden=8)
