from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from rich.progress import track
from scipy.stats import t as student_t

from .._errors import require_counts
from ..data import as_dense, is_counts, log_normalized
from ._two_sample import QUANTITIES, Sample, compare_samples

Matrix = np.ndarray | sp.spmatrix | sp.sparray | pd.DataFrame

MIN_CELLS = 20
_MAX_GENES_FOR_CORRELATIONS = 200
_OF_COUNTS = ["variance_ratio_normalized", "total_mean_ratio", "total_sd_ratio"]


def resampling_report(
    real: Matrix,
    generated: Matrix,
    log_normalize: bool = False,
    min_mean: float = 0.0,
    max_cells: int = 2_000,
    seed: int = 0,
    *,
    min_cells: int = 10,
    n_splits: int = 10,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    r"""Compare generated cells with real ones, each quantity beside what real cells reach.

    Means alone are no evidence: a generator that collapses every population to its mean has
    perfect means. So variances, zeros, correlations of genes and tests of the whole distribution
    are always beside them.

    Every split halves the real cells at random; as many generated cells are compared with the first
    half, and the second half with the first. So what a finite sample does to a statistic is the
    same on both sides, and a perfect generator reaches the ceiling, not the ideal value. Intervals
    are 95 % t intervals from the spread over splits: the spread over random halves is, to first
    order, that of the statistic over new samples of the full size (delete-d jackknife, Shao & Wu
    1989). They hold the sampling of cells, not the training of the generator.

    Parameters
    ----------
    real, generated
        Cells x features, ``(n, d)`` and ``(m, d)``. Of a population that a model was trained on,
        the real cells should be those held out.
    log_normalize
        The values are counts: compare correlations, energy distance and classifiers on
        ``log(1 + 10^4 x / total)``, and add three rows: the variance ratio on that scale, on which
        it depends much on the cells' totals; and the ratios of the totals' mean and standard
        deviation.
    min_mean
        Features whose mean over the real cells is nearer to zero are left out of variances and
        correlations.
    max_cells
        Cells of each side that are looked at, drawn at random.
    seed
        Seed of draws, splits and classifiers.
    min_cells
        Likewise features that are not zero in fewer real cells: the variance of a gene seen in a
        few cells is that of its outliers.
    n_splits
        Random splits.
    enable_progress_bar
        Show progress.

    Returns
    -------
    DataFrame, quantities x (``estimate``, ``low``, ``high``, ``ceiling``, ``ceiling_low``,
    ``ceiling_high``, ``ideal``); ``ideal`` is the value of a perfect generator with endless cells.
    ``mean_correlation``, ``mean_difference``
        Pearson correlation over features, and mean absolute difference, of the features' means.
    ``variance_ratio``, ``variance_ratio_q25``, ``variance_ratio_q75``, ``variance_correlation``
        Median and quartiles over features of generated to real variance; rank correlation of the
        two variances.
    ``zero_fraction_difference``
        Mean absolute difference, over features, of the share of zeros.
    ``gene_correlation``, ``gene_correlation_rms``
        Of the correlations of all pairs among the 200 most variable features: their Pearson
        correlation, generated with real, and root mean square difference. NaN of fewer than three.
    ``energy_distance``
        See :func:`~scgde.distances.energy_distance`.
    ``auc_logistic``, ``auc_trees``
        Classifier two-sample tests (Lopez-Paz & Oquab 2017, Sec. 3): cross-validated area under the
        curve of telling generated from real cells, by logistic regression on standardised features,
        which sees means, and by extremely randomised trees, which see variances and zeros as well.
        At 0.5 the two cannot be told apart.

    Raises
    ------
    TypeError
        If ``real`` or ``generated`` is an AnnData.
    ValueError
        If the features differ, a value is not finite (or negative, of counts), there are fewer
        than 20 cells on a side, or no feature of the real cells varies.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> real, collapsed = rng.poisson(3, (80, 5)), np.full((80, 5), 3)
    >>> report = resampling_report(real, collapsed, enable_progress_bar=False)
    >>> report.loc[["mean_difference", "variance_ratio"], ["estimate", "ceiling"]].round(1)
                     estimate  ceiling
    mean_difference       0.2      0.3
    variance_ratio        0.0      0.9
    """
    require_counts(n_splits=n_splits, max_cells=max_cells, min_cells=min_cells)
    if n_splits < 2:
        raise ValueError(f"n_splits={n_splits} gives no interval: take two or more.")
    rng = np.random.default_rng(seed)
    real, generated = (
        _draw(argument, x, max_cells, rng)
        for argument, x in (("real", real), ("generated", generated))
    )
    if log_normalize and not is_counts(real):
        warnings.warn(
            "real is not counts (whole numbers, zero or above), but log_normalize=True is for "
            "counts, corrected ones at most. If these are normalised already, pass the layer that "
            "holds counts, or leave log_normalize out.",
            UserWarning,
            stacklevel=2,
        )
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"real has {real.shape[1]} features and generated {generated.shape[1]}; they must be "
            "the same, in the same order."
        )
    seen = (np.abs(real.mean(0)) >= min_mean) & ((real != 0).sum(0) >= min_cells)
    expressed = np.flatnonzero(seen & (real.var(0) > 0))
    if not len(expressed):
        raise ValueError(
            f"No feature of real varies, has a mean of min_mean={min_mean} and is seen in "
            f"min_cells={min_cells} cells: lower these two."
        )
    x, y = (
        _sample(argument, m, log_normalize)
        for argument, m in (("real", real), ("generated", generated))
    )
    order = np.argsort(-x.seen[:, expressed].var(0), kind="stable")
    variable = expressed[order[:_MAX_GENES_FOR_CORRELATIONS]]
    half = min(len(real), len(generated)) // 2
    estimates, ceilings = [], []
    for split in track(range(n_splits), "Resampling report", disable=not enable_progress_bar):
        first, second = np.split(rng.permutation(len(real))[: 2 * half], 2)
        drawn = rng.permutation(len(generated))[:half]
        for other, rows, table in ((y, drawn, estimates), (x, second, ceilings)):
            pair = (Sample(*(m[r] for m in s)) for s, r in ((x, first), (other, rows)))
            table.append(compare_samples(*pair, expressed, variable, seed + split))
    report = pd.concat(
        [_interval(estimates), _interval(ceilings).rename(columns=_as_ceiling)], axis=1
    )
    report["ideal"] = [QUANTITIES[name].ideal for name in report.index]
    return report if log_normalize else report.drop(index=_OF_COUNTS)


