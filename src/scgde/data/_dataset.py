"""From row numbers to tensors: sets of cells as a model consumes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ._cells import Cells, SparseCells, total_counts
from ._index import PopulationIndex
from ._modal_rows import ModalRows
from ._rows import RowSource
from ._sampler import SeededSampler, SetDraw

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

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> rows = scgde.data.row_source(np.random.default_rng(0).normal(size=(30, 4)))
    >>> dataset = scgde.data.SetDataset(rows, index)
    >>> draw = next(iter(scgde.data.SetSampler(index, 2, 5, n_steps=1)))
    >>> dataset[draw]["context"].shape
    torch.Size([2, 5, 4])
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
            self._require_own(rows, draw)
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
            labelled = draw.population[:, None] >= 0
            batch["labels"] = torch.from_numpy(np.where(labelled, self.labels[draw.population], -1))
        return batch

    def _require_own(self, rows: np.ndarray, draw: SetDraw) -> None:
        """Raise if a set has cells that are not its own: of another population, or held out."""
        codes = self.index.codes[rows]
        if draw.allowed is None:
            own = codes == draw.population[:, None]
        else:
            own = draw.allowed[rows] & (codes >= 0)
        if draw.mixed is not None:
            own &= (codes[..., None] == draw.mixed[:, None]).any(-1)
        if not own.all():
            raise RuntimeError("A set was given cells that are not its own; this is a defect.")

    def cells(self, rows: np.ndarray) -> Cells:
        """Return the cells ``rows (B, m)`` as sets ``(B, m, d)``."""
        block = self.source[rows.ravel()]
        if sp.issparse(block):
            if block.nnz < MAX_SPARSE_DENSITY * np.prod(block.shape):
                return SparseCells.from_scipy(block, len(rows))
            block = block.toarray()
        return torch.from_numpy(block).view(*rows.shape, -1)

    def library(self, rows: np.ndarray, x: Cells) -> Tensor | None:
        """Return the size of each cell, ``(B, m)``: its size factor, else its total count.

        Of several modalities the total in each, ``(B, m, M)``; 1 where the cell lacks one.
        """
        if not self.is_sized:
            return None
        if isinstance(self.source, ModalRows):
            return self._totals(rows, x)
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

    def _totals(self, rows: np.ndarray, x: Cells) -> Tensor:
        modalities = self.source.modalities
        total, present = modalities.totals(x), modalities.present(x) > 0
        empty = present & (total <= 0)
        if empty.any():
            cell, modality = empty.flatten(0, 1).nonzero()[0].tolist()
            raise ValueError(
                f"Cells without any count in modality number {modality}, for example row "
                f"{rows.ravel()[cell]}: a count likelihood cannot use them. Leave them out of that "
                "modality: sc.pp.filter_cells(mdata.mod[...], min_counts=1); mdata.update()."
            )
        return torch.where(present, total, 1.0)

    def parts(self, rows: np.ndarray) -> list[tuple[SetDataset, np.ndarray]]:
        """Return cells modality by modality: the data of each, and the rows of those that have it.

        With one modality, these sets and the rows themselves.
        """
        if not isinstance(self.source, ModalRows):
            return [(self, rows)]
        return [
            (SetDataset(source, self.index, is_sized=self.is_sized), own)
            for source, own in self.source.parts(rows)
        ]


def set_loader(dataset: SetDataset, sampler: SeededSampler) -> DataLoader:
    """Return the loader that turns every draw of the sampler into a batch.

    Parameters
    ----------
    dataset
        The sets.
    sampler
        Which cells of which sets a batch has.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> rows = scgde.data.row_source(np.random.default_rng(0).normal(size=(30, 4)))
    >>> sampler = scgde.data.SetSampler(index, 2, 5, n_steps=3)
    >>> loader = scgde.data.set_loader(scgde.data.SetDataset(rows, index), sampler)
    >>> [batch["target"].shape[:2] for batch in loader]
    [torch.Size([2, 5]), torch.Size([2, 5]), torch.Size([2, 5])]
    """
    return DataLoader(dataset, sampler=sampler, batch_size=None, collate_fn=_as_it_is)


def _as_it_is(batch: dict) -> dict:
    return batch


def padded_sets(
    measures: Iterable[tuple[np.ndarray, np.ndarray]], max_cells: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Iterate over weighted sets of cells in batches, in the order given.

    Parameters
    ----------
    measures
        Rows and weights of each set, both ``(n,)``.
    max_cells
        Most cells of a batch after padding, unless it is one set. Padding has weight 0, so it does
        not exist for an encoder.

    Yields
    ------
    Rows of the sets' cells and their weights, each ``(B, m)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> measures = [(np.array([0, 1, 2]), np.full(3, 1 / 3)), (np.array([7]), np.ones(1))]
    >>> rows, weight = next(scgde.data.padded_sets(measures, max_cells=10))
    >>> rows.shape, weight[1].tolist()
    ((2, 3), [1.0, 0.0, 0.0])
    """
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    m = 0
    for measure in measures:
        if waiting and (len(waiting) + 1) * max(m, len(measure[0])) > max_cells:
            yield _padded(waiting, m)
            waiting, m = [], 0
        waiting.append(measure)
        m = max(m, len(measure[0]))
    if waiting:
        yield _padded(waiting, m)


def _padded(measures: list[tuple[np.ndarray, np.ndarray]], m: int) -> tuple[np.ndarray, Tensor]:
    rows = np.stack([np.resize(own, m) for own, _ in measures])
    weight = np.zeros(rows.shape, dtype=np.float32)
    for padded, (_, own) in zip(weight, measures, strict=True):
        padded[: len(own)] = own
    return rows, torch.from_numpy(weight)


def whole_populations(
    index: PopulationIndex, populations: np.ndarray, max_cells: int
) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor]]:
    """Iterate over whole populations in batches of similar size, padded as in :func:`padded_sets`.

    Parameters
    ----------
    index
        The populations.
    populations
        Numbers of those wanted, ``(P,)``.
    max_cells
        As in :func:`padded_sets`.

    Yields
    ------
    Populations ``(B,)``, rows of their cells and weights, each ``(B, m)``.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> for populations, rows, weight in scgde.data.whole_populations(index, np.arange(3), 20):
    ...     print(populations, rows.shape)
    [0 1] (2, 10)
    [2] (1, 10)
    """
    sizes = index.sizes
    ordered = populations[np.argsort(sizes[populations], kind="stable")]
    measures = ((index.cells(p), np.full(sizes[p], 1 / sizes[p])) for p in ordered)
    start = 0
    for rows, weight in padded_sets(measures, max_cells):
        yield ordered[start : start + len(rows)], rows, weight
        start += len(rows)
