from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from ._gaussian_information import (
    canonical_correlations,
    gaussian_bits,
    unbiased_gaussian_bits,
)
from ._ksg import KSG
from ._pairs import normal_scores, whitened

_N_FOLDS = 5
_MAX_PAIRS = 16
_POINTS_PER_PAIR = 20
_N_SURROGATES = 3
_NEGLIGIBLE = 0.05


class LatentInformation:
    """Mutual information in a few coordinates that hold up on points they were not chosen by.

    1. Canonical directions (CCA) are fitted on four fifths of the pairs and applied to the rest, in
       turn. The leading pairs of coordinates whose held-out correlation is above chance are kept,
       as normal scores.
    2. :class:`KSG` in these coordinates.
    3. Plus what KSG misses on normal data with the same canonical correlations, drawn anew: in more
       than a few dimensions it sees only a part of a strong dependence. Where the coordinates are
       normal this leaves no bias; where they are uncorrelated nothing is added, and where KSG sees
       less than it would of normals, only that share.

    So it needs directions in which the two sides are *linearly* related: what is nonlinear along
    them it sees, but directions without a linear trace (y = |x|) it finds by luck only.

    Gowri, Lun, Klein & Yin 2024 (latent MI, arXiv 2409.02732) do 1 by autoencoders and have no 3.

    Parameters
    ----------
    x, y
        Sides ``(n, p)`` and ``(n, q)``, whitened here.
    k
        Neighbours.
    seed
        Seed of folds and surrogates.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, k: int, seed: int):
        self._x, self._y, self._k, self._seed = whitened("x", x), whitened("y", y), k, seed
        self._u, self._v = held_out_coordinates(self._x, self._y, seed)

    def pointwise(self) -> np.ndarray:
        """Return each pair's value, ``(n,)`` in bits, the correction being the same for all."""
        return _corrected(self._u, self._v, self._k, self._seed)

    def shuffled(self, order: np.ndarray) -> float:
        """Return the estimate with y in another order, directions chosen anew."""
        u, v = held_out_coordinates(self._x, self._y[order], self._seed)
        return float(_corrected(u, v, self._k, self._seed).mean())

    def without(self, rows: np.ndarray) -> float:
        """Return the estimate without some pairs, directions unchanged."""
        u, v = (np.delete(side, rows, axis=0) for side in (self._u, self._v))
        return float(_corrected(u, v, self._k, self._seed).mean())


def held_out_coordinates(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return canonical coordinates of each point by directions fitted without it.

    Returns
    -------
    Of x and of y, each ``(n, r)``; at least one pair.
    """
    n = len(x)
    n_pairs = min(_MAX_PAIRS, max(1, n // _POINTS_PER_PAIR), x.shape[1], y.shape[1])
    fold = folds_of(n, seed)
    u, v = np.empty((n, n_pairs)), np.empty((n, n_pairs))
    reference = None
    for f in range(_N_FOLDS):
        train, test = fold != f, fold == f
        a, b = (d[:, :n_pairs] for d in canonical_directions(x[train], y[train]))
        reference = np.vstack([a, b]) if reference is None else reference
        # A pair of directions may be turned over; folds are pooled, so they must agree.
        sign = np.where((np.vstack([a, b]) * reference).sum(0) < 0, -1.0, 1.0)
        u[test] = (x[test] - x[train].mean(0)) @ (a * sign)
        v[test] = (y[test] - y[train].mean(0)) @ (b * sign)
    u, v = normal_scores(u), normal_scores(v)
    correlation = (u * v).mean(0) / (u.std(0) * v.std(0))
    above_chance = correlation > 1.64 / np.sqrt(n)
    keep = n_pairs if above_chance.all() else max(1, int(above_chance.argmin()))
    return u[:, :keep], v[:, :keep]


def folds_of(n: int, seed: int) -> np.ndarray:
    """Return the fold of each point, ``(n,)``, equal in size and at random."""
    return np.random.default_rng([seed, 3]).permutation(n) % _N_FOLDS


def canonical_directions(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return directions ``(p, r)`` and ``(q, r)``, the most correlated pair first."""
    (white_x, to_x), (white_y, to_y) = _whitening(x), _whitening(y)
    left, _, right = np.linalg.svd(white_x.T @ white_y, full_matrices=False)
    return to_x @ left, to_y @ right.T


def _whitening(side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal coordinates ``(n, p)`` and the map ``(p, p)`` to white ones."""
    left, size, right = np.linalg.svd(side - side.mean(0), full_matrices=False)
    # What varies in the whole but not in this part of it would be divided by zero.
    some = size > 1e-6 * size[0]
    inverse = np.divide(1.0, size, out=np.zeros_like(size), where=some)
    return left * some, right.T * (inverse * np.sqrt(len(side)))


def _corrected(u: np.ndarray, v: np.ndarray, k: int, seed: int) -> np.ndarray:
    values = KSG(u, v, k).pointwise()
    exact, seen = _on_normals(whitened("u", u), whitened("v", v), k, seed)
    # Where neighbours see less than they would of normals, the rest is in part not there.
    share = np.clip(values.mean() / seen, 0, 1) if seen > 0 else 0.0
    return values + share * (exact - seen)


def _on_normals(u: np.ndarray, v: np.ndarray, k: int, seed: int) -> tuple[float, float]:
    """Return the information of normals correlated as white u and v are, and what KSG sees."""
    # No more than log2(n) bits can be vouched for by n points (McAllester & Stratos 2020).
    bits = min(unbiased_gaussian_bits(u, v), np.log2(len(u)))
    if bits < _NEGLIGIBLE:
        return 0.0, 0.0
    rho = canonical_correlations(u, v)
    # Sample correlations are too large by chance; shrunk, they have the unbiased information.
    rho = rho * brentq(lambda s: gaussian_bits(s * rho) - bits, 0, 1)
    rng = np.random.default_rng([seed, 4])
    errors = []
    for _ in range(_N_SURROGATES):
        x, noise = rng.normal(size=(2, *u.shape))
        y = rho * x + np.sqrt(1 - rho**2) * noise
        # The sample's own information varies as KSG's does, so the difference varies less.
        sample = unbiased_gaussian_bits(whitened("x", x), whitened("y", y))
        errors.append(KSG(x, y, k).pointwise().mean() - sample)
    return bits, bits + float(np.mean(errors))
