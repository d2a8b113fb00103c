from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._errors import listed, require, unknown
from ..data import CellBatch, CellReader
from ._cell_model import CellModel

_CELLS_AT_ONCE = 8_192

# For some networks, the places in an array of rows that each is to work on.
Job = list[tuple[int, np.ndarray]]


class PassesMixin(CellModel):
    """Passes over cells by networks of which each population may have its own."""

    def _member(self, population: str | None) -> int:
        """Return the number of a population's network."""
        if not self.is_separate:
            return 0
        if population is None:
            raise ValueError(
                "population is needed: with networks='separate' each has its own network. The "
                f"model has {listed(self.network_names)}."
            )
        require("population", population, self.network_names, "the populations of the model")
        return self.network_names.get_loc(population)

    def _jobs(self, adata: AnnData | None, rows: np.ndarray) -> list[Job]:
        """Divide the work on some cells (row numbers, repeats allowed) into batches."""
        index = self._index(adata)
        members = np.minimum(index.codes[rows], 0)
        if self.is_separate:
            of_name = self.network_names.get_indexer(pd.Index(index.names))
            lost = index.names[of_name < 0]
            if len(lost):
                raise ValueError(
                    f"{unknown('population', lost[0], self.network_names, 'the model')} With "
                    "networks='separate' only populations it was trained on have a network."
                )
            members = np.where(index.codes[rows] < 0, -1, of_name[index.codes[rows]])
        size = max(_CELLS_AT_ONCE // self.module.n_members, 1)
        places = [np.flatnonzero(members == e) for e in range(self.module.n_members)]
        longest = max(map(len, places))
        return [
            [(e, own[i : i + size]) for e, own in enumerate(places) if i < len(own)]
            for i in range(0, longest, size)
        ]

    def _batch(self, reader: CellReader, rows: np.ndarray, job: Job) -> CellBatch:
        """Return the cells of a job; networks with fewer, or none, get some again."""
        longest = max(len(places) for _, places in job)
        padded = np.full((self.module.n_members, longest), rows[job[0][1][0]])
        for e, places in job:
            padded[e] = np.resize(rows[places], longest)
        device = self.module.device
        return {name: values.to(device) for name, values in reader.batch(padded).items()}

    @torch.no_grad()
    def _by_cell(
        self,
        adata: AnnData | None,
        function: Callable[[Tensor, Tensor | None], Tensor],
        n_out: int,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return a function of the latents (and condition) of cells, ``(n_cells, n_out)``.

        Of ``rows`` or of all cells; NaN for cells of no population.
        """
        reader = self._reader(adata)
        rows = np.arange(reader.source.shape[0]) if rows is None else rows
        values = np.full((len(rows), n_out), np.nan, dtype=np.float32)
        for job in self._jobs(adata, rows):
            batch = self._batch(reader, rows, job)
            condition = batch.get("condition")
            found = function(self.module.encode(batch["x"], condition), condition).cpu().numpy()
            for e, places in job:
                values[places] = found[e, : len(places)]
        return values
