"""From row numbers to tensors: sets of cells as a model consumes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ._cells import Cells, SparseCells, total_counts
from ._index import PopulationIndex
from ._rows import RowSource
from ._sampler import SetDraw, SetSampler

# Above this share of non-zero values cells are made dense. Extrapolated, on one machine, from bags
# that took an eighth of the dense time at 5 % and a quarter at 10 %.
MAX_SPARSE_DENSITY = 0.3


class SetDataset(Dataset):
    """Sets of cells with their covariates, by :class:`SetDraw`.

    Parameters
    ----------
    source
        The cells.
    index
        The populations.
    batch
        Batch of each cell, -1 for unknown.
    labels
        Label of each cell for each label key, ``(n_cells, n_label_keys)``, -1 for unlabelled.
    is_sized
        Whether the model takes the cells as counts relative to each cell's size.
    size_factor
        Stands in for each cell's total where given.
    """

    def __init__(
        self,
        source: RowSource,
        index: PopulationIndex,
        batch: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        is_sized: bool = False,
        size_factor: np.ndarray | None = None,
    ):
        self.source, self.index, self.batch = source, index, batch
        self.is_sized, self.size_factor = is_sized, size_factor
        self.labels = None if labels is None else self._population_labels(labels)

    def _population_labels(self, labels: np.ndarray) -> np.ndarray:
        known = np.full((len(self.index), labels.shape[1]), -1)
        for column in range(labels.shape[1]):
            has = (labels[:, column] >= 0) & (self.index.codes >= 0)
            known[self.index.codes[has], column] = labels[has, column]
        return known

    def __getitem__(self, draw: SetDraw) -> dict[str, Cells | Tensor | None]:
        """Return a batch: two sets of cells a population (one object where they are the same)."""
        for rows in (draw.context, draw.target):
            if not (self.index.codes[rows] == draw.population[:, None]).all():
                raise RuntimeError("A set was given cells of another population; this is a defect.")
        context = self.cells(draw.context)
        target = context if draw.target is draw.context else self.cells(draw.target)
        n_sets, m = draw.target.shape
        batch = {
            "context": context,
            "context_weight": torch.full(draw.context.shape, 1 / draw.context.shape[1]),
            "target": target,
            "target_weight": torch.full((n_sets, m), 1 / m),
            "context_library": self.library(draw.context, context),
            "target_library": self.library(draw.target, target),
            "population": torch.from_numpy(draw.population),
        }
        if self.batch is not None:
            batch["batch"] = torch.from_numpy(self.batch[draw.target])
        if self.labels is not None:
            batch["labels"] = torch.from_numpy(self.labels[draw.population])
        return batch

    def cells(self, rows: np.ndarray) -> Cells:
        """Return the cells ``rows (B, m)`` as sets ``(B, m, d)``."""
        block = self.source[rows.ravel()]
        if sp.issparse(block):
            if block.nnz < MAX_SPARSE_DENSITY * np.prod(block.shape):
                return SparseCells.from_scipy(block, len(rows))
            block = block.toarray()
        return torch.from_numpy(block).view(*rows.shape, -1)

    def library(self, rows: np.ndarray, x: Cells) -> Tensor | None:
        """Return the size of each cell, ``(B, m)``: its size factor, else its total count."""
        if not self.is_sized:
            return None
        if self.size_factor is not None:
            return torch.from_numpy(self.size_factor[rows]).float()
        total = total_counts(x)
        if not (total > 0).all():
            raise ValueError(
                f"Cells without any count, for example row {rows[(total <= 0).numpy()][0]}: a "
                "count likelihood cannot use them. Remove them with sc.pp.filter_cells(adata, "
                "min_counts=1)."
            )
        return total


def set_loader(dataset: SetDataset, sampler: SetSampler) -> DataLoader:
    """Return the loader that turns every draw of the sampler into a batch."""
    return DataLoader(dataset, sampler=sampler, batch_size=None, collate_fn=_as_it_is)


def _as_it_is(batch: dict) -> dict:
    return batch


def whole_populations(
    index: PopulationIndex, populations: np.ndarray, max_cells: int
) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor]]:
    """Iterate over whole populations in batches of similar size.

    A batch has at most ``max_cells`` cells after padding, or one population. Padding has weight 0,
    so it does not exist for an encoder.

    Yields
    ------
    Populations ``(B,)``, rows of their cells and weights, each ``(B, m)``.
    """
    sizes = index.sizes
    ordered = populations[np.argsort(sizes[populations], kind="stable")]
    start = 0
    while start < len(ordered):
        stop = start + 1
        while stop < len(ordered) and (stop + 1 - start) * sizes[ordered[stop]] <= max_cells:
            stop += 1
        batch = ordered[start:stop]
        m = sizes[batch[-1]]
        rows = np.stack([np.resize(index.cells(p), m) for p in batch])
        within = np.arange(m) < sizes[batch][:, None]
        weight = torch.from_numpy((within / sizes[batch][:, None]).astype(np.float32))
        yield batch, rows, weight
        start = stop
