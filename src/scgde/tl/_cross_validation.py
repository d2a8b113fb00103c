"""Held-out predictions of a label from representations of populations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.progress import track
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._errors import require_counts
from ..metrics import classification_scores, regression_scores
from ..stats import NoisyLogisticRegression, NoisyRidge
from ._representations import Representation


class Problem(NamedTuple):
    """One label: the populations that have it, and how predictions are made and scored."""

    label: str
    populations: np.ndarray
    names: pd.Index
    y: np.ndarray
    donors: np.ndarray
    classes: list[str] | None
    score: object


def label_problem(table: pd.DataFrame, donors: np.ndarray, label: str, task: str) -> Problem:
    """Return what is to be predicted: ``label`` of the populations of ``table`` that have one.

    Parameters
    ----------
    table
        Populations x what is constant within them.
    donors
        Number of each population's donor.
    label
        A column of ``table``.
    task
        ``"auto"``, ``"classification"`` or ``"regression"``.

    Raises
    ------
    ValueError
        If the label has one value only.
    """
    column = table[label]
    known = np.flatnonzero(column.notna())
    values = column.iloc[known]
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and values.nunique() > 10
    regression = task == "regression" or (task == "auto" and numeric)
    if values.nunique() < 2:
        raise ValueError(f"labels_key={label!r} has one value only; there is nothing to predict.")
    if regression:
        y, classes, score = _numbers(values, label), None, _score_numbers
    else:
        categories = pd.Categorical(values).remove_unused_categories()
        y, classes = categories.codes.astype(np.int64), [str(c) for c in categories.categories]
        score = _score_classes
    return Problem(label, known, table.index[known], y, donors[known], classes, score)


def _score_numbers(y_true: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    return regression_scores(y_true, held_out[:, 0], held_out[:, 1])


def _score_classes(y_true: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    return classification_scores(y_true, held_out[..., 0], held_out[..., 1])


def _numbers(values: pd.Series, label: str) -> np.ndarray:
    try:
        return values.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"labels_key={label!r} has values that are no numbers, such as {values.iloc[0]!r}, but "
            "task='regression' predicts numbers. Use task='classification'."
        ) from error


def splits_of(problem: Problem, n_splits: int | str, n_repeats: int, seed: int) -> Iterator[list]:
    """Yield for each repeat its folds: pairs of positions among the labelled populations."""
    if n_splits != "leave-one-out":
        if isinstance(n_splits, str):
            raise ValueError(
                f"n_splits={n_splits!r} must be a whole number of folds, or 'leave-one-out'."
            )
        require_counts(n_splits=n_splits)
    n_donors = len(np.unique(problem.donors))
    fewest = n_donors
    if problem.classes is not None:
        fewest = min(
            len(np.unique(problem.donors[problem.y == c])) for c in range(len(problem.classes))
        )
    if fewest < 2:
        raise ValueError(
            f"labels_key={problem.label!r} has a class of one donor only, who cannot be held out "
            "and learned from. Set that label to missing to leave it out, or merge classes."
        )
    if n_splits == "leave-one-out":
        yield list(LeaveOneGroupOut().split(problem.y, problem.y, problem.donors))
        return
    if not 2 <= n_splits <= fewest:
        raise ValueError(
            f"n_splits={n_splits} must be from 2 to {fewest}, the number of donors of the rarest "
            f"class of {problem.label!r}; or use n_splits='leave-one-out'."
        )
    for repeat in range(n_repeats):
        fold: BaseCrossValidator = (
            GroupKFold(n_splits, shuffle=True, random_state=seed + repeat)
            if problem.classes is None
            else StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed + repeat)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield list(fold.split(problem.y, problem.y, problem.donors))


def held_out_predictions(
    problem: Problem, representation: Representation, splits: list, progress: bool
) -> np.ndarray:
    """Return held-out predictions of every repeat, and what their training sets say by themselves.

    Of classes ``(R, n, n_classes, 2)``: probabilities, and frequencies in the training set. Of
    numbers ``(R, n, 2)``: predictions, and means of the training set.
    """
    regression = problem.classes is None
    # A column a class; a number is a column.
    y = problem.y[:, None] if regression else np.eye(len(problem.classes))[problem.y]
    held_out = np.zeros((len(splits), *y.shape, 2))
    jobs = [(r, *fold) for r, folds in enumerate(splits) for fold in folds]
    for repeat, train, test in track(jobs, "Training in folds", disable=not progress):
        known = problem.populations
        features = representation.features(known[train])[known]
        predictor, noise = _predictor(problem, representation), ((), ())
        if representation.noise is not None:
            covariance = representation.noise(known[train])[known]
            noise = (covariance[train],), (covariance[test],)
        else:
            predictor = make_pipeline(*representation.steps, StandardScaler(), predictor)
        predictor.fit(features[train], problem.y[train], *noise[0])
        if regression:
            held_out[repeat, test, 0, 0] = predictor.predict(features[test], *noise[1])
        else:
            seen = predictor.classes_
            held_out[repeat, test[:, None], seen, 0] = predictor.predict_proba(
                features[test], *noise[1]
            )
        one_for_all = representation.name == "majority" and not regression
        held_out[repeat, test, :, 1] = y[slice(None) if one_for_all else train].mean(0)
    return held_out[:, :, 0] if regression else held_out


def _predictor(problem: Problem, representation: Representation):
    if representation.name == "majority":
        if problem.classes is None:
            return DummyRegressor()
        # One class for all folds: were it each fold's own, of two equal classes it would be the one
        # that is held out less often, and its accuracy below one half.
        return DummyClassifier(strategy="constant", constant=np.bincount(problem.y).argmax())
    if representation.noise is not None:
        return NoisyRidge() if problem.classes is None else NoisyLogisticRegression()
    if problem.classes is None:
        return RidgeCV(np.logspace(-2, 4, 13))
    return LogisticRegression(max_iter=5_000)


def prediction_table(
    problem: Problem, representation: Representation, held_out: np.ndarray
) -> pd.DataFrame:
    mean = held_out.mean(0)[..., 0]
    table = pd.DataFrame(
        {
            "label": problem.label,
            "representation": representation.name,
            "setting": representation.setting,
            "population": np.asarray(problem.names, dtype=object),
        }
    )
    if problem.classes is None:
        return table.assign(truth=problem.y, prediction=mean, probability=np.nan)
    classes = np.array(problem.classes, dtype=object)
    return table.assign(
        truth=classes[problem.y],
        prediction=classes[mean.argmax(1)],
        probability=mean[np.arange(len(mean)), problem.y],
    )
