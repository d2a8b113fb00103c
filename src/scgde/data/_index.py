from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class PopulationIndex:
    """The cells of every population, from one stable argsort.

    Parameters
    ----------
    codes
        Population of each cell, ``(n_cells,)``; -1 for a cell that belongs to none.
    names
        Names of the populations, in the order of their codes.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> index = PopulationIndex(np.array([1, 0, -1, 1]), pd.Index(["a", "b"]))
    >>> index.cells(1)
    array([0, 3])
    """

    codes: np.ndarray
    names: pd.Index
    order: np.ndarray = field(init=False, repr=False)
    indptr: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        sizes = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        order = np.argsort(self.codes, kind="stable")[len(self.codes) - sizes.sum() :]
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "indptr", np.concatenate([[0], np.cumsum(sizes)]))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> np.ndarray:
        """Number of cells of every population."""
        return np.diff(self.indptr)

    def cells(self, population: int) -> np.ndarray:
        """Return the row numbers of a population's cells, ascending."""
        return self.order[self.indptr[population] : self.indptr[population + 1]]

    def restrict(self, rows: np.ndarray) -> PopulationIndex:
        """Return the index over some of the cells only; codes and names stay."""
        codes = np.full_like(self.codes, -1)
        codes[rows] = self.codes[rows]
        return PopulationIndex(codes, self.names)
