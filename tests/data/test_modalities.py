"""Cells of several modalities: their columns, dense and sparse, and where they come from."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from anndata import AnnData

from scgde.data import Modalities, ModalRows, PopulationIndex, SetDataset, SparseCells, row_source

from ..conftest import sparse_counts

SIZES = (5, 3)
PLACES = np.array([[0, 2], [1, -1], [2, 0], [-1, 1], [3, 3]])


@pytest.fixture
def matrices():
    return sparse_counts(4, 5, 0.5), sparse_counts(4, 3, 0.8, seed=1).toarray()


def by_hand(matrices, rows):
    """Return cells put together one by one."""
    cells = np.zeros((len(rows), 10), dtype=np.float32)
    for cell, (a, b) in zip(cells, PLACES[rows], strict=True):
        if a >= 0:
            cell[:5], cell[8] = matrices[0][a].toarray(), 1
        if b >= 0:
            cell[5:8], cell[9] = matrices[1][b], 1
    return cells


def both_forms(x: np.ndarray) -> list:
    """Return cells ``(B, m, d)`` as a tensor and as sparse cells."""
    flat = sp.csr_matrix(x.reshape(-1, x.shape[-1]).astype(np.float32))
    return [torch.from_numpy(x), SparseCells.from_scipy(flat, len(x))]


def as_array(x) -> np.ndarray:
    return (x.to_dense() if isinstance(x, SparseCells) else x).numpy()


@pytest.mark.parametrize("kind", ["sparse and dense", "dense", "on disk"])
def test_rows_put_modalities_side_by_side(matrices, kind, tmp_path):
    first, second = matrices
    if kind == "dense":
        first = first.toarray()
    if kind == "on disk":
        AnnData(first).write_h5ad(tmp_path / "a.h5ad")
        first = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r").X
    source = ModalRows([row_source(first), row_source(second)], PLACES, Modalities(SIZES))
    rows = np.array([4, 1, 1, 3, 0, 2])
    block = source[rows]
    assert sp.issparse(block) == (kind != "dense")
    block = block.toarray() if sp.issparse(block) else block
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block, by_hand(matrices, rows))
    assert source.shape == (5, 10)
    np.testing.assert_array_equal(source.present, PLACES >= 0)


@pytest.mark.parametrize("dense", [True, False])
def test_a_modality_that_no_cell_has(matrices, dense):
    first = matrices[0].toarray() if dense else matrices[0]
    places = np.array([[3, -1], [1, -1]])
    block = ModalRows([row_source(first), None], places, Modalities(SIZES))[np.arange(2)]
    assert sp.issparse(block) != dense
    block = block if dense else block.toarray()
    np.testing.assert_array_equal(block[:, :5], matrices[0].toarray()[[3, 1]])
    assert not block[:, 5:8].any()
    np.testing.assert_array_equal(block[:, 8:], [[1, 0], [1, 0]])


def test_parts_are_the_cells_that_have_the_modality(matrices):
    sources = [row_source(matrix) for matrix in matrices]
    parts = ModalRows(sources, PLACES, Modalities(SIZES)).parts(np.array([4, 1, 3]))
    assert [source for source, _ in parts] == sources
    assert [list(rows) for _, rows in parts] == [[3, 1], [3, 1]]


def test_columns_are_read_alike_from_dense_and_sparse_cells(matrices):
    modalities = Modalities(SIZES)
    cells = by_hand(matrices, np.array([4, 1, 3, 0, 2, 2])).reshape(2, 3, 10)
    values = torch.arange(12.0).view(2, 3, 2) + 1
    for x in both_forms(cells):
        np.testing.assert_array_equal(modalities.present(x), cells[..., 8:])
        np.testing.assert_array_equal(as_array(modalities.features(x)), cells[..., :8])
        first, second = modalities.split(x)
        np.testing.assert_array_equal(as_array(first), cells[..., :5])
        np.testing.assert_array_equal(as_array(second), cells[..., 5:8])
        totals = np.stack([cells[..., :5].sum(-1), cells[..., 5:8].sum(-1)], -1)
        np.testing.assert_allclose(modalities.totals(x), totals)
        spread = modalities.spread(x, values)
        is_sparse = isinstance(x, SparseCells)
        scaled = x.values * spread if is_sparse else x * spread  # noqa: PD011
        found = as_array(modalities.on_features(x, scaled))
        of = np.repeat([0, 1], SIZES)
        np.testing.assert_allclose(found[..., :8], cells[..., :8] * values.numpy()[..., of])
        np.testing.assert_array_equal(found[..., 8:], cells[..., 8:])


def test_keep_takes_modalities_from_whole_sets(matrices):
    modalities = Modalities(SIZES)
    cells = by_hand(matrices, np.array([4, 1, 3, 0, 2, 2])).reshape(2, 3, 10)
    expected = cells.copy()
    expected[0, :, 5:8] = expected[0, :, 9] = 0
    for x in both_forms(cells):
        kept = torch.tensor([[True, False], [True, True]])
        np.testing.assert_array_equal(as_array(modalities.keep(x, kept)), expected)


def dataset_of(matrices, is_sized=True) -> SetDataset:
    source = ModalRows([row_source(m) for m in matrices], PLACES, Modalities(SIZES))
    index = PopulationIndex(np.zeros(5, dtype=int), pd.Index(["all"]))
    return SetDataset(source, index, is_sized=is_sized)


def test_sizes_are_totals_of_each_modality(matrices):
    dataset = dataset_of(matrices)
    rows = np.arange(5)[None]
    library = dataset.library(rows, dataset.cells(rows)).numpy()[0]
    for cell, places in zip(library, PLACES, strict=True):
        for size, matrix, place in zip(cell, matrices, places, strict=True):
            assert size == (matrix[place].sum() if place >= 0 else 1)
    assert dataset_of(matrices, is_sized=False).library(rows, dataset.cells(rows)) is None


def test_a_cell_without_counts_in_one_modality_is_named(matrices):
    matrices[1][0] = 0
    dataset = dataset_of(matrices)
    rows = np.arange(5)[None]
    with pytest.raises(ValueError, match=r"modality number 1, for example row 2.*min_counts=1"):
        dataset.library(rows, dataset.cells(rows))


def test_columns_between_are_a_sparse_matrix_of_their_own(matrices):
    cells = by_hand(matrices, np.arange(5))[None]
    part = both_forms(cells)[1].columns_between(3, 9)
    assert part.shape == (1, 5, 6)
    stored = (part.values, part.columns, part.indptr)  # noqa: PD011
    again = sp.csr_matrix(stored, shape=(5, 6))
    np.testing.assert_array_equal(again.toarray(), cells[0, :, 3:9])
