"""Whether one more latent variable says anything about cells that the others do not."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.neighbors import NearestNeighbors

from .._errors import require_counts, require_positive, require_zero_or_more

_MAX_CELLS = 2_000
_MAX_FOR_KERNEL = 300  # by which the kernel is fitted


class RandomizationTest(NamedTuple):
    """Result of :func:`conditional_randomization_test`.

    ``p_value``; ``gain``, the share by which the held-out squared error of predicting x is below
    its mean over draws of u anew; ``null (n_draws,)``, the same of each draw.

    Attributes
    ----------
    p_value
        ``(k + 1) / (n_draws + 1)``.
    gain
        Share by which the held-out squared error of predicting x is below its mean over draws of u
        anew.
    null
        The same of each draw, ``(n_draws,)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(2, 100, 1))
    >>> test = scgde.metrics.conditional_randomization_test(z + u, u, z, n_draws=19)
    >>> test.p_value, test.null.shape
    (0.05, (19,))
    """

    p_value: float
    gain: float
    null: np.ndarray


def conditional_randomization_test(
    x: np.ndarray,
    u: np.ndarray,
    z: np.ndarray,
    *,
    n_draws: int = 199,
    resolution: float = 0.1,
    n_neighbors: int = 10,
    seed: int = 0,
) -> RandomizationTest:
    """Test whether cells depend on a latent variable beyond what the others say.

    The null is that x and u are independent given z (Candes et al., J. R. Statist. Soc. B 80,
    2018). A regression of x on (z, u), extremely randomised trees, is fitted on one half of the
    cells. On the other half, x and z stay as they are and u alone is drawn anew from its
    distribution given z; the regression is not fitted again (holdout randomisation test: Tansey et
    al., J. Comput. Graph. Statist. 31, 2022). That distribution is estimated on the first half:
    a Gaussian process regression of u on z, and the residual of one of the nearest neighbours in z.
    The test is as good as that estimate; with few cells and many z it is coarse.

    Parameters
    ----------
    x
        Cells, ``(n, d)``.
    u
        The latent variable in question, ``(n,)``; or several, ``(n, q)``.
    z
        Those before it, ``(n, k)``; k may be 0.
    n_draws
        Times that u is drawn anew.
    resolution
        Standard deviation of normal noise that is added to u first, in standard deviations of u.
        Where u is a function of z its conditional distribution is a point that no regression
        hits, and every test would reject; what is finer than the noise is not looked for. The
        null holds with the noise if it does without.
    n_neighbors
        Neighbours in z of which residuals are drawn.
    seed
        Seed of the halves, the noise, the trees and the draws.

    Returns
    -------
    :class:`RandomizationTest`; the p-value is (1 + number of draws with as large a gain) /
    (n_draws + 1).

    Raises
    ------
    ValueError
        If the numbers of cells differ, there are fewer than 40, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> z, u = np.random.default_rng(0).normal(size=(2, 300))
    >>> x = np.stack([z, z**2], 1)
    >>> bool(conditional_randomization_test(x, u, z[:, None], n_draws=19).p_value > 0.05)
    True
    >>> x[:, 1] += u
    >>> float(conditional_randomization_test(x, u, z[:, None], n_draws=19).p_value)
    0.05
    """
    require_counts(n_draws=n_draws, n_neighbors=n_neighbors)
    require_zero_or_more(seed=seed)
    require_positive(resolution=resolution)
    x, u, z = (_matrix(name, a) for name, a in (("x", x), ("u", u), ("z", z)))
    if not len(x) == len(u) == len(z):
        raise ValueError(
            f"x, u and z have {len(x)}, {len(u)} and {len(z)} cells; they must be the same cells."
        )
    if len(x) < 40:
        raise ValueError(f"x has {len(x)} cells; the test needs 40, half of them held out.")
    rng = np.random.default_rng(seed)
    u = _standardised(u)
    u = u + resolution * rng.normal(size=u.shape)
    z = _standardised(z)
    order = rng.permutation(len(x))[:_MAX_CELLS]
    fit, held_out = np.array_split(order, 2)
    trees = ExtraTreesRegressor(100, min_samples_leaf=3, random_state=seed)
    trees.fit(np.hstack([z, u])[fit], x[fit])
    draw = _conditional_draws(
        u[fit], z[fit], z[held_out], min(n_neighbors, len(fit)), resolution, seed
    )

    def error(of_u: np.ndarray) -> float:
        predicted = trees.predict(np.hstack([z[held_out], of_u])).reshape(x[held_out].shape)
        return float(np.square(x[held_out] - predicted).sum(1).mean())

    errors = np.array([error(draw(rng)) for _ in range(n_draws)])
    observed = error(u[held_out])
    scale = errors.mean() if errors.mean() > 0 else 1.0
    p_value = (1 + (errors <= observed).sum()) / (n_draws + 1)
    return RandomizationTest(float(p_value), 1 - observed / scale, 1 - errors / scale)


def _conditional_draws(
    u: np.ndarray, z: np.ndarray, at: np.ndarray, k: int, resolution: float, seed: int
):
    """Return a function that draws u at the points ``at``."""
    if z.shape[1] == 0:
        return lambda rng: u[rng.integers(len(u), size=len(at))]
    some = np.random.default_rng(seed).permutation(len(z))[:_MAX_FOR_KERNEL]
    # The noise that was added is known, and is the least there can be.
    kernel = ConstantKernel() * RBF(np.sqrt(z.shape[1])) + WhiteKernel(
        0.1, (resolution**2 / 2, 10.0)
    )
    with warnings.catch_warnings():  # a parameter at its bound is a fit, too
        warnings.simplefilter("ignore", ConvergenceWarning)
        kernel = GaussianProcessRegressor(kernel).fit(z[some], u[some]).kernel_
    regression = GaussianProcessRegressor(kernel, optimizer=None).fit(z, u)
    mean = regression.predict(at).reshape(len(at), -1)
    # What each cell is from its prediction by all others (Rasmussen & Williams 2006, Eq. 5.12).
    inverse = cho_solve((regression.L_, True), np.eye(len(z)))
    residual = (inverse @ u) / np.diag(inverse)[:, None]
    neighbours = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(at, return_distance=False)

    def draw(rng: np.random.Generator) -> np.ndarray:
        chosen = neighbours[np.arange(len(at)), rng.integers(k, size=len(at))]
        return mean + residual[chosen]

    return draw


def _standardised(values: np.ndarray) -> np.ndarray:
    sd = values.std(0)
    return (values - values.mean(0)) / np.where(sd > 0, sd, 1)


def _matrix(argument: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(
            f"{argument} has shape {values.shape}; it must be a table of finite numbers, one row "
            "a cell."
        )
    return values
