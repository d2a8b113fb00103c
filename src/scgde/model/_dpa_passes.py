from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._errors import listed, require, unknown
from ..data import CellBatch, CellReader
from ..module import DPAModule
from ._cell_model import CellModel

CELLS_AT_ONCE = 8_192

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
        size = max(CELLS_AT_ONCE // self.module.n_members, 1)
        places = [np.flatnonzero(members == e) for e in range(self.module.n_members)]
        longest = max(map(len, places))
        return [
            [(e, own[i : i + size]) for e, own in enumerate(places) if i < len(own)]
            for i in range(0, longest, size)
        ]

    def _passes(
        self, reader: CellReader, rows: np.ndarray, jobs: Iterable[Job]
    ) -> Iterator[tuple[DPAModule, CellBatch, list[np.ndarray]]]:
        """For each job, yield its networks, their cells and the places of these.

        Networks with fewer cells get some again, after their own.
        """
        for job in jobs:
            longest = max(len(places) for _, places in job)
            batch = reader.batch(np.stack([np.resize(rows[places], longest) for _, places in job]))
            batch = {name: values.to(self.module.device) for name, values in batch.items()}
            if "condition" in batch and not batch["condition"].isfinite().all():
                raise ValueError(
                    f"condition_rep={self.setup_arguments['condition_rep']!r} has NaN or infinite "
                    "values for cells that belong to a population. Embed all populations first."
                )
            networks = self.module.members([e for e, _ in job])
            yield networks, batch, [places for _, places in job]

    @torch.no_grad()
    def _by_cell(
        self,
        adata: AnnData | None,
        function: Callable[[DPAModule, Tensor, Tensor | None], Tensor],
        n_out: int,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return a function of networks, latents and condition by cell, ``(n_cells, n_out)``.

        Of ``rows`` or of all cells; NaN for cells of no population.
        """
        reader = self._reader(adata)
        rows = np.arange(reader.source.shape[0]) if rows is None else rows
        values = np.full((len(rows), n_out), np.nan, dtype=np.float32)
        for networks, batch, places in self._passes(reader, rows, self._jobs(adata, rows)):
            condition = batch.get("condition")
            z = networks.encode(batch["x"], condition)
            found = function(networks, z, condition).cpu().numpy()
            for own, of_network in zip(places, found, strict=True):
                values[own] = of_network[: len(own)]
        return values
