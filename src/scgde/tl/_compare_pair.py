from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from .._errors import listed, require
from ..stats import bootstrap_test, hotelling_test
from ._compare_common import Comparison, Units, leading_axes, unit_length

_CELLS_PER_DIMENSION = 30


def compare_pair(
    embedding: pd.DataFrame,
    covariance: np.ndarray,
    n_cells: np.ndarray,
    a: str,
    b: str,
    n_dims: int,
    influences: tuple[np.ndarray, np.ndarray] | None,
    n_bootstrap: int,
    seed: int,
) -> Comparison:
    """Compare two of the populations ``(P, L)`` by their sampling covariances ``(P, L, L)``.

    With the influences of their cells, ``(n, L)`` each, the p-value is from the bootstrap.
    """
    names = embedding.index
    pair = require_pair(names, n_cells, a, b)
    n_a, n_b = (int(n) for n in n_cells[pair])
    z = embedding.to_numpy(dtype=float)
    n_dims = min(n_dims, z.shape[1], max(1, min(n_a, n_b) // _CELLS_PER_DIMENSION))
    others = np.delete(z, pair, axis=0)
    cells = np.mean([n_a * covariance[pair[0]], n_b * covariance[pair[1]]], axis=0)
    # The difference that is tested must have no part in choosing where it is looked for.
    if len(others) > n_dims:
        axes, source = leading_axes(others - others.mean(0), n_dims), "other populations"
    else:
        axes, source = np.linalg.eigh(cells)[1][:, ::-1][:, :n_dims], "cells"
    if axes.shape[1] == 0:
        raise ValueError("The embeddings of all other populations are equal: no axes to test in.")
    d = (z[pair[1]] - z[pair[0]]) @ axes
    cov_a, cov_b, cells = (axes.T @ c @ axes for c in (*covariance[pair], cells))
    test = hotelling_test(d, cov_a, n_a, cov_b, n_b)
    method, p_value = "hotelling", test.p_value
    if influences is not None:
        method = "bootstrap-t"
        sides = (psi @ axes for psi in influences)
        p_value = bootstrap_test(d, *sides, n_bootstrap, pooled=True, seed=seed)
    direction = unit_length(axes @ np.linalg.solve(cov_a + cov_b, d))
    distance = _distance_of_pair(d, cov_a + cov_b, cells, seed)
    row = {
        "a": a,
        "b": b,
        "unit": "cells",
        "statistic": test.statistic,
        "f": test.f,
        "df1": test.df1,
        "df2": test.df2,
        "n_dims": axes.shape[1],
        "axes": source,
        "n_a": n_a,
        "n_b": n_b,
        "method": method,
        "p_value": p_value,
        "p_adjusted": p_value,
        "p_hotelling": test.p_value,
        **dict(zip(("distance", "low", "high"), distance, strict=True)),
    }
    contrast = f"{b} vs {a}"
    of_population = np.full(len(names), -1)
    of_population[pair] = [0, 1]
    units = Units(
        of_population,
        names=np.array([a, b], dtype=object),
        donors=np.arange(2),
        groups=np.arange(2),
        blocks=np.zeros(2, dtype=int),
        levels=np.array([a, b], dtype=object),
    )
    along = covariance @ direction @ direction
    scores = pd.DataFrame(
        {
            "contrast": contrast,
            "unit": names.to_numpy(),
            "group": [name if name in (a, b) else "" for name in names],
            "score": (z - z[pair].mean(0)) @ direction,
            "standard_error": np.sqrt(along),
        }
    )
    return Comparison(
        units, np.array([[0, 1]]), pd.DataFrame([row], index=[contrast]), direction[None], scores
    )


def require_pair(names: pd.Index, n_cells: np.ndarray, a: str, b: str) -> np.ndarray:
    """Return the places ``(2,)`` of two populations; raise unless they can be compared."""
    for argument, name in (("a", a), ("b", b)):
        require(argument, name, list(names), "the populations")
    if a == b:
        raise ValueError(f"a and b are both {a!r}: name two populations.")
    pair = names.get_indexer([a, b])
    n_a, n_b = n_cells[pair]
    if min(n_a, n_b) < 2:
        raise ValueError(
            f"Populations {a!r} and {b!r} have {n_a} and {n_b} cells; each needs at least two."
        )
    return pair


def warn_if_trained_apart(embedded: dict, a: str, b: str) -> None:
    """Warn where the encoder was trained to tell the cells of two populations apart."""
    if "trained_as" not in embedded:  # a file of an earlier version
        return
    trained = pd.Series(np.asarray(embedded["trained_as"]), index=embedded["embedding"].index)
    if trained[a] == trained[b]:
        return
    told = [name for name in (a, b) if trained[name]]
    warnings.warn(
        f"The model was trained on cells of {listed(told)} and may know them by heart: the p-value "
        "is then far too small, whether or not the populations differ. Compare cells held out of "
        "training: model.train(validation='cell', train_size=0.5), then embed "
        "adata[model.validation_indices].copy(). Groups of donors (groupby=) are not concerned.",
        UserWarning,
        stacklevel=3,
    )


def _distance_of_pair(
    d: np.ndarray, error: np.ndarray, cells: np.ndarray, seed: int, n_draws: int = 10_000
) -> np.ndarray:
    """Return the distance ``d`` in standard deviations of cells, less what errors add, and 95 %."""
    precision = np.linalg.inv(cells)
    draws = np.random.default_rng(seed).multivariate_normal(d, error, n_draws, method="eigh")
    plain, bias = d @ precision @ d, np.trace(precision @ error)
    redrawn = np.einsum("kp,pq,kq->k", draws, precision, draws) - bias
    low, high = np.quantile(redrawn - plain, [0.025, 0.975])
    squared = plain - bias
    return np.sqrt(np.maximum([squared, squared - high, squared - low], 0))
