from __future__ import annotations

import anndata
import numpy as np
import pytest

import scgde


def test_written_along_two_populations(trained, tmp_path):
    adata = trained.adata
    scgde.tl.cell_influence(adata, trained, ("C19-CB-0002", "C19-CB-0204"))
    z = trained.get_population_embedding()
    direction = (z.loc["C19-CB-0204"] - z.loc["C19-CB-0002"]).to_numpy()
    direction /= np.linalg.norm(direction)
    np.testing.assert_allclose(
        adata.obs["gde_influence"],
        trained.get_cell_influence(direction=direction),
        rtol=1e-4,
        atol=1e-6,
    )
    scgde.tl.cell_influence(adata, trained, 3 * direction, key_added="again")
    np.testing.assert_allclose(adata.obs["again"], adata.obs["gde_influence"], atol=1e-5)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert "again" in anndata.read_h5ad(tmp_path / "a.h5ad").obs


def test_all_coordinates(trained):
    scgde.tl.cell_influence(trained.adata, trained)
    np.testing.assert_array_equal(
        trained.adata.obsm["gde_influence"], trained.get_cell_influence().to_numpy()
    )


def test_bad_directions(trained):
    with pytest.raises(ValueError, match="two populations"):
        scgde.tl.cell_influence(trained.adata, trained, ("C19-CB-0002",))
    with pytest.raises(TypeError, match="'C19-CB-0002' is one name; give two"):
        scgde.tl.cell_influence(trained.adata, trained, "C19-CB-0002")
    with pytest.raises(KeyError, match="nobody"):
        scgde.tl.cell_influence(trained.adata, trained, ("C19-CB-0002", "nobody"))
    with pytest.raises(ValueError, match="length zero"):
        scgde.tl.cell_influence(trained.adata, trained, np.zeros(6))
    assert "gde_influence" not in trained.adata.obs


def test_covariance_is_written_and_survives(trained, tmp_path):
    adata = trained.adata
    scgde.tl.embed_populations(adata, trained)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad").uns["gde"]
    np.testing.assert_array_equal(again["covariance"], adata.uns["gde"]["covariance"])
    assert again["covariance"].shape == (15, 6, 6)
    scgde.tl.embed_populations(adata, trained, covariance=False)
    assert "covariance" not in adata.uns["gde"]
