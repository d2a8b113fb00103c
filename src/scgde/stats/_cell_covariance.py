from __future__ import annotations

import numpy as np

from ._normal_prior import as_noisy


def pooled_cell_covariance(noise: np.ndarray, n_cells: np.ndarray) -> np.ndarray:
    """Return the covariance that one cell's worth of sampling has, pooled over populations.

    A sampling covariance is that of one cell over the number of cells; each population's says as
    much of it as it has degrees of freedom, cells less one.

    Parameters
    ----------
    noise
        Sampling covariances of embeddings ``(P, L, L)``; those of populations of one cell are NaN.
    n_cells
        Cells of each population ``(P,)``.

    Returns
    -------
    ``(L, L)``, in squared units of the embedding.

    Raises
    ------
    ValueError
        If shapes do not fit, or no population has two cells.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> noise = np.stack([np.eye(2) / 10, np.eye(2) / 40])
    >>> scgde.stats.pooled_cell_covariance(noise, np.array([10, 40])).round(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    noise, n_cells = np.asarray(noise, dtype=np.float64), np.asarray(n_cells)
    if noise.ndim != 3 or n_cells.shape != noise.shape[:1]:
        raise ValueError(
            f"noise has shape {noise.shape} and n_cells {n_cells.shape}; they must be "
            "(populations, n_latent, n_latent) and (populations,)."
        )
    known = n_cells > 1
    if not known.any():
        raise ValueError(
            "n_cells has no population of two cells or more; of single cells no sampling "
            "covariance can be known."
        )
    n = n_cells[known]
    as_noisy(np.zeros((len(n), noise.shape[-1])), noise[known])
    return np.einsum("p,plk->lk", n * (n - 1), noise[known]) / (n - 1).sum()


def completed_noise(noise: np.ndarray, n_cells: np.ndarray) -> np.ndarray:
    """Return sampling covariances with those of single cells, which have none, filled in.

    Parameters
    ----------
    noise, n_cells
        As in :func:`pooled_cell_covariance`.

    Returns
    -------
    ``(P, L, L)``; for a population of one cell the covariance of one cell, pooled over the others.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> noise = np.stack([np.eye(2) / 10, np.full((2, 2), np.nan)])
    >>> scgde.stats.completed_noise(noise, np.array([10, 1]))[1].round(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    n_cells = np.asarray(n_cells)
    noise = np.array(noise, dtype=np.float64)
    if (n_cells <= 1).any():
        noise[n_cells <= 1] = pooled_cell_covariance(noise, n_cells)
    return noise
