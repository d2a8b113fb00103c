from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from .._errors import require_type
from ..model import GDE


def embed_populations(
    adata: AnnData | MuData,
    model: GDE,
    key_added: str = "gde",
    copy: bool = False,
    *,
    covariance: bool | None = None,
    enable_progress_bar: bool = True,
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
    covariance
        Write the sampling covariance of each embedding too, for tests and error bars. By default
        where the encoder pools, which makes it cheap; for others it takes a backward pass over all
        cells for each coordinate.
    enable_progress_bar
        Show progress where it takes a while.

    Returns
    -------
    None, or the copy. Written are:

    ``.uns[key_added]``
        ``embedding``, DataFrame of populations x ``n_latent``; ``covariance``, array of populations
        x ``n_latent`` x ``n_latent``, if wanted
        (:meth:`~scgde.model.GDE.get_population_embedding`); ``n_cells``, array, cells of each
        population; ``trained_as``, array, the population that most of its cells were of when the
        model was trained on them (:meth:`~scgde.model.GDE.get_training_populations`), empty where
        on none; ``params``, how the model was set up.
    ``.obsm["X_" + key_added]``
        For each cell its population's vector; NaN for cells in no population.

    Raises
    ------
    KeyError, ValueError
        If the data does not fit the model.
    RuntimeError
        If the model is not trained.
    TypeError
        If ``model`` is no :class:`~scgde.model.GDE`.

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
    require_type("model", model, GDE, "The order is embed_populations(adata, model).")
    if not model.is_trained_:
        raise RuntimeError("The model is not trained: call model.train() first.")
    adata = adata.copy() if copy else adata
    if covariance is None:
        covariance = model.module.encoder.streams
    result = model.get_population_embedding(
        adata, return_covariance=covariance, enable_progress_bar=enable_progress_bar
    )
    embedding, of_covariance = result if covariance else (result, None)
    codes = model.get_population_codes(adata)
    per_cell = np.full((adata.n_obs, embedding.shape[1]), np.nan, dtype=np.float32)
    per_cell[codes >= 0] = embedding.to_numpy()[codes[codes >= 0]]
    adata.obsm[f"X_{key_added}"] = per_cell
    adata.uns[key_added] = {
        "embedding": embedding,
        "n_cells": np.bincount(codes[codes >= 0], minlength=len(embedding)),
        "trained_as": _trained_as(model, adata, codes, len(embedding)),
        "params": model.get_parameters(),
    }
    if covariance:
        adata.uns[key_added]["covariance"] = of_covariance
    return adata if copy else None


def _trained_as(
    model: GDE, adata: AnnData | MuData, codes: np.ndarray, n_populations: int
) -> np.ndarray:
    """Return for each population the commonest training population of its cells, or ``""``."""
    trained = model.get_training_populations(adata).to_numpy()
    known = (codes >= 0) & pd.notna(trained)
    found = np.full(n_populations, "", dtype=object)
    pairs = pd.DataFrame({"code": codes[known], "name": trained[known]}).value_counts()
    commonest = pairs.reset_index().drop_duplicates("code")
    found[commonest["code"].astype(int)] = commonest["name"]
    return found.astype(str)
