from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from ._gaussian_information import (
    canonical_correlations,
    gaussian_bits,
    unbiased_gaussian_bits,
)
from ._ksg import KSG
from ._pairs import whitened

_N_SURROGATES = 3
_NEGLIGIBLE = 0.05
_STEP = 0.8


class NormalCurve:
    """What KSG sees of normal data, as a function of what there is to see.

    Normals are drawn with the canonical correlations of the data, and again with ``0.8`` of the
    information, from the same random numbers; in between and beyond, the curve is a straight line.

    Parameters
    ----------
    u, v
        Sides ``(n, r)`` of the data, in few coordinates.
    k
        Neighbours of KSG.
    seed
        Seed of the normals.
    """

    def __init__(self, u: np.ndarray, v: np.ndarray, k: int, seed: int):
        u, v = whitened("u", u), whitened("v", v)
        # No more than log2(n) bits can be vouched for by n points (McAllester & Stratos 2020).
        self._most = np.log2(len(u))
        self._bits = unbiased_gaussian_bits(u, v)
        self._seen, self._slope = 0.0, 1.0
        bits = min(self._bits, self._most)
        if bits >= _NEGLIGIBLE:
            rho = canonical_correlations(u, v)
            self._seen, less = (_seen(rho, b, u.shape, k, seed) for b in (bits, _STEP * bits))
            self._slope = (self._seen - less) / (bits - _STEP * bits)

    def corrected(self, found: np.ndarray, bits: np.ndarray | None = None) -> np.ndarray:
        """Return what KSG found, with what it would have missed of normals added.

        Parameters
        ----------
        found
            KSG of the data in bits, whole or without some points.
        bits
            Information of normals with the same correlations; by default that of all points.
        """
        if not self._seen > 0:
            return found
        start = min(self._bits, self._most)
        bits = np.minimum(self._bits if bits is None else bits, self._most)
        seen = self._seen + self._slope * (bits - start)
        # Where neighbours see less than they would of normals, the rest is in part not there.
        return found + np.clip(found / seen, 0, 1) * (bits - seen)


def _seen(rho: np.ndarray, bits: float, shape: tuple[int, int], k: int, seed: int) -> float:
    """Return KSG of normals whose correlations are ``rho``, shrunk to have these bits."""
    # Sample correlations are too large by chance, so this shrinks them in any case.
    rho = rho * brentq(lambda s: gaussian_bits(s * rho) - bits, 0, 1)
    rng = np.random.default_rng([seed, 4])
    errors = []
    for _ in range(_N_SURROGATES):
        x, noise = rng.normal(size=(2, *shape))
        y = rho * x + np.sqrt(1 - rho**2) * noise
        # The sample's own information varies as KSG's does, so the difference varies less.
        sample = unbiased_gaussian_bits(whitened("x", x), whitened("y", y))
        errors.append(KSG(x, y, k).pointwise().mean() - sample)
    return bits + float(np.mean(errors))