def _draw(argument: str, x: Matrix, max_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Return at most ``max_cells`` cells as a dense array, once they are known to be sound."""
    if isinstance(x, AnnData):
        raise TypeError(f"{argument} is an AnnData; pass its matrix, such as {argument}.X.")
    x = x.tocsr() if sp.issparse(x) else np.asarray(x)
    if x.ndim != 2:
        raise ValueError(
            f"{argument} has {x.ndim} dimensions; it must be a matrix, cells x features."
        )
    if not np.isfinite(x.data if sp.issparse(x) else x).all():
        raise ValueError(f"{argument} has values that are NaN or infinite: remove those cells.")
    if min(x.shape[0], max_cells) < MIN_CELLS:
        raise ValueError(
            f"{argument} has {x.shape[0]} cells (max_cells={max_cells}); halves that can be "
            f"compared take at least {MIN_CELLS}."
        )
    if x.shape[0] > max_cells:
        x = x[np.sort(rng.choice(x.shape[0], max_cells, replace=False))]
    return as_dense(x)


def _sample(argument: str, x: np.ndarray, log_normalize: bool) -> Sample:
    if log_normalize and (x < 0).any():
        raise ValueError(
            f"{argument} has negative values, but log_normalize=True is for counts: leave it out."
        )
    return Sample(x, log_normalized(x) if log_normalize else x)


def _interval(values: list[dict[str, float]]) -> pd.DataFrame:
    """Return mean and 95 % t interval over splits, within the bounds of each quantity."""
    values = pd.DataFrame(values)
    mean = values.mean()
    margin = student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1)
    lowest, highest = (
        [getattr(QUANTITIES[name], bound) for name in values] for bound in ("lowest", "highest")
    )
    low, high = np.maximum(mean - margin, lowest), np.minimum(mean + margin, highest)
    return pd.DataFrame({"estimate": mean, "low": low, "high": high})


def _as_ceiling(column: str) -> str:
    return "ceiling" if column == "estimate" else f"ceiling_{column}"
