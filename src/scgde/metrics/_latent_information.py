from __future__ import annotations

import numpy as np

from ._gaussian_information import GaussianInformation
from ._ksg import KSG
from ._normal_curve import NormalCurve
from ._pairs import normal_scores, whitened

_N_FOLDS = 5
_MAX_PAIRS = 16
_POINTS_PER_PAIR = 20


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
        self._ksg = KSG(self._u, self._v, k)
        self._curve = NormalCurve(self._u, self._v, k, seed)

    def pointwise(self) -> np.ndarray:
        """Return each pair's value, ``(n,)`` in bits, the correction being the same for all."""
        values = self._ksg.pointwise()
        return values - values.mean() + self._curve.corrected(values.mean())

    def shuffled(self, order: np.ndarray) -> float:
        """Return the estimate with y in another order, directions chosen anew."""
        other = LatentInformation(self._x, self._y[order], self._k, self._seed)
        return float(other.pointwise().mean())

    def leave_one_out(self) -> np.ndarray:
        """Return the estimate without each pair in turn, directions unchanged, ``(n,)``."""
        normal = GaussianInformation(self._u, self._v).leave_one_out()
        return self._curve.corrected(self._ksg.leave_one_out(), normal)


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
