from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import require_counts
from ..stats import NormalPrior, expected_distances, paired_distances
from ._populations import embedded_populations, sampling_noise


def nearest_populations(
    adata: AnnData,
    n_neighbors: int = 5,
    *,
    embedding_key: str = "gde",
    level: float = 0.95,
    key_added: str = "gde_neighbors",
) -> pd.DataFrame:
    """Find the nearest neighbours of each population, their sampling noise taken into account.

    A population of few cells lies far from all others by noise alone, and its nearest neighbours
    are chance. So every embedding is first replaced by what is known of the true one, given how
    true embeddings are distributed (:class:`~scgde.stats.NormalPrior`); neighbours are in the
    order of the expected squared distance between these
    (:func:`~scgde.stats.expected_distances`).

    Parameters
    ----------
    adata
        Cells, after :func:`embed_populations`.
    n_neighbors
        Neighbours of each population.
    embedding_key
        ``key_added`` of :func:`embed_populations`.
    level
        Coverage of the intervals.
    key_added
        Where to write.

    Returns
    -------
    DataFrame of ``population``, ``neighbor``, ``rank`` from 1, ``distance`` between the true
    embeddings (root of the expected square, in units of the embedding) with its
    ``standard_error``, ``low`` and ``high``, and ``plain_distance`` between the embeddings as they
    are. Also written to ``.uns[key_added]``: ``neighbors``, that table; ``distances``, array of all
    ``distance``, populations x populations; ``populations``, array of their names in its order;
    ``params``.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the embedding or its covariance is absent, or there are no ``n_neighbors`` others.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.embed_populations(adata, model)
    >>> table = scgde.tl.nearest_populations(adata, 3)
    >>> table.columns[:4].tolist(), len(table)
    (['population', 'neighbor', 'rank', 'distance'], 36)
    """
    require_counts(n_neighbors=n_neighbors)
    study = embedded_populations(adata, embedding_key, None)
    noise = sampling_noise(study, embedding_key)
    z, names = study.embedding.to_numpy(dtype=np.float64), study.embedding.index
    if n_neighbors >= len(names):
        raise ValueError(
            f"n_neighbors={n_neighbors} must be below {len(names)}, the number of populations."
        )
    truth, left = NormalPrior.fit(z, noise).denoise(z, noise)
    matrix = expected_distances(truth, left, truth, left)
    np.fill_diagonal(matrix, np.inf)
    nearest = np.argsort(matrix, axis=1, kind="stable")[:, :n_neighbors]
    np.fill_diagonal(matrix, 0)
    of, other = np.repeat(np.arange(len(names)), n_neighbors), nearest.ravel()
    found = paired_distances(truth[of], left[of], truth[other], left[other], level)
    table = pd.DataFrame(
        {
            "population": names[of],
            "neighbor": names[other],
            "rank": np.tile(np.arange(1, n_neighbors + 1), len(names)),
            **found._asdict(),
            "plain_distance": np.linalg.norm(z[of] - z[other], axis=1),
        },
        index=[str(i) for i in range(len(of))],
    )
    adata.uns[key_added] = {
        "neighbors": table,
        "distances": matrix,
        "populations": names.to_numpy(dtype=object),
        "params": {"embedding_key": embedding_key, "n_neighbors": n_neighbors, "level": level},
    }
    return table
