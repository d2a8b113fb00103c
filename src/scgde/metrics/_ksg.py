from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import digamma

_CHUNK = 256


class KSG:
    r"""Mutual information by nearest neighbours, with all distances kept.

    .. math:: \psi(k) + \psi(n) - \psi(n_x(i) + 1) - \psi(n_y(i) + 1)

    is the value of point i (Kraskov, Stoegbauer & Grassberger 2004, Phys. Rev. E 69, 066138,
    eq. 8): its k-th neighbour is found under the larger of the two sides' distances, and n_x and
    n_y count the points nearer than that on either side. Distances of a side are Euclidean, so that
    rotations of it change nothing. A permutation of a side needs no new distance: the x-neighbours
    of a point are looked up in order of distance, and a few hundred are enough for most.

    Memory: ``8 n^2`` bytes, and as much again for a moment.

    Parameters
    ----------
    x, y
        Sides ``(n, p)`` and ``(n, q)``.
    k
        Neighbours, fewer than n.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, k: int):
        self.k, self.n = k, len(x)
        self._x, self._y = _distances(x), _distances(y)
        self._near: tuple[np.ndarray, np.ndarray] | None = None

    def pointwise(self) -> np.ndarray:
        """Return the value of every point in bits, ``(n,)``."""
        radius = _radii(self._x, self._y, self.k)
        counts = _count_nearer(self._x, radius), _count_nearer(self._y, radius)
        return _bits(self.k, self.n, *counts)

    def shuffled(self, order: np.ndarray) -> float:
        """Return the estimate in bits with y in another order."""
        radius = self._permuted_radii(order)
        by_y = np.empty_like(radius)
        by_y[order] = radius
        counts = _count_nearer(self._x, radius), _count_nearer(self._y, by_y)[order]
        return float(_bits(self.k, self.n, *counts).mean())

    def leave_one_out(self) -> np.ndarray:
        """Return the estimate in bits without each point in turn, ``(n,)``."""
        radius, next_radius = _radii(self._x, self._y, self.k, also_next=True)
        total = np.zeros(self.n)
        neighbor = np.maximum(self._x, self._y) <= radius[:, None]
        for side in (self._x, self._y):
            count, wider = _count_nearer(side, radius), _count_nearer(side, next_radius)
            term = digamma(count + 1)
            total += term.sum() - term
            # A point that loses one of its k neighbours has the next one instead, and counts one
            # fewer, unless that was as far as the next: distances may be tied.
            fewer, as_many = digamma(np.maximum(wider, 1)) - term, digamma(wider + 1) - term
            # Elsewhere a count falls by one, and digamma(m + 1) - digamma(m) = 1 / m.
            fall = 1 / np.maximum(count, 1)
            for rows in _chunks(self.n):
                at = rows, None
                lost = np.where(side[rows] < next_radius[at], fewer[at], as_many[at])
                near = np.where(side[rows] < radius[at], -fall[at], 0)
                total += np.where(neighbor[rows], lost, near).sum(0)
        nats = digamma(self.k) + digamma(self.n - 1) - total / (self.n - 1)
        return nats / np.log(2)

    def _permuted_radii(self, order: np.ndarray) -> np.ndarray:
        if self._near is None:
            self._near = _nearest(self._x, _reach(self.n, self.k))
        distance, neighbor = self._near
        radius = np.empty(self.n, dtype=np.float32)
        for rows in _chunks(self.n):
            y = self._y[order[rows, None], order[neighbor[rows]]]
            radius[rows] = _radii(distance[rows], y, self.k)
        # Points beyond the last neighbour looked at are further than it on the x side already.
        unsure = np.flatnonzero(radius > distance[:, -1])
        for start in range(0, len(unsure), _CHUNK):
            some = unsure[start : start + _CHUNK]
            radius[some] = _radii(self._x[some], self._y[order[some]][:, order], self.k)
        return radius


def _chunks(n: int) -> list[slice]:
    return [slice(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]


def _distances(values: np.ndarray) -> np.ndarray:
    # Differences, not a Gram matrix: that would lose the small distances that are all we need.
    distance = np.empty((len(values), len(values)), dtype=np.float32)
    for rows in _chunks(len(values)):
        distance[rows] = cdist(values[rows], values)
    np.fill_diagonal(distance, np.inf)
    return distance


def _reach(n: int, k: int) -> int:
    """Return how many x-neighbours to look at: of independent sides about sqrt(k n) are needed."""
    return min(n - 1, int(3 * np.sqrt(k * n)) + k)


def _nearest(distance: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distances ``(n, m)`` of the m nearest points, in order, and which they are."""
    neighbor = np.empty((len(distance), m), dtype=np.int32)
    for rows in _chunks(len(distance)):
        some = np.argpartition(distance[rows], m - 1, axis=1)[:, :m]
        order = np.take_along_axis(distance[rows], some, 1).argsort(1)
        neighbor[rows] = np.take_along_axis(some, order, 1)
    return np.take_along_axis(distance, neighbor, 1), neighbor


def _radii(x: np.ndarray, y: np.ndarray, k: int, also_next: bool = False) -> np.ndarray:
    """Return the k-th smallest in each row of the larger of two sides' distances.

    Or, ``(2, n)``, that and the next.
    """
    which = [k - 1, k] if also_next else k - 1
    parts = (np.maximum(x[rows], y[rows]) for rows in _chunks(len(x)))
    return np.concatenate([np.partition(part, which, axis=1)[:, which].T for part in parts], -1)


def _count_nearer(distance: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [
            np.count_nonzero(distance[rows] < radius[rows, None], axis=1)
            for rows in _chunks(len(distance))
        ]
    )


def _bits(k: int, n: int, n_x: np.ndarray, n_y: np.ndarray) -> np.ndarray:
    nats = digamma(k) + digamma(n) - digamma(n_x + 1) - digamma(n_y + 1)
    return nats / np.log(2)
