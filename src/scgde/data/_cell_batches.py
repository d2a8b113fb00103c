from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from ._normalize import as_dense, log_normalized
from ._rows import RowSource

CellBatch = dict[str, torch.Tensor]


class CellReader:
    """Cells as a model of cells sees them: dense, counts log-normalised.

    Parameters
    ----------
    source
        Where cells come from.
    is_counts
        Log-normalise them.
    condition
        What networks are conditioned on beside each cell, ``(n_cells, C)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> rows = scgde.data.row_source(np.eye(3, dtype=np.float32))
    >>> scgde.data.CellReader(rows)[np.array([2, 0])].tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(
        self, source: RowSource, is_counts: bool = False, condition: RowSource | None = None
    ):
        self.source, self.is_counts, self.condition = source, is_counts, condition

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return the cells ``rows (n,)`` as float32 ``(n, d)``."""
        x = self.source[rows]
        return as_dense(log_normalized(x) if self.is_counts else x)

    def batch(self, rows: np.ndarray) -> CellBatch:
        """Return the cells ``rows (E, n)`` as ``"x" (E, n, d)`` and ``"condition" (E, n, C)``."""
        batch = {"x": torch.from_numpy(self[rows.ravel()]).view(*rows.shape, -1)}
        if self.condition is not None:
            condition = as_dense(self.condition[rows.ravel()])
            batch["condition"] = torch.from_numpy(condition).view(*rows.shape, -1)
        return batch


class CellBatches(IterableDataset):
    """Batches of cells for one network or, at once, for each of several.

    Parameters
    ----------
    reader
        Where cells come from.
    rows
        The cells of each of E networks, as row numbers.
    batch_size
        Cells n of each network in a batch, drawn with replacement.
    n_batches
        Batches of a pass; each pass draws anew unless ``fixed``.
    seed, fixed
        Seed of the draws; whether every pass repeats them.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> reader = scgde.data.CellReader(scgde.data.row_source(np.eye(4, dtype=np.float32)))
    >>> own = [np.array([0, 1]), np.array([2, 3])]  # of two networks
    >>> batches = scgde.data.CellBatches(reader, own, batch_size=5, n_batches=1)
    >>> next(iter(batches))["x"].shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        reader: CellReader,
        rows: list[np.ndarray],
        batch_size: int,
        n_batches: int,
        seed: int = 0,
        fixed: bool = False,
    ):
        self.reader, self.batch_size, self.n_batches = reader, batch_size, n_batches
        self.seed, self.fixed, self.n_passes = seed, fixed, 0
        self.sizes = np.array([len(own) for own in rows])[:, None]
        self.starts = np.cumsum([0, *self.sizes[:-1, 0]])[:, None]
        self.rows = np.concatenate(rows)

    def __iter__(self) -> Iterator[CellBatch]:
        rng = np.random.default_rng([self.seed, self.n_passes])
        self.n_passes += not self.fixed
        for _ in range(self.n_batches):
            drawn = rng.random((len(self.sizes), self.batch_size)) * self.sizes
            yield self.reader.batch(self.rows[self.starts + drawn.astype(np.int64)])

    def loader(self) -> DataLoader:
        """Return a loader of the batches, as Lightning wants one."""
        return DataLoader(self, batch_size=None)
