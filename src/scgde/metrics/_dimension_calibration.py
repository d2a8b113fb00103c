"""Calibration of neighbour estimators: what they give of as many cells of known dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from scipy.interpolate import PchipInterpolator
from sklearn.isotonic import isotonic_regression

from .._errors import require_choice
from ._local_dimension import raw_dimensions

_DIMENSIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 72, 100)
_CELLS = 2_000  # simulated of each reference and dimension, in sets of the size asked for
_MAX_SETS = 10
REFERENCES = ("ball", "cube", "normal", "sphere")
_STEP = 1.2  # ratio of the numbers of cells that curves are simulated for


def calibrated_dimensions(
    raw: np.ndarray,
    n_cells: int,
    methods: tuple[str, ...],
    references: tuple[str, ...] = REFERENCES,
) -> np.ndarray:
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
    references
        The distributions. A benchmark on one of these very shapes must leave it out.

    Returns
    -------
    ``(n_methods,)``, at most 100.

    Raises
    ------
    ValueError
        If a reference is unknown or there is none.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.metrics.calibrated_dimensions(np.array([2.0]), 30, ("twonn",)).shape
    (1,)
    """
    for reference in references:
        require_choice("references", reference, REFERENCES)
    if not references:
        raise ValueError(f"references is empty: name some of {', '.join(REFERENCES)}.")
    n_cells = round(_STEP ** round(np.log(n_cells) / np.log(_STEP)))
    inverses = _inverses(n_cells, tuple(methods), tuple(references))
    return np.array([inverse(value) for inverse, value in zip(inverses, raw, strict=True)])


@cache
def _inverses(
    n_cells: int, methods: tuple[str, ...], references: tuple[str, ...]
) -> list[Callable[[float], float]]:
    """Return the map from raw estimate to dimension of each method."""
    of_reference = _curves(n_cells, methods)
    return [_inverse(curve) for curve in np.mean([of_reference[r] for r in references], axis=0)]


@cache
def _curves(n_cells: int, methods: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return mean raw estimates ``(n_methods, n_dimensions)`` of each reference."""
    curves = {r: np.empty((len(methods), len(_DIMENSIONS))) for r in REFERENCES}
    for j, d in enumerate(_DIMENSIONS):
        found = {reference: [] for reference in REFERENCES}
        for reference, x in _simulated(n_cells, d):
            found[reference].append(raw_dimensions(x, methods))
        for reference, values in found.items():
            curves[reference][:, j] = np.mean(values, axis=0)
    return curves


def _inverse(curve: np.ndarray) -> Callable[[float], float]:
    # Equal neighbours, as isotonic regression may leave, have no inverse.
    curve = isotonic_regression(curve) + 1e-9 * np.arange(len(curve))
    inverse = PchipInterpolator(np.append(0, curve), np.append(0, _DIMENSIONS))
    return lambda value: float(inverse(min(value, curve[-1])))


def _simulated(n_cells: int, d: int) -> Iterator[tuple[str, np.ndarray]]:
    """Iterate over references and sets of cells of them, the same for every method."""
    rng = np.random.default_rng([n_cells, d])
    for _ in range(int(np.clip(round(_CELLS / n_cells), 2, _MAX_SETS))):
        direction = rng.normal(size=(n_cells, d))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        yield "ball", direction * rng.random((n_cells, 1)) ** (1 / d)
        yield "cube", rng.random((n_cells, d))
        yield "normal", rng.normal(size=(n_cells, d))
        on_sphere = rng.normal(size=(n_cells, d + 1))
        yield "sphere", on_sphere / np.linalg.norm(on_sphere, axis=1, keepdims=True)
