from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import logit
from scipy.stats import spearmanr
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)


def classification_scores(
    y_true: np.ndarray, probability: np.ndarray, base_rate: np.ndarray | None = None
) -> dict[str, float]:
    """Score predicted class probabilities.

    Parameters
    ----------
    y_true
        Class numbers ``(n,)``, from 0 to ``n_classes - 1``.
    probability
        ``(n, n_classes)``.
    base_rate
        Frequencies of the classes among what each row's predictor was trained on,
        ``(n, n_classes)``. Pass it where rows are of several folds: whoever is held out is missing
        from the training set, so predictions that know nothing are pooled in the wrong order. With
        it ``roc_auc`` ranks by the odds divided by those of the base rate.

    Returns
    -------
    ``accuracy``, ``balanced_accuracy``, ``roc_auc`` (of several classes: one against the rest,
    averaged over classes) and ``f1`` (of class 1 where there are two, else averaged over classes).

    Examples
    --------
    >>> import numpy as np
    >>> scores = classification_scores(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    >>> float(scores["roc_auc"])
    1.0
    """
    y_pred = probability.argmax(1)
    n_classes = probability.shape[1]
    evidence = probability
    if base_rate is not None:
        evidence = _log_odds(probability) - _log_odds(base_rate)
    of = [1] if n_classes == 2 else range(n_classes)
    average = "binary" if n_classes == 2 else "macro"
    return {
        "accuracy": accuracy_score(y_true, y_pred),
        "balanced_accuracy": balanced_accuracy_score(y_true, y_pred),
        "roc_auc": float(np.mean([roc_auc_score(y_true == c, evidence[:, c]) for c in of])),
        "f1": f1_score(y_true, y_pred, average=average, zero_division=0.0),
    }


def _log_odds(probability: np.ndarray) -> np.ndarray:
    # Rounded, so that what is equal but for the last digits stays equal.
    return np.round(logit(np.clip(probability.astype(np.float64), 1e-15, 1 - 1e-15)), 9)


def regression_scores(
    y_true: np.ndarray, prediction: np.ndarray, training_mean: np.ndarray | None = None
) -> dict[str, float]:
    """Score predicted numbers.

    Parameters
    ----------
    y_true, prediction
        Each ``(n,)``.
    training_mean
        Mean of the label among what each row's predictor was trained on, ``(n,)``. Pass it where
        rows are of several folds: who is held out and high leaves a training set that is low, so
        predictions that know nothing correlate negatively once folds are pooled. With it
        ``spearman`` is that of the prediction's difference from this mean.

    Returns
    -------
    ``r2``, ``mae`` (in the label's units) and ``spearman`` (0 where the prediction is constant).

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scores = scgde.metrics.regression_scores(np.arange(5.0), np.array([0.0, 1, 2, 3, 5]))
    >>> {name: round(value, 2) for name, value in scores.items()}
    {'r2': 0.9, 'mae': 0.2, 'spearman': 1.0}
    """
    ranked = prediction if training_mean is None else prediction - training_mean
    constant = np.ptp(ranked) <= 1e-9 * np.ptp(y_true)  # a mean is exact to rounding only
    return {
        "r2": r2_score(y_true, prediction),
        "mae": mean_absolute_error(y_true, prediction),
        "spearman": 0.0 if constant else float(spearmanr(y_true, ranked).statistic),
    }


def scores_with_intervals(
    y_true: np.ndarray,
    predictions: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    groups: np.ndarray | None = None,
    level: float = 0.95,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Average scores over repeats of cross-validation, with an interval.

    The interval is that of a bootstrap in which a repeat is picked at random and its held-out
    predictions are resampled by group. So it holds both how the folds fell and which donors the
    study happened to have; the spread over repeats alone would hide the second.

    Parameters
    ----------
    y_true
        ``(n,)``.
    predictions
        Held-out predictions of every repeat, ``(n_repeats, n, ...)``.
    score
        ``score(y_true, prediction)``, a number for each name.
    groups
        Donor of each entry, ``(n,)``; every entry its own by default.
    level
        Coverage of the interval.
    n_bootstrap, seed
        Of the bootstrap. Draws that lack a class are left out.

    Returns
    -------
    DataFrame, metrics x (``estimate``, ``low``, ``high``).

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> y = np.arange(20.0)
    >>> predictions = y + np.random.default_rng(0).normal(size=(3, 20))  # three repeats
    >>> table = scgde.metrics.scores_with_intervals(y, predictions, scgde.metrics.regression_scores)
    >>> table.columns.tolist(), table.index.tolist()
    (['estimate', 'low', 'high'], ['r2', 'mae', 'spearman'])
    """
    groups = np.arange(len(y_true)) if groups is None else np.unique(groups, return_inverse=True)[1]
    members = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
    rng = np.random.default_rng(seed)
    estimate = pd.DataFrame([score(y_true, p) for p in predictions]).mean()
    classes = np.unique(y_true) if np.issubdtype(y_true.dtype, np.integer) else None
    draws = []
    for _ in range(n_bootstrap):
        rows = np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])
        if classes is not None and len(np.unique(y_true[rows])) < len(classes):
            continue
        draws.append(score(y_true[rows], predictions[rng.integers(len(predictions))][rows]))
    low, high = pd.DataFrame(draws).quantile([(1 - level) / 2, (1 + level) / 2]).to_numpy()
    return pd.DataFrame({"estimate": estimate, "low": low, "high": high})
