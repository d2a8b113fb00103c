from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._errors import require_counts


def bootstrap_radius(
    influence: np.ndarray, level: float = 0.95, n_bootstrap: int = 400, seed: int = 0
) -> float:
    r"""Return the squared Mahalanobis radius of a confidence ellipsoid, by the bootstrap-t.

    Hotelling's factor (:func:`hotelling_radius`) holds for normal influences. Those of cells are
    skewed and heavy-tailed, and of a hundred cells in eight directions the difference counts: the
    ellipsoid is too small. Here cells are redrawn, and the radius is the quantile of

    .. math:: T^{2*} = \bar\psi^{*T} \hat\Sigma^{*-1} \bar\psi^*

    with mean and covariance of each redrawn sample (Efron 1982, Ch. 10; Hall 1992, Sec. 4.2). From
    about a thousand cells on the two agree.

    Parameters
    ----------
    influence
        Influence of a population's cells along p directions, ``(n, p)``.
    level
        Coverage.
    n_bootstrap, seed
        Number of samples redrawn, and the seed of that.

    Returns
    -------
    The bound of ``d' S^-1 d`` with the sampling covariance S, as :func:`hotelling_radius`.

    Raises
    ------
    ValueError
        If there are not more cells than directions, values are not finite, or the level is not
        between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> influence = np.random.default_rng(0).normal(size=(100, 2))
    >>> radius = scgde.stats.bootstrap_radius(influence)
    >>> bool(abs(radius - scgde.stats.hotelling_radius(100, 2)) < 2)
    True
    """
    psi = np.asarray(influence, dtype=np.float64)
    require_counts(n_bootstrap=n_bootstrap)
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must be between 0 and 1, as 0.95.")
    if psi.ndim != 2 or len(psi) <= psi.shape[1]:
        raise ValueError(
            f"influence has shape {psi.shape}; it must be cells x directions, with more cells than "
            "directions. Take fewer directions."
        )
    if not np.isfinite(psi).all():
        raise ValueError("influence has values that are NaN or infinite; leave those cells out.")
    n = len(psi)
    # T2 does not change with the scale of the directions: whitened, it is best conditioned.
    centred = psi - psi.mean(0)
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    if size[-1] <= 1e-7 * size[0]:
        raise ValueError(
            "influence has directions in which cells do not differ; leave out what follows from "
            "the others."
        )
    white = centred @ (axes.T / size) * np.sqrt(n)
    rng = np.random.default_rng(seed)
    found = [
        (n - 1) * squared_lengths(mean, spread)
        for mean, spread in redrawn_moments(white, n, n_bootstrap, rng)
    ]
    return float(np.quantile(np.concatenate(found), level))


def redrawn_moments(
    white: np.ndarray, n_cells: int, n_bootstrap: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield means ``(k, p)`` and covariances ``(k, p, p)`` (over n) of samples redrawn.

    Parameters
    ----------
    white
        Centred influences of the cells to draw from, ``(n, p)``.
    n_cells
        Cells of a sample.
    n_bootstrap
        Samples in all; a piece has a hundred at most.
    rng
        Random generator.
    """
    n, p = white.shape
    pairs = np.einsum("ni,nj->nij", white, white).reshape(n, p * p)
    # The counts of a redrawn sample are all it takes; pieces keep them small.
    for start in range(0, n_bootstrap, 100):
        drawn = min(100, n_bootstrap - start)
        share = rng.multinomial(n_cells, np.full(n, 1 / n), size=drawn) / n_cells
        mean = share @ white
        spread = (share @ pairs).reshape(drawn, p, p) - mean[:, :, None] * mean[:, None]
        yield mean, spread


def squared_lengths(vectors: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Return ``v' M^-1 v`` of each vector ``(k, p)``, in units in which M is about one."""
    # A sample may repeat too few cells to span all directions: then its T2 is without bound.
    matrices = matrices + 1e-12 * np.eye(vectors.shape[1])
    return np.einsum("bi,bi->b", vectors, np.linalg.solve(matrices, vectors[..., None])[..., 0])
