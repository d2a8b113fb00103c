from __future__ import annotations

import numpy as np
from anndata import AnnData
from sklearn.neighbors import NearestNeighbors

from .._errors import require, require_counts
from ..model import RegularizedAE

_LINEAR = 1e-6  # share of a basis' variance that a linear map of the cells may leave over
_SHARPNESS = 10.0  # of the weights; scVelo's default


def score_field(
    adata: AnnData,
    model: RegularizedAE,
    key_added: str = "score",
    basis: str | None = None,
    *,
    n_neighbors: int = 30,
) -> None:
    """Write the score of every cell: the direction in which the density of cells rises fastest.

    Parameters
    ----------
    adata
        Cells with the features that the model was set up with.
    model
        A trained model.
    key_added
        Where to write.
    basis
        Key of a map in ``.obsm``, such as ``"X_umap"`` or ``"umap"``, to project the arrows onto.
    n_neighbors
        Neighbours of each cell that an arrow on a nonlinear map is made of.

    Returns
    -------
    None. Written are:

    ``.obsm[key_added]``
        The score, cells x features of the model, one over the data's units
        (:meth:`~scgde.model.RegularizedAE.get_score`).
    ``.obsm[key_added + "_" + name of the map]``
        Where a basis is given, the arrows on it, cells x its dimensions.
    ``.uns[key_added]``
        ``sigma_data``, ``regularization``, ``seed``, ``basis`` and ``projection``, ``"linear"``,
        ``"neighbors"`` or ``""``.

    Where the map is linear in the model's features (principal components; found out by regression)
    a change of the cells has an exact image on it, and the arrow is that of the score. Where it is
    not, arrows are made as RNA velocities' are (Bergen et al. 2020, Methods; scVelo): each cell's
    neighbours are weighted by a softmax of the cosine between their displacement and the score,
    and the arrow is the mean of the unit displacements on the map under these weights, less that
    under equal weights. Their direction then means something, their length less: it tells how
    consistently the neighbours agree.

    Raises
    ------
    KeyError, ValueError
        If the map is absent, has values that are not finite, or there are not more cells than
        neighbours.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.manifold("parabola", 200, noise=0.1)
    >>> scgde.model.RegularizedAE.setup_anndata(adata)
    >>> model = scgde.model.RegularizedAE(adata, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.score_field(adata, model)
    >>> adata.obsm["score"].shape
    (200, 2)
    """
    score = model.get_score(adata).to_numpy()
    name, projection = "", ""
    if basis is not None:
        basis = basis_key(adata, basis)
        name = basis.removeprefix("X_")
        arrows, projection = _projected(
            model._points(adata, None)[0], score, _map(adata, basis), n_neighbors
        )
        adata.obsm[f"{key_added}_{name}"] = arrows.astype(np.float32)
    adata.obsm[key_added] = score
    adata.uns[key_added] = {
        "sigma_data": model.sigma_data,
        "regularization": model.module.regularization,
        "seed": model.seed_,
        "basis": name,
        "projection": projection,
    }


def basis_key(adata: AnnData, basis: str) -> str:
    """Return the key in ``.obsm`` of a map given by its key or its name without ``X_``.

    Raises
    ------
    KeyError
        If there is none of either name.
    """
    if basis not in adata.obsm and f"X_{basis}" in adata.obsm:
        return f"X_{basis}"
    require("basis", basis, adata.obsm.keys(), "adata.obsm")
    return basis


def _map(adata: AnnData, basis: str) -> np.ndarray:
    y = np.asarray(adata.obsm[basis], dtype=np.float64)
    if not np.isfinite(y).all():
        raise ValueError(f"basis={basis!r} has values that are NaN or infinite: make it anew.")
    return y


def _projected(
    x: np.ndarray, score: np.ndarray, y: np.ndarray, n_neighbors: int
) -> tuple[np.ndarray, str]:
    """Return arrows on the map ``y (n, k)`` of arrows at cells ``x (n, d)``, and how."""
    if len(x) > 2 * x.shape[1]:  # else anything is linear
        centred = x - x.mean(0, dtype=np.float64)
        target = y - y.mean(0)
        slopes = np.linalg.lstsq(centred, target, rcond=None)[0]
        left = np.square(target - centred @ slopes).sum()
        if left <= _LINEAR * np.square(target).sum():
            return score @ slopes, "linear"
    return _neighbor_arrows(x, score, y, n_neighbors), "neighbors"


def _neighbor_arrows(
    x: np.ndarray, score: np.ndarray, y: np.ndarray, n_neighbors: int
) -> np.ndarray:
    require_counts(n_neighbors=n_neighbors)
    if n_neighbors >= len(x):
        raise ValueError(f"n_neighbors={n_neighbors} must be below the {len(x)} cells.")
    found = NearestNeighbors(n_neighbors=n_neighbors).fit(x).kneighbors(return_distance=False)
    arrows = np.empty(y.shape)
    for start in range(0, len(x), 1_000):  # (cells, neighbours, features) would not fit at once
        own = slice(start, start + 1_000)
        displacement = x[found[own]] - x[own, None]
        cosine = np.einsum("nkd,nd->nk", _unit(displacement), _unit(score[own]))
        weight = np.exp(_SHARPNESS * (cosine - cosine.max(1, keepdims=True)))
        weight /= weight.sum(1, keepdims=True)
        on_map = _unit(y[found[own]] - y[own, None])
        arrows[own] = np.einsum("nk,nkd->nd", weight - 1 / n_neighbors, on_map)
    return arrows


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors ``(..., d)`` of length one; zero where they are zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
