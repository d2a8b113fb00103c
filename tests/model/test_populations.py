from __future__ import annotations

import anndata
import numpy as np
import pytest
import scanpy as sc
from mudata import MuData
from scipy.spatial.distance import pdist

import scgde

from ..conftest import fit

GDE = scgde.model.GDE


def test_embedding_is_a_table_of_populations(trained):
    z = trained.get_population_embedding()
    assert z.shape == (15, 6)
    assert z.index.name == "population"
    some = trained.get_population_embedding(populations=["C19-CB-0204", "C19-CB-0002"])
    assert list(some.index) == ["C19-CB-0204", "C19-CB-0002"]
    np.testing.assert_allclose(some, z.loc[some.index], rtol=1e-4, atol=1e-6)


def test_population_adata_is_ready_for_scanpy(patients, tmp_path):
    GDE.setup_anndata(patients, population_key="donor", labels_key="severity")
    model = GDE(patients, n_latent=64, n_hidden=16)  # more than scanpy's 50 components
    fit(model)
    populations = model.get_population_adata()
    assert populations.shape == (15, 64)
    assert populations.obs["severity"].value_counts().to_dict() == {"severe": 10, "mild": 5}
    np.testing.assert_allclose(
        pdist(populations.obsm["X_pca"]), pdist(populations.X), rtol=1e-3, atol=1e-5
    )
    assert (populations.obs["n_cells"] == 40).all()
    sc.pp.neighbors(populations, n_neighbors=5)
    sc.tl.umap(populations)
    populations.write_h5ad(tmp_path / "p.h5ad")
    assert anndata.read_h5ad(tmp_path / "p.h5ad").uns["gde_params"]["n_latent"] == 64


def test_several_keys_make_populations_of_combinations(patients):
    patients.obs["half"] = np.where(np.arange(patients.n_obs) % 2, "a", "b")
    GDE.setup_anndata(patients, population_key=["donor", "half"], donor_key="donor")
    model = GDE(patients, n_latent=4, n_hidden=8)
    fit(model)
    table = model.get_population_table()
    assert len(table) == 30
    assert table.loc["C19-CB-0002|a", "half"] == "a"
    assert table.loc["C19-CB-0002|a", "donor"] == "C19-CB-0002"


def test_view_is_embedded_as_a_copy(trained):
    view = trained.adata[trained.adata.obs["donor"] == "C19-CB-0002"]
    z = trained.get_population_embedding(view)
    np.testing.assert_allclose(
        z, trained.get_population_embedding(populations="C19-CB-0002"), rtol=1e-4, atol=1e-6
    )


def test_sampling(trained):
    cells = trained.sample(["C19-CB-0002", "C19-CB-0204"], n_cells=30)
    assert cells.shape == (60, 60)
    assert cells.obs["population"].value_counts().tolist() == [30, 30]
    assert "donor" in cells.obs
    assert cells.obs_names.is_unique
    assert (cells.X.data == np.rint(cells.X.data)).all()
    assert list(cells.var_names) == list(trained.adata.var_names)
    again = trained.sample(["C19-CB-0002", "C19-CB-0204"], n_cells=30)
    assert (again.X != cells.X).nnz == 0
    other = trained.sample(["C19-CB-0002", "C19-CB-0204"], n_cells=30, seed=5)
    assert (other.X != cells.X).nnz > 0


def test_sampling_from_embeddings(trained):
    z = trained.get_population_embedding(populations=["C19-CB-0002"])
    by_name = trained.sample("C19-CB-0002", 20)
    by_vector = trained.sample(z, 20)
    assert (by_name.X != by_vector.X).nnz == 0
    assert trained.sample(z.to_numpy(), 4).obs["population"].unique().tolist() == ["population_0"]
    with pytest.raises(ValueError, match="n_latent=6"):
        trained.sample(z.to_numpy()[:, :3])


def test_batches_of_generated_cells(patients):
    patients.obs["plate"] = np.where(np.arange(patients.n_obs) % 4, "one", "two")
    GDE.setup_anndata(patients, population_key="donor", batch_key="plate")
    model = GDE(patients, n_latent=4, n_hidden=8)
    fit(model)
    as_observed = model.sample("C19-CB-0002", 400).obs["plate"]
    assert 0.65 < (as_observed == "one").mean() < 0.85
    assert (model.sample("C19-CB-0002", 10, batch="two").obs["plate"] == "two").all()
    with pytest.raises(KeyError, match="Did you mean 'two'"):
        model.sample("C19-CB-0002", 10, batch="tow")
    assert model.sample(model.get_population_embedding().iloc[:1], 5).obs["plate"].isna().all()
    # New data from another plate embeds: the encoder does not see batches.
    patients.obs["plate"] = "three"
    new = patients.copy()
    with pytest.warns(UserWarning, match="'three' did not occur"):
        z = model.get_population_embedding(new)
    assert np.isfinite(z).all(None)


def test_mudata(patients, tmp_path):
    mdata = MuData({"rna": patients[:, :40].copy(), "protein": patients[:, 40:].copy()})
    for key in ("donor", "severity"):
        mdata.obs[key] = patients.obs[key]
    GDE.setup_mudata(
        mdata, population_key="donor", labels_key="severity", modalities={"layer": "rna"}
    )
    model = GDE(mdata, n_latent=4, n_hidden=8)
    fit(model)
    z = model.get_population_embedding()
    assert z.shape == (15, 4)
    assert model.sample("C19-CB-0002", 5).n_vars == 40
    scgde.tl.embed_populations(mdata, model)
    assert mdata.obsm["X_gde"].shape == (600, 4)
    model.save(tmp_path / "m", save_anndata=True)
    again = GDE.load(tmp_path / "m")
    assert again.get_population_embedding().equals(z)
    alone = patients[:, :40].copy()
    GDE.setup_anndata(alone, population_key="donor", labels_key="severity")
    twin = GDE(alone, n_latent=4, n_hidden=8)
    fit(twin)
    np.testing.assert_allclose(twin.get_population_embedding(), z, rtol=1e-3, atol=1e-5)


def test_mudata_columns_of_a_modality(patients):
    mdata = MuData({"rna": patients.copy()})
    GDE.setup_mudata(
        mdata, population_key="donor", modalities={"layer": "rna", "population_key": "rna"}
    )
    model = GDE(mdata, n_latent=4, n_hidden=8)
    fit(model)
    assert model.get_population_table()["severity"].nunique() == 2
