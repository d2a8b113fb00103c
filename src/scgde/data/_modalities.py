from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._cells import Cells, SparseCells


@dataclass(frozen=True)
class Modalities:
    """Where the modalities of a cell are among its columns.

    A cell of several modalities is a row of their features, one modality after the other, and then
    one indicator column for each: 1 where the cell has the modality. The features of one that it
    lacks are 0. So which modalities a cell has is part of the cell, and a population remains a
    measure over cells.

    Attributes
    ----------
    sizes
        Number of features of each modality, M of them.

    Examples
    --------
    >>> import scgde
    >>> modalities = scgde.data.Modalities((20, 3))
    >>> modalities.n_features, modalities.n_columns
    (23, 25)
    """

    sizes: tuple[int, ...]

    @property
    def n_features(self) -> int:
        """Features of all modalities, d."""
        return sum(self.sizes)

    @property
    def n_columns(self) -> int:
        """Columns of a cell: features and indicators, d + M."""
        return self.n_features + len(self.sizes)

    def of_columns(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the modality of every column, ``(d + M,)``."""
        each = torch.arange(len(self.sizes), device=device)
        times = torch.tensor(self.sizes, device=device)
        features = torch.repeat_interleave(each, times, output_size=self.n_features)
        return torch.cat([features, each])

    def present(self, x: Cells) -> Tensor:
        """Return which modalities cells have, 1 or 0, ``(B, m, M)``."""
        if not isinstance(x, SparseCells):
            return x[..., self.n_features :]
        at = (x.columns >= self.n_features).nonzero()[:, 0]
        found = torch.zeros(x.n_cells, len(self.sizes), device=x.device)
        found[x.rows[at], x.columns[at].long() - self.n_features] = x.values[at]
        return found.view(*x.shape[:2], -1)

    def features(self, x: Cells) -> Cells:
        """Return the features of all modalities, ``(B, m, d)``."""
        return self._part(x, 0, self.n_features)

    def split(self, x: Cells) -> list[Cells]:
        """Return the features of each modality, ``(B, m, sizes[j])``."""
        ends = torch.tensor(self.sizes).cumsum(0).tolist()
        return [self._part(x, end - size, end) for size, end in zip(self.sizes, ends, strict=True)]

    def totals(self, x: Cells) -> Tensor:
        """Return the total of each cell in each modality, ``(B, m, M)``."""
        if not isinstance(x, SparseCells):
            return torch.stack([part.sum(-1) for part in self.split(x)], -1)
        n = len(self.sizes)
        total = torch.zeros(x.n_cells * n, device=x.device)
        at = x.rows * n + self.of_columns(x.device)[x.columns.long()]
        values = torch.where(x.columns < self.n_features, x.values, 0.0)
        return total.index_add_(0, at, values).view(*x.shape[:2], n)

    def on_features(self, x: Cells, changed: Tensor) -> Cells:
        """Return cells with other values of the features, but their own indicators.

        Parameters
        ----------
        x
            Cells ``(B, m, d + M)``.
        changed
            New values, in the form in which ``x`` holds its own: those stored of sparse cells, else
            ``(B, m, d + M)``. What it has in the indicators' place is not used.
        """
        if isinstance(x, SparseCells):
            return x.replace(torch.where(x.columns < self.n_features, changed, x.values))
        return torch.cat([changed[..., : self.n_features], x[..., self.n_features :]], -1)

    def spread(self, x: Cells, values: Tensor) -> Tensor:
        """Return values of each cell and modality, ``(B, m, M)``, for each value that ``x`` holds.

        ``(B, m, d + M)``, or, of sparse cells, one number for each stored value.
        """
        of_columns = self.of_columns(values.device)
        if isinstance(x, SparseCells):
            return values.expand(*x.shape[:2], -1).flatten(0, 1)[
                x.rows, of_columns[x.columns.long()]
            ]
        return values[..., of_columns]

    def keep(self, x: Cells, kept: Tensor) -> Cells:
        """Return cells that have only the modalities ``kept (B, M)`` in each set."""
        factor = self.spread(x, kept[:, None].float())
        return x.replace(x.values * factor) if isinstance(x, SparseCells) else x * factor

    @staticmethod
    def _part(x: Cells, start: int, end: int) -> Cells:
        return x.columns_between(start, end) if isinstance(x, SparseCells) else x[..., start:end]
