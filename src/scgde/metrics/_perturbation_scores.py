"""Scores of one predicted population; what they mean is said in ``perturbation_report``."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.distance import cdist, pdist
from sklearn.metrics import r2_score

from ..data import as_dense
from ..distances import energy_distance
from ._perturbation_split import Matrix, moments

# A gene counts towards the variance ratio if so many of the real cells have it.
_MIN_DETECTED = 0.1


def shift_scores(
    observed: np.ndarray,
    predicted: np.ndarray,
    training_mean: np.ndarray,
    t: np.ndarray,
    control_sd: np.ndarray,
    n_top: int,
) -> dict[str, tuple[float, float]]:
    """Score a predicted shift; all arguments ``(d,)``. Return for each score value and weight."""
    own, own_predicted = observed - training_mean, predicted - training_mean
    error = np.mean((observed - predicted) ** 2)
    top = np.argsort(-np.abs(t), kind="stable")[:n_top]
    return {
        "r2_shift": _skill(error, np.mean(observed**2)),
        "mse_shift": (error, 1.0),
        "r2_vs_training_mean": _skill(error, np.mean(own**2)),
        "pearson_delta": (_pearson(observed, predicted), 1.0),
        "pearson_delta_vs_training_mean": (_pearson(own, own_predicted), 1.0),
        f"pearson_delta_top{n_top}": (_pearson(observed[top], predicted[top]), 1.0),
        "top_genes_overlap": (_overlap(top, np.abs(predicted) / control_sd), 1.0),
    }


def mean_scores(observed: np.ndarray, predicted: np.ndarray) -> dict[str, tuple[float, float]]:
    """Score predicted means, ``(d,)``, as published: this is not evidence of anything."""
    return {
        "r2_mean": (r2_score(observed, predicted), 1.0),
        "mse_mean": (np.mean((observed - predicted) ** 2), 1.0),
    }


def discrimination_scores(observed: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Score how well predictions ``(k, d)`` find their own among observed shifts ``(n, d)``.

    Prediction ``i`` is of ``observed[i]``; ``k <= n``, and ``n`` is at least 2.
    """
    return {
        "centroid_accuracy": 1 - _rank(cdist(predicted, observed)),
        "discrimination_rank": _rank(cdist(predicted, observed, "cityblock")),
    }


def _rank(distance: np.ndarray) -> np.ndarray:
    """Return the share of others that are nearer than one's own, ties by half."""
    own = np.diagonal(distance)[:, None]
    nearer = (distance < own).sum(1) + 0.5 * ((distance == own).sum(1) - 1)
    return nearer / (distance.shape[1] - 1)


def cell_distance(observed: Matrix, predicted: Matrix) -> float:
    """Return the energy distance of cells ``(n, d)`` and ``(m, d)``, unbiased."""
    x, y = (torch.from_numpy(as_dense(m).astype(np.float64))[None] for m in (observed, predicted))
    return energy_distance(x, y, unbiased=True).item()


def moved_control_distance(
    observed: Matrix, control: np.ndarray, mean: np.ndarray, n: int, shift: np.ndarray
) -> float:
    """Return the energy distance of observed cells to control cells moved to a predicted mean.

    Moved by a shift that was measured from their own mean, control cells have no sampling error in
    theirs, for which the unbiased distance allows nevertheless: by half the distance between cells,
    divided by their number, it would fall below zero. So they are spread to the variance they were
    drawn with, and the distance between them is that before.

    Parameters
    ----------
    observed
        Observed cells.
    control
        Control cells ``(m, d)``, a draw from all.
    mean, n
        Mean ``(d,)`` and number of all control cells.
    shift
        Predicted shift ``(d,)``.
    """
    spread = np.sqrt(n / (n - 1))
    moved = mean + shift + spread * (control - mean)
    return cell_distance(observed, moved) + (spread - 1) * pdist(control).mean()


def variance_ratio(observed: Matrix, predicted: Matrix) -> float:
    """Return the median over expressed genes of predicted to observed variance."""
    of_real, of_predicted = moments(observed)[1], moments(predicted)[1]
    detected = np.asarray((observed != 0).mean(0)).ravel() >= _MIN_DETECTED
    expressed = detected & (of_real > 0)
    if not expressed.any():
        return np.nan
    return float(np.median(of_predicted[expressed] / of_real[expressed]))


def welch_t(
    mean: np.ndarray, variance: np.ndarray, n: int, other: np.ndarray, other_variance, m: int
) -> np.ndarray:
    """Return Welch's t of every gene, ``(d,)``; zero where neither side varies."""
    error = np.sqrt(variance / n + other_variance / m)
    return np.divide(mean - other, error, out=np.zeros_like(mean), where=error > 0)


def _skill(error: float, reference: float) -> tuple[float, float]:
    # Weighted by what there was to explain, the mean of R2 is the R2 of all together.
    return (1 - error / reference, reference) if reference > 0 else (np.nan, 0.0)


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    # What is constant but for rounding has no correlation.
    if min(np.ptp(x), np.ptp(y)) <= 1e-9 * max(np.ptp(x), np.ptp(y), 1e-9):
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def _overlap(top: np.ndarray, score: np.ndarray) -> float:
    """Return the share of ``top`` among as many genes of the highest score, ties by chance."""
    k = len(top)
    threshold = np.sort(score)[-k]
    above, tied = score > threshold, score == threshold
    return float((above[top].sum() + tied[top].sum() * (k - above.sum()) / tied.sum()) / k)
