from __future__ import annotations

import warnings

import numpy as np
from anndata import AnnData
from rich.progress import Progress

from .._errors import require_counts, require_positive
from ..model import RegularizedAE

_MAX_VALUES = 1 << 24  # of the largest array held at once


def density_ridges(
    adata: AnnData,
    model: RegularizedAE,
    n_dims: int = 1,
    key_added: str = "ridge",
    *,
    max_steps: int = 200,
    tolerance: float = 1e-3,
    enable_progress_bar: bool = True,
) -> None:
    r"""Move every cell onto the nearest ridge of the density: its mode, curve or surface.

    Subspace-constrained mean shift (Ozertem & Erdogmus 2011; Genovese et al. 2014). A point is on
    a ridge of n dimensions if the score has no part in the span of the Hessian's lowest d - n
    eigenvectors, and the eigenvalues of these are below zero: the density is highest across
    the ridge. Points move along that part of the score. Along an eigenvector with eigenvalue
    :math:`\lambda < 0` a step is :math:`1 / |\lambda|` times the score, where a normal density has
    its ridge; along others it is the mean shift, :math:`s^2` times the score; in all no further
    than s. Score and Hessian, made symmetric, are those of the model, so the ridge is one of
    the density smoothed with s.

    Parameters
    ----------
    adata
        Cells with the features that the model was set up with.
    model
        A trained model, of some tens of features at most: a step takes each point's Hessian.
    n_dims
        Dimensions of the ridge: 0 for modes, 1 for curves, 2 for surfaces.
    key_added
        Where to write.
    max_steps
        Steps after which points that still move are left where they are.
    tolerance
        A point has arrived when its next step is shorter than this times s.
    enable_progress_bar
        Show progress.

    Returns
    -------
    None. Written are:

    ``.obsm[key_added]``
        The ridge points, cells x features of the model, in its units.
    ``.obsm[key_added + "_cells"]``
        The cells in the same units, as the model sees them (of counts, log-normalised ones).
    ``.obs[key_added + "_distance"]``
        How far each cell was moved, in these units.
    ``.obs[key_added + "_converged"]``
        Whether it arrived on a ridge within ``max_steps``: at rest, all eigenvalues across below
        zero. Leave the others out.
    ``.uns[key_added]``
        ``features``, their names; ``n_dims``, ``max_steps``, ``tolerance``, ``sigma_data``,
        ``n_converged``.

    A ridge of noise there always is: compare with cells whose features were permuted.

    Raises
    ------
    ValueError
        If ``n_dims`` is not from 0 to the number of features less one.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.manifold("parabola", 200, noise=0.1)
    >>> scgde.model.RegularizedAE.setup_anndata(adata)
    >>> model = scgde.model.RegularizedAE(adata, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.density_ridges(adata, model, max_steps=3, enable_progress_bar=False)
    >>> adata.obsm["ridge"].shape
    (200, 2)
    """
    require_counts(max_steps=max_steps)
    require_positive(tolerance=tolerance)
    start, _ = model._points(adata, None)
    d = start.shape[1]
    if isinstance(n_dims, bool) or not isinstance(n_dims, int | np.integer) or not 0 <= n_dims < d:
        raise ValueError(f"n_dims={n_dims!r} must be a whole number from 0 to {d - 1}.")
    model._warn_if_far(start)
    sigma = model.sigma_data
    points, converged = start.astype(np.float64), np.zeros(len(start), dtype=bool)
    active = np.arange(len(start))
    with Progress(disable=not enable_progress_bar) as progress:
        task = progress.add_task("Ridges", total=len(start))
        for _ in range(max_steps):
            size = max(1, _MAX_VALUES // d**2)
            pieces = [
                _steps(model, points[active[i : i + size]], n_dims)
                for i in range(0, len(active), size)
            ]
            step, is_across = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
            at_rest = np.linalg.norm(step, axis=1) < tolerance * sigma
            converged[active[at_rest]] = is_across[at_rest]
            points[active[~at_rest]] += step[~at_rest]
            active = active[~at_rest]
            progress.update(task, completed=len(start) - len(active))
            if not len(active):
                break
    if converged.mean() < 0.9:
        warnings.warn(
            f"{(~converged).sum()} of {len(converged)} cells did not arrive on a ridge in "
            f"max_steps={max_steps} steps (.obs['{key_added}_converged']): take more steps, "
            "or a model with a larger sigma.",
            UserWarning,
            stacklevel=2,
        )
    adata.obsm[key_added] = points.astype(np.float32)
    adata.obsm[f"{key_added}_cells"] = start
    adata.obs[f"{key_added}_distance"] = np.linalg.norm(points - start, axis=1)
    adata.obs[f"{key_added}_converged"] = converged
    adata.uns[key_added] = {
        "features": model.get_feature_names().to_numpy(dtype=object),
        "n_dims": int(n_dims),
        "max_steps": max_steps,
        "tolerance": tolerance,
        "sigma_data": sigma,
        "n_converged": int(converged.sum()),
    }


def _steps(model: RegularizedAE, points: np.ndarray, n_dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the next step of points ``(n, d)``, and whether the density is concave across."""
    x, sigma = points.astype(np.float32), model.sigma_data
    # get_score and get_hessian would look for far points anew; the caller was told at the start.
    score = model._values(model.module.score, x)
    hessian = model._hessians(x, enable_progress_bar=False).astype(np.float64)
    value, vector = np.linalg.eigh((hessian + hessian.swapaxes(1, 2)) / 2)  # ascending
    across = points.shape[1] - n_dims
    value, vector = value[:, :across], vector[:, :, :across]
    along = np.einsum("ndk,nd->nk", vector, score)
    rate = np.full_like(value, sigma**2)
    np.divide(-1, value, out=rate, where=value < 0)
    step = np.einsum("ndk,nk->nd", vector, rate * along)
    length = np.linalg.norm(step, axis=1, keepdims=True)
    step *= np.minimum(1, sigma / np.maximum(length, 1e-12))
    return step, (value < 0).all(1)
