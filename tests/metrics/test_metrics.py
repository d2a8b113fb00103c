from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scgde.metrics import (
    classification_scores,
    regression_scores,
    scores_with_intervals,
)


def auc_only(y, p):
    return {"roc_auc": roc_auc_score(y, p)}


def test_perfect_and_constant_predictions():
    y = np.array([0, 1, 2, 0, 1, 2])
    perfect = classification_scores(y, np.eye(3)[y])
    assert all(value == 1.0 for value in perfect.values())
    constant = classification_scores(y, np.tile([1.0, 0.0, 0.0], (6, 1)))
    assert constant["roc_auc"] == 0.5
    assert constant["balanced_accuracy"] == pytest.approx(1 / 3)
    assert regression_scores(np.arange(5.0), np.full(5, 2.0))["spearman"] == 0.0


def test_probabilities_in_single_precision_and_what_is_known_beforehand():
    y = np.array([0, 0, 1, 1])
    second = np.array([0.0, 1e-18, 1e-16, 1.0], dtype=np.float32)
    scores = classification_scores(y, np.stack([1 - second, second], 1))
    assert scores["roc_auc"] == 1
    # Nothing is said beyond what each training set's frequencies say, which run against y.
    base = np.array([[0.5, 0.5], [0.5, 0.5], [0.6, 0.4], [0.6, 0.4]], dtype=np.float32)
    assert classification_scores(y, base)["roc_auc"] == 0
    assert classification_scores(y, base, base)["roc_auc"] == 0.5
    mean = np.array([5.0, 4, 3, 2])
    assert regression_scores(-mean, mean)["spearman"] == pytest.approx(-1)
    assert regression_scores(-mean, mean, mean)["spearman"] == 0


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """AUC of one normal feature, known in closed form, in studies of 60 donors."""
    from scipy.stats import norm

    truth, inside = norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        y = np.repeat([0, 1], 30)
        p = norm.cdf(rng.normal(y, 1.0) - 0.5)
        table = scores_with_intervals(y, p[None], auc_only, n_bootstrap=100, seed=seed)
        low, high = table.loc["roc_auc", ["low", "high"]]
        inside += low <= truth <= high
    assert 0.85 <= inside / 40 <= 1.0


def test_copies_of_a_donor_are_no_more_evidence():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 15)
    p = np.clip(y + rng.normal(0, 0.8, 30), 0.01, 0.99)

    def width(repeat, groups=None):
        table = scores_with_intervals(y.repeat(repeat), p[None].repeat(repeat, 1), auc_only, groups)
        return table.loc["roc_auc", "high"] - table.loc["roc_auc", "low"]

    assert width(8, np.arange(30).repeat(8)) == pytest.approx(width(1), rel=0.3)
    assert width(8) < 0.6 * width(1)
