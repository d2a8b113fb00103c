"""Whether the level sets of an encoder stand square to the score of the data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from .._errors import require_counts

_SLOPE_SHARE = 0.1  # of the sample: a slope takes more neighbours than a mean


class LevelSets(NamedTuple):
    """Given the latent of each of n points: ``center (n, d)``, ``variance (n,)``, ``slope (n, d)``.

    Mean of the data, mean squared distance from it, and the mean's derivative by the latent.

    Attributes
    ----------
    center
        Mean of the data given the latent, ``(n, d)``.
    variance
        Mean squared distance from it, ``(n,)``.
    slope
        Derivative of the mean by the latent, ``(n, d)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> sets = scgde.metrics.level_sets(x[:5, 0], x, x[:, 0], n_neighbors=50)
    >>> sets.center.shape, sets.variance.shape, sets.slope.shape
    ((5, 2), (5,), (5, 2))
    """

    center: np.ndarray
    variance: np.ndarray
    slope: np.ndarray


def levelset_cosine(displacement: np.ndarray, gradient: np.ndarray, score: np.ndarray) -> float:
    r"""Return the published score alignment. It is 1 for ANY encoder: do not judge one by it.

    The vectors compared in arXiv 2502.11583 (Table 1, "mean cosine 1.00") are :math:`(d \cdot g)
    g` and :math:`(s \cdot g) g`, with the displacement :math:`d`, the encoder's gradient :math:`g`
    and the score :math:`s`. Both are multiples of :math:`g`, so that the absolute cosine between
    them is 1 by construction. Twelve untrained random encoders gave 1.0000 with a standard
    deviation of 1e-16. It is here so that the published figure can be had, and be seen to say
    nothing; :func:`levelset_alignment` has metrics that can fail.

    Parameters
    ----------
    displacement, gradient, score
        ``(n, d)`` each: of every point from the mean of its level set, of the latent, and of the
        log density.

    Returns
    -------
    Mean absolute cosine, over points where neither vector vanishes.

    Raises
    ------
    ValueError
        If the shapes differ, or both vectors vanish at every point.

    Examples
    --------
    >>> import numpy as np
    >>> d, g, s = np.random.default_rng(0).normal(size=(3, 100, 2))
    >>> round(levelset_cosine(d, g, s), 6)
    1.0
    """
    displacement, gradient, score = _alike(
        displacement=displacement, gradient=gradient, score=score
    )
    first, second = ((v * gradient).sum(1, keepdims=True) * gradient for v in (displacement, score))
    length = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    some = length > 0
    if not some.any():
        raise ValueError("One of the two vectors is zero at every point: there is no cosine.")
    return float(np.abs((first * second).sum(1)[some] / length[some]).mean())


def level_sets(
    latent: np.ndarray,
    sample: np.ndarray,
    sample_latent: np.ndarray,
    *,
    n_neighbors: int = 1_000,
) -> LevelSets:
    r"""Estimate mean, variance and drift of the data given one latent, from neighbours in it.

    Parameters
    ----------
    latent
        Of the points of interest, ``(n,)``.
    sample, sample_latent
        A large sample of the data, ``(m, d)``, and its latent, ``(m,)``: 200,000 points in arXiv
        2502.11583.
    n_neighbors
        Points of the sample nearest in the latent.

    Returns
    -------
    :class:`LevelSets`, by a straight line fitted to the neighbours, so that at the ends of the
    latent the mean is not pulled inwards. The slope is that of the nearest tenth of the sample: of
    a narrow window it would be noise.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a value is not finite or the sample has fewer than ``n_neighbors``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> sets = scgde.metrics.level_sets(np.zeros(1), x, x[:, 0], n_neighbors=50)
    >>> bool(abs(sets.center[0, 1]) < 0.5)
    True
    """
    require_counts(n_neighbors=n_neighbors)
    latent, sample_latent = (np.asarray(z, dtype=float) for z in (latent, sample_latent))
    sample = np.asarray(sample, dtype=float)
    if latent.ndim != 1 or sample.ndim != 2 or sample_latent.shape != (len(sample),):
        raise ValueError(
            f"latent has the shape {latent.shape}, sample {sample.shape} and sample_latent "
            f"{sample_latent.shape}; they must be (n,), (m, d) and (m,)."
        )
    if not all(np.isfinite(v).all() for v in (latent, sample, sample_latent)):
        raise ValueError("latent, sample or sample_latent has values that are NaN or infinite.")
    if not 3 <= n_neighbors <= len(sample):
        raise ValueError(
            f"n_neighbors={n_neighbors} must be from 3 to the size of the sample, {len(sample)}."
        )
    order = np.argsort(sample_latent, kind="stable")
    x, z = sample[order] - sample.mean(0), sample_latent[order] - sample_latent.mean()
    at = latent - sample_latent.mean()
    center, variance, _ = _line_fits(x, z, at, n_neighbors)
    wide = max(n_neighbors, int(_SLOPE_SHARE * len(z)))
    slope = _line_fits(x, z, at, wide)[2]
    return LevelSets(center + sample.mean(0), variance, slope)


def _line_fits(
    x: np.ndarray, z: np.ndarray, at: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return value, squared residual and slope at ``at`` of lines fitted to the k nearest in z.

    ``x (m, d)`` in the order of ``z (m,)``. Of cumulative sums, so that k costs nothing.
    """
    # The k nearest of sorted values are a window: it starts where the far ends balance.
    first = np.searchsorted(z[k:] + z[: len(z) - k], 2 * at)

    def window(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([np.zeros_like(values[:1]), values.cumsum(0)])
        return (sums[first + k] - sums[first]) / k

    mean_z, mean_x = window(z), window(x)
    spread = np.maximum(window(z**2) - mean_z**2, np.finfo(float).tiny)[:, None]
    slope = (window(x * z[:, None]) - mean_x * mean_z[:, None]) / spread
    of_x = (window(x**2) - mean_x**2).sum(1)
    variance = np.maximum(of_x - np.square(slope).sum(1) * spread[:, 0], 0) * k / (k - 2)
    return mean_x + slope * (at - mean_z)[:, None], variance, slope


def levelset_alignment(
    points: np.ndarray,
    gradient: np.ndarray,
    score: np.ndarray,
    sets: LevelSets,
    *,
    n_permutations: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Compare an encoder's level sets with the score of the data, by metrics that can fail.

    With displacement :math:`d = x - c(z)`, variance :math:`v(z)`, normal :math:`n = g / |g|`,
    :math:`a = 2 d \cdot n / (v - |d|^2)`, :math:`b = s \cdot n`, :math:`A = 2 d \cdot n` and
    :math:`B = (v - |d|^2) b` (arXiv 2502.11583, Theorem 1 has a = b at the optimum of the squared
    error, beta = 2):

    Parameters
    ----------
    points
        ``(n, d)``.
    gradient
        Of the latent at the points, ``(n, d)``.
    score
        Of the log density, ``(n, d)``; not from level sets, but known or from a model of its own.
    sets
        From :func:`level_sets` at the points' latent.
    n_permutations
        Permutations of the null.
    seed
        Seed of the permutations and of the bootstrap.

    Returns
    -------
    DataFrame indexed by ``metric``: ``estimate``, ``low``, ``high`` (95 % bootstrap over points),
    ``null`` (its median under the null), ``p_value`` ((1 + #) / (B + 1)), ``better`` ("high" or
    "low"), ``n_points``.

    ``sign_agreement``
        Share of points where a and b have one sign. 0.5 by chance.
    ``residual``
        Median of :math:`|a - b| / (|a| + |b|)`. 0 is perfect; 1 where signs differ.
    ``rho``
        :math:`\sum (A - B)^2 / (\sum A^2 + \sum B^2)`. 0 is perfect, 1 by chance.
    ``score_share``
        :math:`\sum b^2 / \sum |s|^2`: how much of the score lies along the normal. 1 over d by
        chance.
    ``self_consistency``
        Mean of :math:`|d \cdot c'| / (|d| |c'|)`: the data lie square to the curve of means, the
        first-order condition of the squared-error objective and the one that training improves. 0
        is perfect, 2 / pi by chance in the plane.

    The null breaks the pairing: the score is permuted over points for the first four, the slope
    c' for the last. A constant that does not depend on the pairing has a p-value near 1.

    Raises
    ------
    TypeError, ValueError
        If shapes differ, a value is not finite, or the gradient vanishes at every point.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> x = np.random.default_rng(0).normal(size=(1_000, 2))
    >>> points, gradient = x[:100], np.tile([1.0, 0.0], (100, 1))
    >>> sets = scgde.metrics.level_sets(points[:, 0], x, x[:, 0], n_neighbors=100)
    >>> table = scgde.metrics.levelset_alignment(points, gradient, -points, sets, n_permutations=20)
    >>> table.index.tolist()
    ['sign_agreement', 'residual', 'rho', 'score_share', 'self_consistency']
    """
    require_counts(n_permutations=n_permutations)
    points, gradient, score, center, slope = _alike(
        points=points, gradient=gradient, score=score, center=sets.center, slope=sets.slope
    )
    size = np.linalg.norm(gradient, axis=1, keepdims=True)
    some = size[:, 0] > 0
    if not some.any():
        raise ValueError("gradient is zero at every point: the latent is constant.")
    normal = gradient[some] / size[some]
    d, score, slope = (points - center)[some], score[some], slope[some]
    radial = 2 * (d * normal).sum(1)
    room = np.asarray(sets.variance, dtype=float)[some] - np.square(d).sum(1)
    rng = np.random.default_rng(seed)
    n = len(d)

    def values(rows: np.ndarray, of_score: np.ndarray) -> np.ndarray:
        return _metrics(
            d[rows], normal[rows], radial[rows], room[rows], score[of_score], slope[of_score]
        )

    everything = np.arange(n)
    estimate = values(everything, everything)
    null = np.stack([values(everything, rng.permutation(n)) for _ in range(n_permutations)])
    draws = rng.integers(n, size=(n_permutations, n))
    low, high = np.quantile([values(rows, rows) for rows in draws], [0.025, 0.975], axis=0)
    larger_is_better = np.array([True, False, False, True, False])
    beats = np.where(larger_is_better, null >= estimate, null <= estimate)
    return pd.DataFrame(
        {
            "estimate": estimate,
            "low": low,
            "high": high,
            "null": np.median(null, 0),
            "p_value": (1 + beats.sum(0)) / (n_permutations + 1),
            "better": np.where(larger_is_better, "high", "low"),
            "n_points": n,
        },
        index=pd.Index(
            ["sign_agreement", "residual", "rho", "score_share", "self_consistency"], name="metric"
        ),
    )


def _metrics(
    d: np.ndarray,
    normal: np.ndarray,
    radial: np.ndarray,
    room: np.ndarray,
    score: np.ndarray,
    slope: np.ndarray,
) -> np.ndarray:
    tiny = np.finfo(float).tiny
    along = (score * normal).sum(1)
    a = radial / np.where(room == 0, tiny, room)
    scaled = room * along
    sizes = np.linalg.norm(d, axis=1) * np.linalg.norm(slope, axis=1)
    return np.array(
        [
            (np.sign(a) == np.sign(along)).mean(),
            np.median(np.abs(a - along) / np.maximum(np.abs(a) + np.abs(along), tiny)),
            np.square(radial - scaled).sum()
            / max(np.square(radial).sum() + np.square(scaled).sum(), tiny),
            np.square(along).sum() / max(np.square(score).sum(), tiny),
            (np.abs((d * slope).sum(1)) / np.maximum(sizes, tiny)).mean(),
        ]
    )


def _alike(**arrays: np.ndarray) -> list[np.ndarray]:
    """Return arrays ``(n, d)`` of one shape, or say which is not."""
    found = {name: np.asarray(x, dtype=float) for name, x in arrays.items()}
    wanted = next(iter(found.values())).shape
    for name, x in found.items():
        if x.ndim != 2 or x.shape != wanted:
            raise ValueError(
                f"{name} has the shape {x.shape}; all must be (n, d), and the first is {wanted}."
            )
        if not np.isfinite(x).all():
            raise ValueError(f"{name} has values that are NaN or infinite.")
    return list(found.values())
