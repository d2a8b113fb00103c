"""What comparisons of two populations and of groups of donors have in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import require
from ..data import PopulationIndex, cells_of, group_cells, population_table
from ._representations import Cells


class Populations(NamedTuple):
    """Populations, what is known of them, and their cells where there are any.

    ``table`` has ``n_cells`` and the columns constant within populations; ``embedding`` and
    ``covariance (P, L, L)`` are in its order; ``donors (P,)`` are codes, -1 where missing.
    """

    table: pd.DataFrame
    embedding: pd.DataFrame
    covariance: np.ndarray | None
    donor_key: str | None
    donors: np.ndarray
    params: dict
    cells: Cells | None


def embedded_populations(adata: AnnData, embedding_key: str, donor_key: str | None) -> Populations:
    """Return the populations of an AnnData of cells or, after ``get_population_adata``, of them."""
    covariance = cells = None
    if "gde_params" in adata.uns:
        params, table = adata.uns["gde_params"], adata.obs
        embedding = pd.DataFrame(adata.X, index=adata.obs_names)
    elif embedding_key in adata.uns:
        result = adata.uns[embedding_key]
        params, embedding = result["params"], result["embedding"]
        codes, names = group_cells(adata.obs, list(params["population_key"]))
        # A file may bring the categories back in another order.
        place = embedding.index.get_indexer(names)
        if len(names) != len(embedding) or (place < 0).any():
            raise ValueError(
                f"adata.uns[{embedding_key!r}] has other populations than adata.obs now. Call "
                "scgde.tl.embed_populations again."
            )
        embedding = embedding.iloc[place]
        if "covariance" in result:
            covariance = np.asarray(result["covariance"], dtype=float)[place]
        table = population_table(adata.obs, codes, names)
        source = cells_of(adata, params["layer"] or None, params["use_rep"] or None)
        cells = Cells(source, PopulationIndex(codes, names), bool(params["is_counts"]), adata.obs)
    else:
        raise KeyError(
            f"embedding_key={embedding_key!r} is not in adata.uns. Call "
            "scgde.tl.embed_populations(adata, model) first."
        )
    donor_key = donor_key or params["donor_key"] or None
    if donor_key is not None:
        require("donor_key", donor_key, table.columns, "the columns constant within populations")
    donors = sorted_codes(table.index if donor_key is None else table[donor_key])
    return Populations(table, embedding, covariance, donor_key, donors, dict(params), cells)


class Units(NamedTuple):
    """What is compared: populations, or donors as averages of their populations.

    ``of_population (P,)`` is the unit of each population, -1 for none; ``names``, ``donors``,
    ``groups`` and ``blocks`` are of the units ``(U,)``; ``levels`` names the groups.
    """

    of_population: np.ndarray
    names: np.ndarray
    donors: np.ndarray
    groups: np.ndarray
    blocks: np.ndarray
    levels: np.ndarray


class Comparison(NamedTuple):
    """Result of a comparison: one row of ``tests`` and of ``directions (C, L)`` a contrast.

    ``contrasts (C, 2)`` are the groups compared; ``scores`` is where units lie along the
    directions.
    """

    units: Units
    contrasts: np.ndarray
    tests: pd.DataFrame
    directions: np.ndarray
    scores: pd.DataFrame


def sorted_codes(values: pd.Series | pd.Index) -> np.ndarray:
    """Return codes of values in their own order, -1 where missing.

    A file may bring populations back in another order; permutations are the same nevertheless.
    """
    return pd.factorize(np.asarray(values, dtype=object), sort=True)[0]


def leading_axes(centred: np.ndarray, n_dims: int) -> np.ndarray:
    """Return the leading principal axes ``(L, k)`` of centred rows, k at most ``n_dims``."""
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    return axes[: min(n_dims, int((size > 1e-6 * size[0]).sum()))].T if size[0] > 0 else axes[:0].T


def unit_length(directions: np.ndarray) -> np.ndarray:
    """Return directions ``(..., L)`` divided by their length; zero stays zero."""
    length = np.linalg.norm(directions, axis=-1, keepdims=True)
    return directions / np.where(length > 0, length, 1)
