from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData

from .._scvi import BaseModelClass
from ..data import SetDataset, Sets, padded_sets


class SetsMixin(BaseModelClass):
    """``get_set_embedding``: sets that are no populations, at values of the set prior."""

    @torch.inference_mode()
    def get_set_embedding(
        self,
        values: object,
        adata: AnnData | MuData | None = None,
        max_cells: int = 8192,
    ) -> pd.DataFrame:
        """Embed the sets that the model's set prior makes at given values.

        Each is embedded as the exact weighted measure of cells (GDE paper, Sec. 3); cells that
        together have less than a millionth of its weight, or lie beyond four bandwidths, are left
        out. Cells in no population or without a value are not used.

        Parameters
        ----------
        values
            With ``sets="kernel"``, values of the key, ``(n,)``, or coordinates, ``(n, n_dims)``.
            With ``"noisy_label"``, true values, ``(n,)``. With ``"mixture"``, weights, sets x
            populations, that sum to one in each row: an array with a column for every population
            of the data in their order, or a DataFrame whose columns name some.
        adata
            Data with the genes of the training data, and the prior's key. By default the training
            data.
        max_cells
            Cells held at once. A larger set is embedded in chunks at constant memory where the
            encoder streams, and whole where it does not.

        Returns
        -------
        DataFrame, sets x ``n_latent``, as :meth:`sample` takes it. The index is that of ``values``
        where they are a DataFrame, else the values as text.

        Raises
        ------
        KeyError
            If the prior's key or a population is not in the data.
        ValueError
            If the model's sets are its populations (``sets="label"``), a value has no cell within
            reach, or ``values`` has another form.
        """
        self._check_if_trained(warn=True)
        adata = self._validate_anndata(adata)
        dataset = self._dataset(adata)
        names, measures = self._sets(dataset, adata).measures(values)
        codes = [
            self._encode(dataset, rows, weight, max_cells)
            for rows, weight in padded_sets(measures, max_cells)
        ]
        return self._table(np.concatenate(codes), names.rename("set"))

    def _sets(self, dataset: SetDataset, adata: AnnData | MuData) -> Sets:
        """Return the sets that the cells make under the model's prior."""
        return self.set_prior.bind(self._obs(adata), self._obsm(adata), dataset.index)

    def _obsm(self, adata: AnnData | MuData) -> Mapping[str, object]:
        """Return the cells' representations; a MuData's modalities count where they have all."""
        if isinstance(adata, AnnData):
            return adata.obsm
        modalities = [m for m in self._modalities(adata) if m.obs_names.equals(adata.obs_names)]
        of_modalities = {key: x for mod in modalities for key, x in mod.obsm.items()}
        # Beside representations a MuData keeps a mask under the name of each modality.
        own = {key: x for key, x in adata.obsm.items() if key not in adata.mod}
        return {**of_modalities, **own}
