from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scgde


@pytest.fixture
def embedded(trained):
    adata = trained.adata.copy()
    names = (
        adata.obs["donor"].astype(str).replace({"C19-CB-0002": "Klinik/Süd 2", "C19-CB-0003": "ß"})
    )
    adata.obs["donor"] = names.astype("category")
    scgde.tl.embed_populations(adata, trained)
    return adata


def test_what_is_written(embedded, trained):
    result = embedded.uns["gde"]
    assert result["embedding"].shape == (15, 6)
    assert result["n_cells"].tolist() == [40] * 15
    assert result["params"]["population_key"] == ["donor"]
    for i in (0, 300, 599):
        name = embedded.obs["donor"].iloc[i]
        np.testing.assert_array_equal(embedded.obsm["X_gde"][i], result["embedding"].loc[name])


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_survives_writing(embedded, tmp_path, form):
    path = tmp_path / f"a.{form}"
    scgde.tl.classify_populations(embedded, "severity", n_repeats=2)
    getattr(embedded, f"write_{form}")(path)
    again = getattr(anndata, f"read_{form}")(path)
    pd.testing.assert_frame_equal(
        again.uns["gde"]["embedding"], embedded.uns["gde"]["embedding"], check_names=False
    )
    assert {"Klinik/Süd 2", "ß"} <= set(again.uns["gde"]["embedding"].index)
    np.testing.assert_array_equal(again.obsm["X_gde"], embedded.obsm["X_gde"])
    pd.testing.assert_frame_equal(
        again.uns["gde_classification"]["scores"],
        embedded.uns["gde_classification"]["scores"],
        check_categorical=False,
        check_dtype=False,
    )
    # What was read back is as good as new.
    scgde.tl.classify_populations(again, "severity", n_repeats=2)


def test_copy_and_key(trained):
    out = scgde.tl.embed_populations(trained.adata, trained, key_added="mine", copy=True)
    assert "mine" in out.uns
    assert "X_mine" in out.obsm
    assert "mine" not in trained.adata.uns


def test_populations_that_a_file_brings_back_in_another_order(trained, tmp_path):
    adata = trained.adata
    names = {name: f"p{i}" for i, name in enumerate(adata.obs["donor"].cat.categories)}
    adata.obs["donor"] = adata.obs["donor"].astype(str).replace(names)  # p10 before p2, as text
    scgde.model.GDE.setup_anndata(adata, population_key="donor")
    scgde.tl.embed_populations(adata, trained)
    before = scgde.tl.classify_populations(adata, "severity", n_repeats=2, baselines=[])
    adata.obs["donor"] = adata.obs["donor"].astype("category")
    order = [f"p{i}" for i in range(15)]
    adata.obs["donor"] = adata.obs["donor"].cat.reorder_categories(order)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    after = scgde.tl.classify_populations(again, "severity", n_repeats=2, baselines=[])
    assert set(after["metric"]) == set(before["metric"])
    predicted = again.uns["gde_classification"]["predictions"]
    assert set(predicted["population"]) == set(order)
    one = scgde.tl.nearest_populations(again, n_neighbors=2)
    other = scgde.tl.nearest_populations(adata, n_neighbors=2)
    pd.testing.assert_frame_equal(one, other)
