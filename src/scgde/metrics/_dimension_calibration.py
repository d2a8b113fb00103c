"""Calibration of neighbour estimators: what they give of as many cells of known dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from scipy.interpolate import PchipInterpolator
from sklearn.isotonic import isotonic_regression

from ._local_dimension import raw_dimensions

_DIMENSIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 72, 100)
_CELLS = 2_000  # simulated of each reference and dimension, in sets of the size asked for
_MAX_SETS = 10
_STEP = 1.2  # ratio of the numbers of cells that curves are simulated for


def calibrated_dimensions(raw: np.ndarray, n_cells: int, methods: tuple[str, ...]) -> np.ndarray:
    """Return the dimensions of which as many cells give these raw estimates, on average.

    Neighbour estimators take the density to be constant out to the last neighbour. In many
    dimensions no number of cells makes that so, most cells lie at the edge, and estimates fall
    short: 1,500 cells of a 24-dimensional normal distribution are put at 18. The bias depends on
    dimension, number of cells and, less, on the distribution. So each estimator is run on as many
    cells of reference distributions of 1 to 100 dimensions (uniform ball and cube, normal, and
    sphere, which has no edge); its curve, averaged over these and made monotone, is inverted.
    DANCo (Ceruti et al., Pattern Recognition 47, 2014) does so for statistics of its own. Shapes
    whose distances concentrate otherwise than those of the references (a product of many circles)
    are still biased.

    Parameters
    ----------
    raw
        Raw estimates ``(n_methods,)``, as of :func:`local_dimension`.
    n_cells
        The number of different cells that they are of.
    methods
        The methods.

    Returns
    -------
    ``(n_methods,)``, at most 100.
    """
    n_cells = round(_STEP ** round(np.log(n_cells) / np.log(_STEP)))
    inverses = _inverses(n_cells, tuple(methods))
    return np.array([inverse(value) for inverse, value in zip(inverses, raw, strict=True)])


@cache
def _inverses(n_cells: int, methods: tuple[str, ...]) -> list[Callable[[float], float]]:
    """Return the map from raw estimate to dimension of each method."""
    curves = np.array(
        [
            np.mean([raw_dimensions(x, methods) for x in _references(n_cells, d)], axis=0)
            for d in _DIMENSIONS
        ]
    ).T
    return [_inverse(curve) for curve in curves]


def _inverse(curve: np.ndarray) -> Callable[[float], float]:
    # Equal neighbours, as isotonic regression may leave, have no inverse.
    curve = isotonic_regression(curve) + 1e-9 * np.arange(len(curve))
    inverse = PchipInterpolator(np.append(0, curve), np.append(0, _DIMENSIONS))
    return lambda value: float(inverse(min(value, curve[-1])))


def _references(n_cells: int, d: int) -> Iterator[np.ndarray]:
    """Iterate over sets of cells of the reference distributions, the same for every method."""
    rng = np.random.default_rng([n_cells, d])
    for _ in range(int(np.clip(round(_CELLS / n_cells), 2, _MAX_SETS))):
        direction = rng.normal(size=(n_cells, d))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        yield direction * rng.random((n_cells, 1)) ** (1 / d)
        yield rng.random((n_cells, d))
        yield rng.normal(size=(n_cells, d))
        on_sphere = rng.normal(size=(n_cells, d + 1))
        yield on_sphere / np.linalg.norm(on_sphere, axis=1, keepdims=True)
