"""Information between early and late vectors, over all clones at once or within folds of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import combine_pvalues

from ..metrics import mutual_information, retrieval_auc
from ..stats import permutation_p_values
from ._clonal_views import Pairs

ESTIMATORS = ("ksg", "ksg_published", "latent", "infonce", "retrieval_auc")


class Score(NamedTuple):
    """An estimate over all clones, its parts ``pointwise (n,)`` and shuffled pairs', ``null (B,)``.

    ``k`` and ``normalize`` are what the estimator used, 0 and ``"none"`` for nothing. Retrieval has
    NaN parts and an empty null.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    k: int
    normalize: str
    n_dims: int
    pointwise: np.ndarray
    null: np.ndarray


def score(
    pairs: list[Pairs], estimator: str, k: int, normalize: str | None, n_shuffles: int, seed: int
) -> Score:
    """Return the estimate over the clones of all folds, each fold weighted by its clones.

    Vectors of different folds come from different models, so clones are compared within folds
    only. Intervals take folds as independent.
    """
    parts = [_of_fold(fold, estimator, k, normalize, n_shuffles, seed) for fold in pairs]
    sizes = np.array([len(fold.clones) for fold in pairs])
    share = sizes / sizes.sum()
    estimate, low, high = np.array([part[:3] for part in parts]).T
    pointwise = np.full(sizes.sum(), np.nan)
    for fold, part in zip(pairs, parts, strict=True):
        pointwise[fold.clones] = part.pointwise
    total = share @ estimate
    null = share @ np.stack([part.null for part in parts])
    return parts[0]._replace(
        estimate=total,
        low=total - np.linalg.norm(share * (estimate - low)),
        high=total + np.linalg.norm(share * (high - estimate)),
        p_value=_p_value(total, null, [part.p_value for part in parts]),
        n_dims=max(part.n_dims for part in parts),
        pointwise=pointwise,
        null=null,
    )


def _p_value(total: float, null: np.ndarray, of_folds: list[float]) -> float:
    """Return the p-value by shuffles of all folds, or by Fisher's method from those of each."""
    if len(null):
        return float(permutation_p_values(np.array([total]), null[:, None])[0])
    return float(combine_pvalues(of_folds).pvalue) if len(of_folds) > 1 else of_folds[0]


def _of_fold(
    fold: Pairs, estimator: str, k: int, normalize: str | None, n_shuffles: int, seed: int
) -> Score:
    published = estimator == "ksg_published"
    x, y = (fold.raw_early, fold.raw_late) if published else (fold.early, fold.late)
    if any(not np.ptp(side, axis=0).any() for side in (fold.raw_early, fold.raw_late)):
        # A constant tells nothing, exactly; estimators refuse it.
        auc = estimator == "retrieval_auc"
        none = 0.5 if auc else 0.0
        nothing = np.full(len(x), np.nan if auc else 0.0), np.zeros(0 if auc else n_shuffles)
        return Score(none, none, none, 1.0, 0, "none", x.shape[1], *nothing)
    if estimator == "retrieval_auc":
        auc = retrieval_auc(x, y, normalize=normalize, n_shuffles=n_shuffles, seed=seed)
        used = str(normalize).lower()
        nothing = np.full(len(x), np.nan), np.empty(0)
        return Score(*auc[["estimate", "low", "high", "p_value"]], 0, used, x.shape[1], *nothing)
    found = mutual_information(
        x,
        y,
        method="ksg" if published else estimator,
        k=3 if published else k,
        normalize=None if published else normalize,
        n_shuffles=n_shuffles,
        seed=seed,
    )
    return Score(
        found.bits,
        found.low,
        found.high,
        found.p_value,
        found.k,
        found.normalize,
        x.shape[1],
        found.pointwise,
        found.null,
    )
