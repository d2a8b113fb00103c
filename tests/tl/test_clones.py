from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scgde


def cells(n=4) -> anndata.AnnData:
    return anndata.AnnData(np.ones((n, 2), dtype=np.float32))


def test_labels_are_written_and_survive_a_file(tmp_path):
    adata = cells()
    adata.obsm["X_clone"] = sp.csr_matrix([[1, 0], [0, 0], [1, 1], [0, 1]])
    scgde.tl.assign_clones(adata, clone_names=["a", "b"], key_added="lineage")
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert list(back.obs["lineage"].astype(object).fillna("-")) == ["a", "-", "-", "b"]
    assert list(back.obs["lineage_status"]) == ["single", "none", "multiple", "single"]
    with pytest.raises(KeyError, match="Did you mean 'X_clone'"):
        scgde.tl.assign_clones(adata, "X_clones")


def test_a_matrix_must_be_one_of_these_cells():
    adata = cells()
    matrix = sp.csr_matrix([[1, 0], [0, 0], [1, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"clone_matrix\.T"):
        scgde.tl.assign_clones(adata, matrix.T)
    with pytest.raises(ValueError, match="3 rows, but adata has 4 cells"):
        scgde.tl.assign_clones(adata, matrix[:3])
    table = pd.DataFrame(matrix.toarray(), index=adata.obs_names)
    with pytest.raises(ValueError, match="another order"):
        scgde.tl.assign_clones(adata, table.iloc[::-1])
    scgde.tl.assign_clones(adata, table)
    assert list(adata.obs["clone"].cat.categories) == ["0", "1"]


def test_lists_are_read_and_what_is_no_matrix_is_refused():
    adata = cells(2)
    scgde.tl.assign_clones(adata, [[1, 0], [0, 1]])
    assert list(adata.obs["clone"]) == ["clone_0", "clone_1"]
    with pytest.raises(ValueError, match="clone_matrix must be cells x clones"):
        scgde.tl.assign_clones(adata, [1, 0])
    table = pd.DataFrame([["a", "b"], ["c", "d"]], index=adata.obs_names)
    with pytest.raises(ValueError, match="clone_matrix must hold numbers"):
        scgde.tl.assign_clones(adata, table)
    with pytest.raises(ValueError, match="key_added='a/b'"):
        scgde.tl.assign_clones(adata, [[1, 0], [0, 1]], key_added="a/b")
