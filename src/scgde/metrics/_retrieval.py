from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import norm, rankdata
from sklearn.linear_model import RidgeCV

from .._errors import require_choice, require_zero_or_more
from ..stats import permutation_p_values
from ._latent_information import folds_of
from ._mutual_information import jackknife_error
from ._pairs import (
    Normalize,
    checked_pairs,
    normal_scores,
    normalized,
    require_level,
    whitened,
)

_ALPHAS = np.geomspace(1e-1, 1e5, 13)


def retrieval_auc(
    x: np.ndarray | pd.DataFrame,
    y: np.ndarray | pd.DataFrame,
    *,
    map: Literal["auto", "identity", "ridge"] = "auto",
    normalize: Normalize = "whiten",
    n_shuffles: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> pd.Series:
    """Tell how well a point finds its own partner among the partners of all.

    A point's AUC is the share of other points' partners that are farther from it than its own is;
    ``estimate`` is the mean over points: 0.5 is chance, 1 is perfect.

    Parameters
    ----------
    x, y
        ``(n, p)`` and ``(n, q)``; row i of x and row i of y are a pair.
    map
        ``"identity"``: both sides are coordinates of one space (a clone's early and late
        embedding), and distances are taken in it, each side's mean being moved to zero.
        ``"ridge"``: distances are from y predicted by a ridge regression that was fitted on the
        other four fifths of the pairs, and partners are looked for among the fifth that was left
        out. ``"auto"``: the former where both sides have as many coordinates.
    normalize
        As in :func:`mutual_information`. ``"identity"`` whitens both sides by their pooled
        covariance.
    n_shuffles
        Shuffles of y against x (within fifths) for the p-value; 0 for none.
    level
        Coverage of the interval.
    seed
        Seed of folds and shuffles.

    Returns
    -------
    Series: ``estimate``; ``low``, ``high`` (delete-one jackknife over pairs, the regression
    unchanged); ``top1``, the share of points whose own partner is the nearest; ``median_rank`` of
    the own partner, 1 being the nearest; ``n_candidates`` it is looked for among (on average);
    ``p_value``, ``(k + 1) / (B + 1)``; ``n``.

    Raises
    ------
    TypeError, ValueError
        As :func:`mutual_information`, or if the sides differ in coordinates and
        ``map="identity"``.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> float(retrieval_auc(x, x)["estimate"])
    1.0
    """
    require_choice("map", map, ("auto", "identity", "ridge"))
    require_level(level)
    require_zero_or_more(n_shuffles=n_shuffles)
    x, y = checked_pairs(x, y, min_points=20)
    same = x.shape[1] == y.shape[1]
    if map == "identity" and not same:
        raise ValueError(
            f"map='identity' compares coordinates, but x has {x.shape[1]} and y {y.shape[1]}. Use "
            "map='ridge'."
        )
    if map == "identity" or (map == "auto" and same):
        x, y = _in_one_space(x, y, normalize)
        folds = [np.arange(len(x))]
        distances = [cdist(x, y)]
    else:
        x, y = (normalized(name, side, normalize, seed) for name, side in (("x", x), ("y", y)))
        fold = folds_of(len(x), seed)
        folds = [np.flatnonzero(fold == f) for f in range(fold.max() + 1)]
        distances = []
        for test in folds:
            ridge = RidgeCV(_ALPHAS).fit(np.delete(x, test, axis=0), np.delete(y, test, axis=0))
            distances.append(cdist(ridge.predict(x[test]).reshape(len(test), -1), y[test]))
    ranks = [rankdata(d, axis=1) for d in distances]
    own = np.concatenate([r.diagonal() for r in ranks])
    rivals = np.concatenate([np.full(len(r), len(r) - 1) for r in ranks])
    auc = float((1 - (own - 1) / rivals).mean())
    half = norm.ppf((1 + level) / 2) * _auc_error(distances)
    rng = np.random.default_rng([seed, 1])
    null = np.array([_shuffled_auc(ranks, rng) for _ in range(n_shuffles)])
    p_value = permutation_p_values(np.array([auc]), null[:, None])[0] if n_shuffles else np.nan
    return pd.Series(
        {
            "estimate": auc,
            "low": max(auc - half, 0.0),
            "high": min(auc + half, 1.0),
            "top1": float((own == 1).mean()),
            "median_rank": float(np.median(own)),
            "n_candidates": float(rivals.mean() + 1),
            "p_value": float(p_value),
            "n": float(len(own)),
        }
    )


def _in_one_space(
    x: np.ndarray, y: np.ndarray, normalize: Normalize
) -> tuple[np.ndarray, np.ndarray]:
    require_choice("normalize", str(normalize), ("None", "whiten", "rank"))
    if normalize == "rank":
        return normal_scores(x), normal_scores(y)
    both = np.concatenate([x - x.mean(0), y - y.mean(0)])
    both = whitened("x", both) if normalize == "whiten" else both
    return both[: len(x)], both[len(x) :]


def _shuffled_auc(ranks: list[np.ndarray], rng: np.random.Generator) -> float:
    own = [(r[np.arange(len(r)), rng.permutation(len(r))] - 1) / (len(r) - 1) for r in ranks]
    return 1 - float(np.concatenate(own).mean())


def _auc_error(distances: list[np.ndarray]) -> float:
    """Return the standard error of the mean AUC; a pair left out is neither asked nor a rival."""
    n = sum(map(len, distances))
    wins = []
    for d in distances:
        own = d.diagonal()[:, None]
        won = (d > own) + 0.5 * (d == own)
        np.fill_diagonal(won, 0)
        wins.append(won)
    total = sum(won.sum() / (len(won) - 1) for won in wins)
    without = []
    for won in wins:
        m, others = len(won), total - won.sum() / (len(won) - 1)
        left = (won.sum() - won.sum(0) - won.sum(1)) / (m - 2)
        without.append((others + left) / (n - 1))
    return jackknife_error(np.concatenate(without))
