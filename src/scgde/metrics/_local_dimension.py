"""Neighbour estimators of intrinsic dimension, computed by scikit-dimension."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from .._errors import require_choice

MIN_CELLS = 25
N_NEIGHBORS = 20
LOCAL_METHODS = ("twonn", "gride", "mle", "mada", "mom", "tle")
DEFAULT_METHODS = ("twonn", "gride", "mle")


def local_dimension(
    x: np.ndarray, methods: Iterable[str] = DEFAULT_METHODS, *, calibrate: bool = True
) -> pd.DataFrame:
    """Estimate the intrinsic dimension of cells from distances to their nearest neighbours.

    Where cells lie on a d-dimensional shape, the number within a radius grows as its d-th power.
    Cells that are alike count once.

    Parameters
    ----------
    x
        Cells, ``(n, p)``.
    methods
        ``"twonn"``: ratio of the distances to the second and first neighbour (Facco et al., Sci.
        Rep. 7, 2017). ``"gride"``: of the fourth and second, less moved by noise (Denti et al.,
        Sci. Rep. 12, 2022). Over 20 neighbours: ``"mle"``, maximum likelihood (Levina & Bickel,
        NeurIPS 2004; inverses averaged, as by MacKay & Ghahramani 2005); ``"mada"``, the tenth and
        twentieth (Farahmand et al., ICML 2007); ``"mom"``, moments (Amsaleg et al., DMKD 32, 2018);
        ``"tle"``, tight neighbourhoods (Amsaleg et al., SDM 2019), slower than the others.
    calibrate
        Correct for the finite number of cells (:func:`calibrated_dimensions`), which all of these
        need from about ten dimensions on. Simulated once for a number of cells, in seconds.

    Returns
    -------
    DataFrame indexed by ``method``: ``raw``, as scikit-dimension has it, and ``estimate``,
    calibrated, and never above the number of linear dimensions that cells span.

    Raises
    ------
    ValueError
        If a method is unknown, there are fewer than 25 different cells, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> plane = np.random.default_rng(0).uniform(size=(500, 2)) @ np.eye(2, 5)
    >>> local_dimension(plane)["estimate"].round().tolist()
    [2.0, 2.0, 2.0]
    """
    from ._dimension_calibration import calibrated_dimensions  # it simulates these very estimators

    methods = local_methods(methods)
    x = distinct_cells(x)
    raw = raw_dimensions(x, methods)
    estimate = calibrated_dimensions(raw, len(x), methods) if calibrate else raw
    return pd.DataFrame(
        {"raw": raw, "estimate": np.minimum(estimate, linear_dimension(x))},
        index=pd.Index(methods, name="method"),
    )


def raw_dimensions(x: np.ndarray, methods: tuple[str, ...]) -> np.ndarray:
    """Return what scikit-dimension estimates, ``(n_methods,)``, of different cells ``(n, p)``."""
    from skdim import id as estimators

    if x.shape[1] == 1:  # scikit-dimension asks for two columns
        x = np.hstack([x, np.zeros_like(x)])
    search = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(x) - 1)).fit(x)
    neighbors = search.kneighbors()
    found = []
    with warnings.catch_warnings():
        # Of cells on a lattice, many are equally far apart; those pairs are left out, as it says.
        warnings.filterwarnings("ignore", "(Gride|Dropping)")
        for method in methods:
            if method == "twonn":
                result = estimators.TwoNN(dist=True).fit(neighbors[0][:, :2])
            elif method == "gride":
                result = estimators.GRIDE(n1=2).fit(x)
            elif method == "mada":
                result = estimators.MADA().fit(x, n_neighbors=search.n_neighbors)
            else:
                estimator = {"mle": estimators.MLE, "mom": estimators.MOM, "tle": estimators.TLE}
                result = estimator[method]().fit(x, precomputed_knn_arrays=neighbors)
            found.append(float(result.dimension_))
    return np.array(found)


def distinct_cells(x: np.ndarray, minimum: int = MIN_CELLS) -> np.ndarray:
    """Return cells, centred, each once, in the order given; raise if they cannot be used."""
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"x has shape {x.shape}; cells are a matrix (n, p).")
    if not np.isfinite(x).all():
        raise ValueError("x has NaN or infinite values. Remove these cells, or impute them.")
    first = np.sort(np.unique(x, axis=0, return_index=True)[1])
    if len(first) < minimum:
        raise ValueError(
            f"x has {len(first)} different cells (of {len(x)}); an estimate needs {minimum}. Leave "
            "this population out, or merge it with another."
        )
    return x[first] - x[first].mean(0)


def linear_dimension(x: np.ndarray) -> int:
    """Return how many linear dimensions centred cells ``(n, p)`` span, but for rounding."""
    return int(np.linalg.matrix_rank(x, tol=1e-6 * np.linalg.norm(x, 2)))


def local_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """Return methods as a tuple, each once; raise if one is unknown or there is none."""
    methods = tuple(dict.fromkeys([methods] if isinstance(methods, str) else methods))
    if not methods:
        raise ValueError(f"methods is empty: name some of {', '.join(LOCAL_METHODS)}.")
    for method in methods:
        require_choice("methods", method, LOCAL_METHODS)
    return methods
