from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from ..data import as_dense, log_normalized
from ..distances import energy_distance

Matrix = np.ndarray | sp.spmatrix


def resampling_report(
    real: Matrix,
    generated: Matrix,
    log_normalize: bool = False,
    min_mean: float = 0.0,
    max_cells: int = 2_000,
    seed: int = 0,
) -> pd.Series:
    """Compare generated cells with real ones: means, variances, zeros, and the distribution.

    Means alone are no evidence: a generator that collapses every population to its mean has
    perfect means. So variances and a distance between distributions are always beside them.

    Parameters
    ----------
    real, generated
        Cells x features, ``(n, d)`` and ``(m, d)``.
    log_normalize
        Take the energy distance on ``log(1 + 10^4 x / total)`` rather than on the values.
    min_mean
        Features with a lower mean in the real cells are left out of the variance ratio.
    max_cells
        Cells of each side in the energy distance, drawn at random.
    seed
        Seed of that draw.

    Returns
    -------
    Series: ``mean_correlation`` (Pearson, over features), ``variance_ratio`` (median over features
    of generated to real variance), ``zero_fraction_difference`` (mean absolute, over features),
    ``energy_distance`` to the real cells and, as its ceiling, ``split_half_energy_distance`` of one
    half of the real cells to the other.
    """
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"real has {real.shape[1]} features and generated {generated.shape[1]}; they must be "
            "the same, in the same order."
        )
    real, generated = as_dense(real), as_dense(generated)
    expressed = (real.mean(0) > min_mean) & (real.var(0) > 0)
    rng = np.random.default_rng(seed)
    x, y = (
        _sample(log_normalized(m) if log_normalize else m, max_cells, rng)
        for m in (real, generated)
    )
    order = rng.permutation(len(x))
    halves = x[order[: len(x) // 2]], x[order[len(x) // 2 :]]
    return pd.Series(
        {
            "mean_correlation": np.corrcoef(real.mean(0), generated.mean(0))[0, 1],
            "variance_ratio": np.median(generated.var(0)[expressed] / real.var(0)[expressed]),
            "zero_fraction_difference": np.abs(
                (real == 0).mean(0) - (generated == 0).mean(0)
            ).mean(),
            "energy_distance": _energy(x, y),
            "split_half_energy_distance": _energy(*halves),
        }
    )


def _sample(x: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return x if len(x) <= n else x[rng.choice(len(x), n, replace=False)]


def _energy(x: np.ndarray, y: np.ndarray) -> float:
    return energy_distance(torch.from_numpy(x)[None], torch.from_numpy(y)[None]).item()
