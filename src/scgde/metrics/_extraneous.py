"""Whether latents beyond the first k say anything that those do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import digamma, gammaln
from sklearn.base import RegressorMixin, clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors

from .._errors import require_counts

_TINY = 1e-10  # of a standard deviation: points nearer than this are one point
_MIN_POINTS = 50
_DIMENSION_NEIGHBORS = 20
_SIZES = (3, 10, 30, 100, 300)


def extraneous_latents(
    latent: np.ndarray,
    k: int,
    *,
    regressor: RegressorMixin | None = None,
    n_splits: int = 5,
    n_neighbors: int = 3,
    n_bootstrap: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Return how far the latents after the first k are functions of those.

    With :math:`Z = z_{1..k}` and :math:`U = z_{k+1..K}`, each coordinate standardised (arXiv
    2502.11583, Table 3, with its slips mended: there R2 was of the training points, points were
    duplicated by the bootstrap before their dimension was estimated, and "nats" were bits). Pass
    the latent of cells that the autoencoder was not trained on.

    Parameters
    ----------
    latent
        ``(n, K)``.
    k
        Latents that are thought to be enough, from 1 to K - 1.
    regressor
        Of U on Z, any of scikit-learn's for several outputs; by default the mean of nearest
        neighbours, as many and weighted as predicts best within the training part.
    n_splits
        Parts of which each is predicted by a regression on the others.
    n_neighbors
        Neighbours of the entropy. The local dimension has 20.
    n_bootstrap
        Bootstrap draws of the interval. Points' own contributions are drawn, not points: these
        would be duplicates, at distance zero.
    seed
        Seed of splits and draws.

    Returns
    -------
    DataFrame indexed by ``metric``: ``estimate``, ``low``, ``high`` (95 %, conditional on the
    encoder), ``extraneous`` (the value of a U that Z determines), ``n_points``.

    ``r2``
        Held out, of all coordinates of U together: 1 if Z determines U, about 0 if U is noise.
    ``dimension_drop``
        Local intrinsic dimension of (Z, U) minus that of Z, mean over points, by maximum likelihood
        (Levina & Bickel 2004, as in scikit-dimension), on distinct points. 0 if Z determines U, 1
        for each dimension that U adds.
    ``conditional_entropy``
        :math:`H(U | Z) = H(Z, U) - H(Z)` in nats by nearest neighbours (Kozachenko & Leonenko
        1987). 1.42 for a standard normal U independent of Z; minus infinity in the limit of many
        points if Z determines U, so compare it at one number of points.

    Raises
    ------
    TypeError, ValueError
        If ``latent`` is no matrix of finite numbers, k is out of range, there are too few distinct
        points, or a coordinate of Z is constant.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(2, 1000))
    >>> noise = extraneous_latents(np.column_stack([z, u]), 1)
    >>> square = extraneous_latents(np.column_stack([z, z**2]), 1)
    >>> noise["estimate"].round(1).tolist(), square["estimate"].round(1).tolist()
    ([-0.0, 1.1, 1.5], [1.0, 0.0, -4.1])
    """
    require_counts(k=k, n_splits=n_splits, n_neighbors=n_neighbors, n_bootstrap=n_bootstrap)
    z, u = _standardized_parts(latent, k, n_splits, n_neighbors)
    both = np.column_stack([z, u])
    rng = np.random.default_rng(seed)
    if regressor is None:
        sizes = [size for size in _SIZES if size < len(z) // 3]
        options = {"n_neighbors": sizes, "weights": ["uniform", "distance"]}
        regressor = GridSearchCV(KNeighborsRegressor(), options, cv=3)
    lost, total = _residuals(regressor, z, u, n_splits, seed)
    drop = _local_dimension(both) - _local_dimension(z)
    entropy = _entropy_terms(both, n_neighbors) - _entropy_terms(z, n_neighbors)
    draws = rng.integers(len(z), size=(n_bootstrap, len(z)))
    rows = [
        (1 - lost.sum() / total.sum(), [1 - lost[d].sum() / total[d].sum() for d in draws], 1.0),
        (drop.mean(), [drop[d].mean() for d in draws], 0.0),
        (entropy.mean(), [entropy[d].mean() for d in draws], -np.inf),
    ]
    return pd.DataFrame(
        [(value, *np.quantile(drawn, [0.025, 0.975]), ideal) for value, drawn, ideal in rows],
        columns=["estimate", "low", "high", "extraneous"],
        index=pd.Index(["r2", "dimension_drop", "conditional_entropy"], name="metric"),
    ).assign(n_points=len(z))


def _standardized_parts(
    latent: np.ndarray, k: int, n_splits: int, n_neighbors: int
) -> tuple[np.ndarray, np.ndarray]:
    latent = np.asarray(latent, dtype=float)
    if latent.ndim != 2 or not np.isfinite(latent).all():
        raise ValueError(
            f"latent has the shape {latent.shape}; it must be a matrix of finite numbers, (n, K)."
        )
    if not k < latent.shape[1]:
        raise ValueError(
            f"k={k} leaves none of the {latent.shape[1]} latents over: it must be below "
            f"{latent.shape[1]}."
        )
    if n_splits < 2:
        raise ValueError(f"n_splits={n_splits} must be two or more, or nothing is held out.")
    distinct = np.sort(np.unique(latent, axis=0, return_index=True)[1])
    least = max(_MIN_POINTS, 2 * (n_neighbors + 1), 2 * n_splits)
    if len(distinct) < least:
        raise ValueError(
            f"latent has {len(distinct)} distinct points; n_splits={n_splits} and "
            f"n_neighbors={n_neighbors} need at least {least}."
        )
    latent = latent[distinct]
    spread = latent.std(0)
    # A latent that moves by rounding alone is constant.
    constant = spread <= 1e-7 * np.maximum(np.abs(latent).max(0), 1e-30)
    if constant[:k].any():
        raise ValueError(
            f"Latent {int(constant[:k].argmax())} of the first k={k} is constant: the encoder has "
            "collapsed, and nothing can be conditioned on it."
        )
    if constant[k:].any():
        raise ValueError(
            f"Latent {k + int(constant[k:].argmax())}, after the first k={k}, is constant: it is "
            "extraneous, whatever Z. Leave it out."
        )
    latent = (latent - latent.mean(0)) / spread
    return latent[:, :k], latent[:, k:]


def _residuals(
    regressor: RegressorMixin, z: np.ndarray, u: np.ndarray, n_splits: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's squared error held out, and from the mean of the other parts."""
    lost, total = np.empty((2, len(z)))
    for train, test in KFold(n_splits, shuffle=True, random_state=seed).split(z):
        # One output as a vector: not every regressor takes a column.
        target = u[train, 0] if u.shape[1] == 1 else u[train]
        predicted = clone(regressor).fit(z[train], target).predict(z[test])
        lost[test] = np.square(u[test] - predicted.reshape(len(test), -1)).sum(1)
        total[test] = np.square(u[test] - u[train].mean(0)).sum(1)
    return lost, total


def _local_dimension(x: np.ndarray) -> np.ndarray:
    """Return the dimension around each point, ``(n,)``."""
    from skdim.id import MLE

    # The package refuses a single column; one of zeros changes no distance. In fewer coordinates
    # than the points had, some may coincide: a nudge keeps their distance above zero.
    x = np.column_stack([x, np.zeros(len(x))]) if x.shape[1] == 1 else x
    nudge = np.random.default_rng(0).normal(scale=_TINY, size=x.shape)
    return MLE().fit_transform_pw(x + nudge, n_neighbors=_DIMENSION_NEIGHBORS)


def _entropy_terms(x: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Return each point's contribution to the Kozachenko-Leonenko entropy in nats, ``(n,)``."""
    n, d = x.shape
    distance = NearestNeighbors(n_neighbors=n_neighbors).fit(x).kneighbors()[0][:, -1]
    ball = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    return digamma(n) - digamma(n_neighbors) + ball + d * np.log(np.maximum(distance, _TINY))
