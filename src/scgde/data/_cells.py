from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


@dataclass(eq=False)
class SparseCells:
    """Cells of a batch of sets, ``(B, m, d)``, of which only the non-zero values are stored.

    Row ``b * m + i`` of the compressed matrix is cell ``i`` of set ``b``. Encoders and generators
    that declare ``accepts_sparse`` get this object in place of a dense tensor.

    Attributes
    ----------
    indptr, columns, values
        Compressed sparse rows: ``(B * m + 1,)``, ``(nnz,)`` and ``(nnz,)``.
    shape
        ``(B, m, d)``.

    Examples
    --------
    >>> import scgde
    >>> import scipy.sparse as sp
    >>> x = scgde.data.SparseCells.from_scipy(sp.eye(6, 3, format="csr"), n_sets=2)
    >>> x.shape, x.to_dense().shape
    ((2, 3, 3), torch.Size([2, 3, 3]))
    """

    indptr: Tensor
    columns: Tensor
    values: Tensor
    shape: tuple[int, int, int]

    @classmethod
    def from_scipy(cls, matrix: sp.csr_matrix, n_sets: int) -> SparseCells:
        """Wrap the rows of a CSR matrix, without copying, as ``n_sets`` sets of equal size."""
        return cls(
            torch.from_numpy(matrix.indptr),
            torch.from_numpy(matrix.indices),
            torch.from_numpy(matrix.data.astype(np.float32, copy=False)),
            (n_sets, matrix.shape[0] // n_sets, matrix.shape[1]),
        )

    @property
    def n_cells(self) -> int:
        """Number of cells in all sets together."""
        return self.shape[0] * self.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    @cached_property
    def rows(self) -> Tensor:
        """The cell of every stored value, ``(nnz,)``."""
        counts = self.indptr.diff().long()
        return torch.repeat_interleave(
            torch.arange(self.n_cells, device=self.device), counts, output_size=len(self.values)
        )

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(indptr, cells, values)`` by column: what a gradient with respect to weights needs."""
        matrix = sp.csr_matrix(
            (self.values.numpy(), self.columns.numpy(), self.indptr.numpy()),
            shape=(self.n_cells, self.shape[2]),
        ).tocsc()
        return tuple(torch.from_numpy(a) for a in (matrix.indptr, matrix.indices, matrix.data))

    def replace(self, values: Tensor) -> SparseCells:
        """Return cells with other values in the same places."""
        cells = SparseCells(self.indptr, self.columns, values, self.shape)
        cells.__dict__["rows"] = self.rows  # the places are shared, so what they imply is too
        return cells

    def columns_between(self, start: int, end: int) -> SparseCells:
        """Return the cells with the columns from ``start`` up to ``end`` only."""
        inside = (self.columns >= start) & (self.columns < end)
        rows = self.rows[inside]
        counts = torch.bincount(rows, minlength=self.n_cells)
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(self.indptr.dtype)
        cells = SparseCells(
            indptr,
            self.columns[inside] - start,
            self.values[inside],
            (*self.shape[:2], end - start),
        )
        cells.__dict__["rows"] = rows
        return cells

    def sum(self) -> Tensor:
        """Return the total of every cell, ``(B, m)``."""
        total = torch.zeros(self.n_cells, device=self.device)
        return total.index_add_(0, self.rows, self.values).view(self.shape[:2])

    def to_dense(self) -> Tensor:
        """Return the cells as a tensor ``(B, m, d)``."""
        dense = torch.zeros(self.n_cells, self.shape[2], device=self.device)
        dense[self.rows, self.columns.long()] = self.values
        return dense.view(self.shape)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SparseCells:
        """Return the cells on another device."""
        moved = (
            a.to(device, non_blocking=non_blocking)
            for a in (self.indptr, self.columns, self.values)
        )
        return SparseCells(*moved, self.shape)


Cells = Tensor | SparseCells


def total_counts(x: Cells) -> Tensor:
    """Return the sum over features of every cell, ``(B, m)``.

    Parameters
    ----------
    x
        Cells ``(B, m, d)``, dense or sparse.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> scgde.data.total_counts(torch.ones(1, 2, 3))
    tensor([[3., 3.]])
    """
    return x.sum() if isinstance(x, SparseCells) else x.sum(-1)


def dense(x: Cells) -> Tensor:
    """Return cells as a dense tensor ``(B, m, d)``.

    Parameters
    ----------
    x
        Cells ``(B, m, d)``, dense or sparse.

    Examples
    --------
    >>> import scgde
    >>> import scipy.sparse as sp
    >>> scgde.data.dense(scgde.data.SparseCells.from_scipy(sp.eye(4, 3, format="csr"), 2)).shape
    torch.Size([2, 2, 3])
    """
    return x.to_dense() if isinstance(x, SparseCells) else x
