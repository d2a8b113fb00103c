from __future__ import annotations

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scgde.data import DiskRows, MemoryRows, row_source

from ..conftest import sparse_counts

ROWS = np.array([5, 3, 3, 60, 0, 5])


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, np.asarray])
def test_memory_rows_in_the_order_asked_for(kind):
    x = sparse_counts()
    got = row_source(x.toarray() if kind is np.asarray else kind(x))[ROWS]
    got = got.toarray() if sp.issparse(got) else got
    np.testing.assert_array_equal(got, x.toarray()[ROWS])
    assert got.dtype == np.float32


@pytest.mark.parametrize("dense", [False, True])
def test_backed_rows_never_change_places(tmp_path, dense):
    x = sparse_counts()
    AnnData(x.toarray() if dense else x).write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    source = row_source(backed.X)
    assert isinstance(source, DiskRows)
    got = source[ROWS]
    got = got.toarray() if sp.issparse(got) else got
    np.testing.assert_array_equal(got, x.toarray()[ROWS])


def test_zarr_rows(tmp_path):
    import zarr

    x = sparse_counts()
    AnnData(x).write_zarr(tmp_path / "a.zarr")
    source = row_source(anndata.io.sparse_dataset(zarr.open(tmp_path / "a.zarr")["X"]))
    np.testing.assert_array_equal(source[ROWS].toarray(), x.toarray()[ROWS])


def test_columns_on_disk_are_refused(tmp_path):
    AnnData(sparse_counts().tocsc()).write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(TypeError, match=r"tocsr\(\)"):
        row_source(backed.X)


def test_chunks_cover_all_rows():
    x = sparse_counts()
    pieces = list(MemoryRows(x).chunks(np.arange(64), 10))
    np.testing.assert_array_equal(sp.vstack(pieces).toarray(), x.toarray())
