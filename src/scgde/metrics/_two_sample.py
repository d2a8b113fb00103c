"""How two samples of cells differ: one number a quantity."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.base import ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..distances import energy_distance

N_FOLDS = 3
_N_TREES = 50


class Sample(NamedTuple):
    """Cells ``(n, d)`` as given, and as distances, correlations and classifiers see them."""

    values: np.ndarray
    seen: np.ndarray


class Quantity(NamedTuple):
    """Value of a perfect generator, and the bounds that no value can pass."""

    ideal: float
    lowest: float
    highest: float


_CORRELATION = Quantity(1.0, -1.0, 1.0)
_DIFFERENCE = Quantity(0.0, 0.0, np.inf)
_RATIO = Quantity(1.0, 0.0, np.inf)
_AUC = Quantity(0.5, 0.0, 1.0)

QUANTITIES = {
    "mean_correlation": _CORRELATION,
    "mean_difference": _DIFFERENCE,
    "variance_ratio": _RATIO,
    "variance_ratio_q25": _RATIO,
    "variance_ratio_q75": _RATIO,
    "variance_correlation": _CORRELATION,
    "zero_fraction_difference": _DIFFERENCE,
    "gene_correlation": _CORRELATION,
    "gene_correlation_rms": _DIFFERENCE,
    "energy_distance": _DIFFERENCE,
    "auc_logistic": _AUC,
    "auc_trees": _AUC,
    "variance_ratio_normalized": _RATIO,
    "total_mean_ratio": _RATIO,
    "total_sd_ratio": _RATIO,
}


def compare_samples(
    x: Sample, y: Sample, expressed: np.ndarray, variable: np.ndarray, seed: int
) -> dict[str, float]:
    """Return every quantity of ``QUANTITIES`` of ``y`` against ``x``.

    Parameters
    ----------
    x, y
        The real and the other sample, of equal size.
    expressed
        Numbers of the features whose variances count.
    variable
        Numbers of the features whose correlations count.
    seed
        Of the classifiers' folds and trees.
    """
    ratio, spread = _variance_ratio(x.values, y.values, expressed)
    totals = x.values.sum(1), y.values.sum(1)
    of_x, of_y = (_upper_triangle(s.seen[:, variable]) for s in (x, y))
    return {
        "mean_correlation": _correlation(x.values.mean(0), y.values.mean(0)),
        "mean_difference": np.abs(x.values.mean(0) - y.values.mean(0)).mean(),
        "variance_ratio": ratio,
        "variance_ratio_q25": spread[0],
        "variance_ratio_q75": spread[1],
        "variance_correlation": _rank_correlation(
            x.values[:, expressed].var(0), y.values[:, expressed].var(0)
        ),
        "zero_fraction_difference": np.abs(
            (x.values == 0).mean(0) - (y.values == 0).mean(0)
        ).mean(),
        "gene_correlation": _correlation(of_x, of_y),
        "gene_correlation_rms": np.sqrt(np.square(of_x - of_y).mean()) if len(of_x) else np.nan,
        "energy_distance": energy_distance(
            *(torch.from_numpy(s.seen)[None] for s in (x, y))
        ).item(),
        "auc_logistic": _auc(_logistic(), x.seen, y.seen, seed),
        "auc_trees": _auc(_trees(seed), x.seen, y.seen, seed),
        "variance_ratio_normalized": _variance_ratio(x.seen, y.seen, expressed)[0],
        "total_mean_ratio": _ratio(totals[1].mean(), totals[0].mean()),
        "total_sd_ratio": _ratio(totals[1].std(), totals[0].std()),
    }


def _variance_ratio(
    x: np.ndarray, y: np.ndarray, expressed: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return median and quartiles over features of the variance in ``y`` over that in ``x``."""
    of_x, of_y = x[:, expressed].var(0), y[:, expressed].var(0)
    varies = of_x > 0  # a rare gene may be silent in one half
    if not varies.any():
        return np.nan, np.full(2, np.nan)
    low, median, high = np.quantile(of_y[varies] / of_x[varies], [0.25, 0.5, 0.75])
    return median, np.array([low, high])


def _ratio(a: float, b: float) -> float:
    return a / b if b else np.nan


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation: 0 where a side is constant, NaN of fewer than two values."""
    if len(a) < 2:
        return np.nan
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(a, b)[0, 1])


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2:
        return np.nan
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def _upper_triangle(x: np.ndarray) -> np.ndarray:
    """Return the correlations of all pairs of features; those of a constant feature are 0."""
    z = StandardScaler().fit_transform(x.astype(np.float64))
    return (z.T @ z / len(z))[np.triu_indices(z.shape[1], 1)]


def _logistic() -> ClassifierMixin:
    # Often more genes than cells: a firm penalty finds differences that a loose one overfits.
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01))


def _trees(seed: int) -> ClassifierMixin:
    return ExtraTreesClassifier(_N_TREES, min_samples_leaf=2, random_state=seed)


def _auc(classifier: ClassifierMixin, x: np.ndarray, y: np.ndarray, seed: int) -> float:
    """Return the cross-validated area under the curve of telling ``y`` from ``x``."""
    cells, label = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    p = cross_val_predict(classifier, cells, label, cv=folds, method="predict_proba")
    return float(roc_auc_score(label, p[:, 1]))
