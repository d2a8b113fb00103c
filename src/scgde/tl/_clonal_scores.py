"""Information between early and late vectors, over all clones at once or within folds of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import metrics
from ..stats import permutation_p_values
from ._clonal_views import Pairs

ESTIMATORS = ("ksg", "ksg_published", "latent", "infonce", "retrieval_auc")


class Score(NamedTuple):
    """An estimate over all clones, ``pointwise (n,)`` and of shuffled pairs, ``null (B,)``.

    ``k`` and ``normalize`` are what the estimator used, 0 and ``"none"`` for nothing.
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
        p_value=permutation_p_values(np.array([total]), null[:, None])[0] if len(null) else np.nan,
        n_dims=max(part.n_dims for part in parts),
        pointwise=pointwise,
        null=null,
    )


def _of_fold(
    fold: Pairs, estimator: str, k: int, normalize: str | None, n_shuffles: int, seed: int
) -> Score:
    published = estimator == "ksg_published"
    x, y = (fold.raw_early, fold.raw_late) if published else (fold.early, fold.late)
    if any(not np.ptp(side, axis=0).any() for side in (fold.raw_early, fold.raw_late)):
        # A constant tells nothing, exactly; estimators refuse it.
        none = 0.5 if estimator == "retrieval_auc" else 0.0
        zeros = np.full(len(x), none), np.full(n_shuffles, none)
        return Score(none, none, none, np.nan, 0, "none", x.shape[1], *zeros)
    if estimator == "retrieval_auc":
        found = metrics.retrieval_auc(x, y, normalize=normalize, n_shuffles=n_shuffles, seed=seed)
        used_k, estimate = 0, found.auc
    else:
        found = metrics.mutual_information(
            x,
            y,
            method="ksg" if published else estimator,
            k=3 if published else k,
            normalize=None if published else normalize,
            n_shuffles=n_shuffles,
            seed=seed,
        )
        used_k, estimate = found.k, found.bits
    return Score(
        estimate,
        found.low,
        found.high,
        found.p_value,
        used_k,
        found.normalize,
        x.shape[1],
        found.pointwise,
        found.null,
    )
