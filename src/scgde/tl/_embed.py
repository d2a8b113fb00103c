from __future__ import annotations

import numpy as np
from anndata import AnnData
from mudata import MuData

from ..model import GDE


def embed_populations(
    adata: AnnData | MuData, model: GDE, key_added: str = "gde", copy: bool = False
) -> AnnData | MuData | None:
    """Embed the populations of an AnnData and keep the result in it.

    Parameters
    ----------
    adata
        Data with the genes and obs columns that the model was set up with; populations may be new.
    model
        A trained model.
    key_added
        Where to write.
    copy
        Write to a copy and return it.

    Returns
    -------
    None, or the copy. Written are:

    ``.uns[key_added]``
        ``embedding``, DataFrame of populations x ``n_latent``; ``n_cells``, array, cells of each
        population; ``params``, how the model was set up.
    ``.obsm["X_" + key_added]``
        For each cell its population's vector; NaN for cells in no population.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> scgde.model.GDE.setup_anndata(adata, population_key="donor")
    >>> model = scgde.model.GDE(adata, n_latent=8, n_hidden=32)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.embed_populations(adata, model)
    >>> adata.uns["gde"]["embedding"].shape, adata.obsm["X_gde"].shape
    ((15, 8), (5494, 8))
    """
    adata = adata.copy() if copy else adata
    embedding = model.get_population_embedding(adata)
    codes = model.get_population_codes(adata)
    per_cell = np.full((adata.n_obs, embedding.shape[1]), np.nan, dtype=np.float32)
    per_cell[codes >= 0] = embedding.to_numpy()[codes[codes >= 0]]
    adata.obsm[f"X_{key_added}"] = per_cell
    adata.uns[key_added] = {
        "embedding": embedding,
        "n_cells": np.bincount(codes[codes >= 0], minlength=len(embedding)),
        "params": model.get_parameters(),
    }
    return adata if copy else None
