from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from .._scvi import BaseModelClass
from ..data import PopulationIndex

_ROWS_AT_ONCE, _BITS_LEFT_OUT = 10_000, 10


class TrainingCellsMixin(BaseModelClass):
    """Which cells a model was trained on, known by their names also in other data."""

    trained_cells_: dict[str, np.ndarray] | None = None

    def _remember_cells(self, index: PopulationIndex, rows: np.ndarray) -> None:
        """Keep digests of the cells trained on, and the populations they then were of."""
        label = index.names.to_numpy(dtype=str)[index.codes[rows]]
        digest = self._digests(self.adata)[rows]
        if self.trained_cells_ is not None:
            before = self.trained_cells_
            label = np.concatenate([label, before["names"][before["population"]]])
            digest = np.concatenate([digest, before["digest"]])
        digest, first = np.unique(digest, return_index=True)
        names, population = np.unique(label[first], return_inverse=True)
        self.trained_cells_ = {"digest": digest, "population": population, "names": names}

    def get_training_populations(self, adata: AnnData | MuData | None = None) -> pd.Series:
        """Return the population that each cell was of when the model was trained on it.

        An encoder may learn cells it is trained on by heart. Embeddings of populations whose cells
        were told apart in training are then further from each other than those of new cells.

        Parameters
        ----------
        adata
            Cells, known by their names and totals (of a MuData by names alone); by default the
            model's own.

        Returns
        -------
        Series over cells; missing for those that the model was not trained on.

        Examples
        --------
        >>> import scgde
        >>> adata = scgde.datasets.normal_populations(12, 40)
        >>> scgde.model.GDE.setup_anndata(adata, "population")
        >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
        >>> model.train(max_steps=2, validation="cell", train_size=0.5, enable_progress_bar=False)
        >>> model.get_training_populations().notna().sum().item(), adata.n_obs
        (240, 480)
        """
        adata = self._validate_anndata(adata)
        found = np.full(adata.n_obs, None, dtype=object)
        if self.trained_cells_ is not None:
            kept, digest = self.trained_cells_["digest"], self._digests(adata)
            place = np.minimum(np.searchsorted(kept, digest), len(kept) - 1)
            known = kept[place] == digest
            population = self.trained_cells_["population"][place[known]]
            found[known] = self.trained_cells_["names"][population]
        return pd.Series(found, index=adata.obs_names, name="trained_as")

    def _digests(self, adata: AnnData | MuData) -> np.ndarray:
        """Return a number for each cell, of its name and, in an AnnData, the sum of its values.

        Names alone repeat: barcodes do in lanes, and "0", "1", ... in everything without names.
        """
        name = pd.util.hash_array(adata.obs_names.to_numpy(dtype=object))
        if isinstance(adata, MuData):
            return name
        source = self._source(self._validated_manager(adata))
        blocks = source.chunks(np.arange(adata.n_obs), _ROWS_AT_ONCE)
        total = np.concatenate([np.asarray(block.sum(1), np.float32).ravel() for block in blocks])
        # To some four digits: sums of the same numbers differ in the last ones.
        return name ^ pd.util.hash_array(total.view(np.uint32) >> _BITS_LEFT_OUT)
