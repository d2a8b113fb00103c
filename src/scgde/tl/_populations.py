"""Populations as ``tl`` reads them back from an AnnData."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import listed, require_type
from ..data import PopulationIndex, cells_of, group_cells, population_table, require_label
from ..model import GDE
from ..stats import completed_noise
from ._representations import Cells


class Populations(NamedTuple):
    """Populations, what is known of them, and their cells where there are any.

    ``table`` has ``n_cells`` (those the embedding is of) and the columns constant within
    populations; ``embedding`` and ``covariance (P, L, L)`` are in its order; ``donors (P,)`` are
    codes, -1 where missing.
    """

    table: pd.DataFrame
    embedding: pd.DataFrame | None
    covariance: np.ndarray | None
    donor_key: str | None
    donors: np.ndarray
    params: dict
    cells: Cells | None


def embedded_populations(
    adata: AnnData, embedding_key: str, donor_key: str | None, model: GDE | None = None
) -> Populations:
    """Return the populations of an AnnData of cells or, after ``get_population_adata``, of them.

    With a model, those that it would embed, without an embedding.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a key is absent, ``adata`` is no AnnData, populations changed since they were embedded,
        or an embedding is not finite.
    """
    require_type(
        "adata",
        adata,
        AnnData,
        "Of a MuData pass the populations, model.get_population_adata(mdata), where no cells and "
        "no covariances are needed; else a model and an embedding of one modality, an AnnData.",
    )
    embedding = covariance = cells = None
    if model is None and "gde_params" in adata.uns:
        params, table = adata.uns["gde_params"], adata.obs
        embedding = pd.DataFrame(adata.X, index=adata.obs_names)
    elif model is None and embedding_key not in adata.uns:
        raise KeyError(
            f"embedding_key={embedding_key!r} is not in adata.uns. Call "
            "scgde.tl.embed_populations(adata, model) first."
        )
    else:
        params = adata.uns[embedding_key]["params"] if model is None else model.get_parameters()
        codes, names = group_cells(adata.obs, list(params["population_key"]))
        table = population_table(adata.obs, codes, names)
        if model is None:
            embedding, covariance, table["n_cells"] = _in_order(
                adata.uns[embedding_key], names, embedding_key
            )
        source = cells_of(adata, params["layer"] or None, params["use_rep"] or None)
        cells = Cells(source, PopulationIndex(codes, names), bool(params["is_counts"]), adata.obs)
    if embedding is not None:
        _require_finite(embedding)
    donor_key = donor_key or params["donor_key"] or None
    if donor_key is not None:
        require_label("donor_key", donor_key, table)
    donors = sorted_codes(table.index if donor_key is None else table[donor_key])
    return Populations(table, embedding, covariance, donor_key, donors, dict(params), cells)


def _in_order(
    result: dict, names: pd.Index, embedding_key: str
) -> tuple[pd.DataFrame, np.ndarray | None, np.ndarray]:
    """Return embeddings, covariances and the cells they are of, in the order of ``names``."""
    embedding = result["embedding"]
    # A file may bring the categories back in another order.
    place = embedding.index.get_indexer(names)
    if len(names) != len(embedding) or (place < 0).any():
        raise ValueError(
            f"adata.uns[{embedding_key!r}] has other populations than adata.obs now. Call "
            "scgde.tl.embed_populations again."
        )
    # Cells left out since do not make the covariances those of fewer.
    n_cells = np.asarray(result["n_cells"])[place]
    if "covariance" not in result:
        return embedding.iloc[place], None, n_cells
    return embedding.iloc[place], np.asarray(result["covariance"], dtype=float)[place], n_cells


def _require_finite(embedding: pd.DataFrame) -> None:
    lost = ~np.isfinite(embedding.to_numpy(dtype=float)).all(1)
    if lost.any():
        raise ValueError(
            f"The embeddings of {lost.sum()} populations have values that are NaN or infinite: "
            f"{listed(embedding.index[lost], 3)}. Look for such values in their cells, or for a "
            "training that diverged, and embed again."
        )


def require_covariance(study: Populations, embedding_key: str) -> np.ndarray:
    """Return the sampling covariances ``(P, L, L)``, or raise a ``KeyError`` without them."""
    if study.covariance is None:
        raise KeyError(
            f"adata.uns[{embedding_key!r}] has no 'covariance', the sampling covariances of the "
            "embeddings. Call scgde.tl.embed_populations(adata, model, covariance=True) on the "
            "AnnData of cells, and pass that."
        )
    return study.covariance


def sampling_noise(study: Populations, embedding_key: str) -> np.ndarray:
    """Return sampling covariances ``(P, L, L)``, those of single cells filled in, or raise."""
    covariance = require_covariance(study, embedding_key)
    return completed_noise(covariance, study.table["n_cells"].to_numpy())


def require_donors(study: Populations, member: np.ndarray, groupby: str) -> None:
    """Raise unless each population with a group, ``member (P,)``, has a donor."""
    if (study.donors[member] < 0).any():
        raise ValueError(
            f"donor_key={study.donor_key!r} is missing for some populations that have a "
            f"{groupby!r}. Fill it in, or set their group to missing to leave them out."
        )


def sorted_codes(values: pd.Series | pd.Index) -> np.ndarray:
    """Return codes of values in their own order, -1 where missing.

    A file may bring populations back in another order; permutations are the same nevertheless.
    """
    return pd.factorize(np.asarray(values, dtype=object), sort=True)[0]
