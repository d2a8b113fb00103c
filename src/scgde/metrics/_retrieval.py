from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from rich.progress import track
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
    enable_progress_bar: bool = False,
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
        ``"ridge"``: distances are from y as predicted, at the spread of y, by a ridge regression
        fitted on the other four fifths of the pairs; partners are looked for in the fifth that
        was left out. ``"auto"``: the former where both sides have as many coordinates.
    normalize
        As in :func:`mutual_information`. ``"identity"`` whitens both sides by their pooled
        covariance.
    n_shuffles
        Shuffles of y against x for the p-value, the regression fitted anew for each; 0 for none.
    level
        Coverage of the interval.
    seed
        Seed of folds and shuffles.
    enable_progress_bar
        Show progress of the shuffles.

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
        distances = [cdist(*_in_one_space(x, y, normalize))]
        ranks = rankdata(distances[0], axis=1)

        def shuffled(order: np.ndarray) -> float:
            return float(_point_auc(ranks[np.arange(len(ranks)), order], len(ranks)).mean())

    else:
        x, y = (normalized(name, side, normalize, seed) for name, side in (("x", x), ("y", y)))
        fold = folds_of(len(x), seed)
        distances = _predicted_distances(x, y, fold)

        # Folds share their training points, so only a regression fitted anew gives the null.
        def shuffled(order: np.ndarray) -> float:
            own, m = _own_ranks(_predicted_distances(x, y[order], fold))
            return float(_point_auc(own, m).mean())

    own, candidates = _own_ranks(distances)
    auc = float(_point_auc(own, candidates).mean())
    half = norm.ppf((1 + level) / 2) * _auc_error(distances)
    rng = np.random.default_rng([seed, 1])
    shuffles = track(range(n_shuffles), "Shuffles", disable=not enable_progress_bar)
    null = np.array([shuffled(rng.permutation(len(x))) for _ in shuffles])
    p_value = permutation_p_values(np.array([auc]), null[:, None])[0] if n_shuffles else np.nan
    return pd.Series(
        {
            "estimate": auc,
            "low": max(auc - half, 0.0),
            "high": min(auc + half, 1.0),
            "top1": float((own == 1).mean()),
            "median_rank": float(np.median(own)),
            "n_candidates": float(candidates.mean()),
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


def _predicted_distances(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> list[np.ndarray]:
    """Return, for each fold, distances of predicted to true y, predicted without that fold."""
    distances = []
    for f in range(fold.max() + 1):
        train, test = fold != f, fold == f
        ridge = RidgeCV(_ALPHAS).fit(x[train], y[train])
        center = y[train].mean(0)
        # Shrunk predictions are all near the mean; whatever lies there would be near all of them.
        predicted = ridge.predict(x).reshape(y.shape) - center
        scale = (y[train] - center).std() / predicted[train].std()
        distances.append(cdist(scale * predicted[test], y[test] - center))
    return distances


def _own_ranks(distances: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank of each point's own partner, 1 the nearest, and of how many, ``(n,)``."""
    ranks = [1 + _beaten(-d).sum(1) for d in distances]
    sizes = [len(d) for d in distances]
    return np.concatenate(ranks), np.repeat(sizes, sizes)


def _beaten(distances: np.ndarray) -> np.ndarray:
    """Return 1 where a rival is farther than the own partner, 0.5 where as far, ``(m, m)``."""
    own = distances.diagonal()[:, None]
    beaten = (distances > own) + 0.5 * (distances == own)
    np.fill_diagonal(beaten, 0)
    return beaten


def _point_auc(own_rank: np.ndarray, candidates: np.ndarray | int) -> np.ndarray:
    return 1 - (own_rank - 1) / (candidates - 1)


def _auc_error(distances: list[np.ndarray]) -> float:
    """Return the standard error of the mean AUC; a pair left out is neither asked nor a rival."""
    n = sum(map(len, distances))
    wins = [_beaten(d) for d in distances]
    total = sum(won.sum() / (len(won) - 1) for won in wins)
    without = []
    for won in wins:
        m, others = len(won), total - won.sum() / (len(won) - 1)
        left = (won.sum() - won.sum(0) - won.sum(1)) / (m - 2)
        without.append((others + left) / (n - 1))
    return jackknife_error(np.concatenate(without))
