"""One intrinsic dimension from several neighbour estimators, with the reason in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from ._dimension_calibration import calibrated_dimensions
from ._local_dimension import (
    DEFAULT_METHODS,
    distinct_cells,
    linear_dimension,
    local_dimension,
    local_methods,
    raw_dimensions,
)

_APART = 1.5  # ratio of dimensions that is worth a sentence


class DimensionConsensus(NamedTuple):
    """Result of :func:`dimension_consensus`.

    ``estimate``; ``reasoning``, in words; ``used``, the estimators; ``table``, theirs
    (:func:`local_dimension`).

    Attributes
    ----------
    estimate
        Median of the calibrated estimators.
    reasoning
        How they make it, in words.
    used
        The estimators.
    table
        What each says, one row each (:func:`local_dimension`).

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> x = np.random.default_rng(0).normal(size=(30, 3))
    >>> result = scgde.metrics.dimension_consensus(x, ["twonn"])
    >>> result.used, result.table.columns.tolist()
    (('twonn',), ['raw', 'estimate'])
    """

    estimate: float
    reasoning: str
    used: tuple[str, ...]
    table: pd.DataFrame


def dimension_consensus(
    x: np.ndarray, methods: Iterable[str] = DEFAULT_METHODS, *, knee: int | None = None
) -> DimensionConsensus:
    """Estimate the intrinsic dimension of cells as the median of calibrated estimators.

    The estimators are of the neighbourhood of a cell, at three scales by default: neighbours 1
    and 2, 2 and 4, and 20. Each is corrected for what it falls short by with as many cells
    (:func:`calibrated_dimensions`), and never above the number of linear dimensions that the cells
    span; the median is not moved by one that a shape misleads. No estimator is chosen by what it
    gives. The knee of an autoencoder, a dimension of embedding, has no vote.

    Additive noise has full dimension: at scales at which the noise is larger than the shape, the
    noise is what is measured.

    Parameters
    ----------
    x
        Cells, ``(n, p)``.
    methods
        Of :func:`local_dimension`.
    knee
        Number of coordinates that an autoencoder needs (:func:`dimension_profile`), for the
        reasoning.

    Returns
    -------
    :class:`DimensionConsensus`.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.random.default_rng(0).uniform(0, 20, 300)
    >>> helix = np.stack([np.cos(t), np.sin(t), t], 1)
    >>> round(dimension_consensus(helix, knee=3).estimate)
    1
    """
    table = local_dimension(x, methods)
    estimate = float(table["estimate"].median())
    span = linear_dimension(distinct_cells(x))
    words = explained(table["estimate"], span, knee)
    return DimensionConsensus(estimate, words, tuple(table.index), table)


def consensus_values(x: np.ndarray, methods: tuple[str, ...]) -> np.ndarray:
    """Return the consensus and, after it, each estimator, ``(2, 1 + n_methods)``.

    The first row is never above the number of linear dimensions that cells span; the second is as
    calibrated, so that values at that bound can still be told apart.
    """
    x = distinct_cells(x)
    raw = raw_dimensions(x, local_methods(methods))
    calibrated = calibrated_dimensions(raw, len(x), methods)
    values = np.stack([np.minimum(calibrated, linear_dimension(x)), calibrated])
    return np.hstack([np.median(values, axis=1, keepdims=True), values])


def explained(
    estimates: pd.Series, span: int, knee: int | None = None, consensus: float | None = None
) -> str:
    """Return in words how estimates, indexed by method, make the consensus.

    ``span`` is the number of linear dimensions that the cells span; ``consensus`` is given where
    it and the estimates are means over several draws of cells, and so is not their median.
    """
    middle = estimates.median() if consensus is None else consensus
    low, high = estimates.min(), estimates.max()
    listed = ", ".join(f"{m} {v:.1f}" for m, v in estimates.items())
    if len(estimates) == 1:
        words = [f"{estimates.index[0]} alone, calibrated"]
    elif consensus is None:
        words = [f"median of {listed}, calibrated"]
    else:
        words = [f"mean over draws of the median of estimators (means {listed}, calibrated)"]
    if high > _APART * low:
        words.append(_disagreement(estimates))
    if middle >= span - 0.5:
        words.append(f"as many as the {span} linear dimensions that the cells span")
    if knee is not None and knee > _APART * middle:
        words.append(f"the shape needs {knee} coordinates to embed, locally {middle:.1f}")
    return "; ".join(words)


def _disagreement(estimates: pd.Series) -> str:
    """Return what it means that estimators at small and large scales differ."""
    near, far = estimates.get("twonn", np.nan), estimates.get("mle", np.nan)
    if near > _APART * far:
        return "nearest neighbours see more dimensions than farther ones, as with noise"
    if far > _APART * near:
        return "farther neighbours see more dimensions than nearest ones, as where a shape folds"
    return "the estimators disagree"
