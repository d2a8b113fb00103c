"""Conformal p-values: ranks of scores among calibration populations, without a model of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._errors import require_counts


def conformal_p_values(scores: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    r"""Return the share of scores at least as strange, the tested one counted among them.

    .. math:: p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1}

    Vovk, Gammerman & Shafer (2005), Eq. 2.20: at most :math:`\alpha` with probability at most
    :math:`\alpha` where the tested and the calibration scores are exchangeable.

    Parameters
    ----------
    scores
        Tested scores ``(Q,)``; high is strange.
    calibration
        Scores ``(n,)`` of the calibration populations, or ``(Q, n)`` where they differ with the
        tested one.

    Returns
    -------
    ``(Q,)``, from 1 / (n + 1) to 1.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.stats.conformal_p_values(np.array([5.0, 0.5]), np.arange(1.0, 10.0))
    array([0.6, 1. ])
    """
    scores, calibration = np.asarray(scores, dtype=float), np.asarray(calibration, dtype=float)
    if calibration.ndim == 1:
        calibration = np.broadcast_to(calibration, (len(scores), len(calibration)))
    return (1 + (calibration >= scores[:, None]).sum(1)) / (calibration.shape[1] + 1)


class Novelty(NamedTuple):
    """Mean distance to the nearest reference populations and its p-value, each ``(Q,)``.

    Attributes
    ----------
    score
        Mean distance to the nearest reference populations, ``(Q,)``.
    p_value
        Share of populations at least as far from theirs, ``(Q,)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> z = np.random.default_rng(0).normal(size=30)
    >>> within = abs(z[:, None] - z)
    >>> across = abs(np.array([[0.0], [9.0]]) - z)  # one query among them, one far away
    >>> everyone = np.ones(30, dtype=bool)
    >>> test = scgde.stats.knn_novelty(within, across, everyone)
    >>> (test.p_value < 0.05).tolist()
    [False, True]
    """

    score: np.ndarray
    p_value: np.ndarray


def knn_novelty(
    within: np.ndarray, across: np.ndarray, calibration: np.ndarray, n_neighbors: int = 5
) -> Novelty:
    """Test whether each query is unlike anything in a reference.

    Full conformal prediction with the mean distance to the nearest neighbours as the score: the
    scores of the calibration populations are computed again with each query among their
    neighbours, so that query and calibration populations are treated alike and the p-value is
    exact where they are exchangeable (Vovk et al. 2005, Sec. 2.2).

    Parameters
    ----------
    within
        Distances between reference populations ``(R, R)``.
    across
        Distances of queries to them ``(Q, R)``.
    calibration
        Which of the reference populations are exchangeable with queries, ``(R,)`` booleans; the
        others are neighbours only.
    n_neighbors
        Neighbours of a score.

    Returns
    -------
    :class:`Novelty`.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a distance is NaN or negative, or nothing calibrates.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> z = np.random.default_rng(0).normal(size=30)
    >>> within = abs(z[:, None] - z)
    >>> across = abs(np.array([[0.0], [9.0]]) - z)  # one query among them, one far away
    >>> everyone = np.ones(30, dtype=bool)
    >>> test = scgde.stats.knn_novelty(within, across, everyone)
    >>> (test.p_value < 0.05).tolist()
    [False, True]
    """
    within, across, calibration = _checked(within, across, calibration, n_neighbors)
    k = min(n_neighbors, len(within))
    score = _nearest(across, k).mean(1)
    moved = _with_query(_nearest(within[calibration], k), across[:, calibration])
    return Novelty(score, conformal_p_values(score, moved))


class LabelPValues(NamedTuple):
    """Scores and p-values ``(Q, C)`` of every label, and ``n_calibration (C,)``.

    Attributes
    ----------
    score
        How little each label conforms, ``(Q, C)``.
    p_value
        Of every label, ``(Q, C)``.
    n_calibration
        Populations that each label was ranked among, ``(C,)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> z = np.concatenate([np.random.default_rng(0).normal(m, 1, 20) for m in (0, 9)])
    >>> labels, everyone = np.repeat([0, 1], 20), np.ones(40, dtype=bool)
    >>> within, across = abs(z[:, None] - z), abs(np.array([[0.0]]) - z)
    >>> test = scgde.stats.knn_label_p_values(within, across, labels, everyone)
    >>> (test.p_value > 0.1).tolist()
    [[True, False]]
    """

    score: np.ndarray
    p_value: np.ndarray
    n_calibration: np.ndarray


def knn_label_p_values(
    within: np.ndarray,
    across: np.ndarray,
    labels: np.ndarray,
    calibration: np.ndarray,
    n_neighbors: int = 5,
) -> LabelPValues:
    r"""Return for each query and label how well the label conforms.

    .. math:: s = \frac{d_{same}}{d_{same} + d_{other}}

    with the mean distances to the nearest populations of the same and of other labels (the ratio
    of Vovk et al. 2005, Eq. 3.1, made finite). Full conformal prediction, by class (Mondrian): the
    query is given each label in turn, scores of that label's calibration populations are computed
    again, and its own is ranked among them. The labels with p above :math:`\alpha` hold the true
    one with probability at least :math:`1 - \alpha` in every class, under exchangeability.

    Parameters
    ----------
    within, across, calibration, n_neighbors
        As in :func:`knn_novelty`.
    labels
        Codes ``(R,)`` from 0 of the reference populations' labels; -1 for unlabelled ones, which do
        not count.

    Returns
    -------
    :class:`LabelPValues`. A label without calibration populations has p = 1: it can never be
    excluded.

    Raises
    ------
    TypeError, ValueError
        As :func:`knn_novelty`; and if there are fewer than two labels.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> z = np.concatenate([np.random.default_rng(0).normal(m, 1, 20) for m in (0, 9)])
    >>> labels, everyone = np.repeat([0, 1], 20), np.ones(40, dtype=bool)
    >>> within, across = abs(z[:, None] - z), abs(np.array([[0.0]]) - z)
    >>> test = scgde.stats.knn_label_p_values(within, across, labels, everyone)
    >>> (test.p_value > 0.1).tolist()
    [[True, False]]
    """
    within, across, calibration = _checked(within, across, calibration, n_neighbors)
    labels = np.asarray(labels)
    if labels.shape != calibration.shape:
        raise ValueError(f"labels has shape {labels.shape}; it must be {calibration.shape}.")
    classes = np.unique(labels[labels >= 0])
    if len(classes) < 2 or not np.array_equal(classes, np.arange(len(classes))):
        raise ValueError(f"labels has the codes {classes.tolist()}; at least 0 and 1 are needed.")
    score, p_value = np.empty((2, len(across), len(classes)))
    counts = np.zeros(len(classes), dtype=int)
    for c in classes:
        same, other = labels == c, (labels >= 0) & (labels != c)
        ranked = calibration & same
        counts[c] = ranked.sum()
        k, k_other = min(n_neighbors, same.sum()), min(n_neighbors, other.sum())
        own = _share(
            _nearest(across[:, same], k).mean(1), _nearest(across[:, other], k_other).mean(1)
        )
        # Given this label, the query is one of the same for all of these, and never of the others.
        near = _with_query(_nearest(within[np.ix_(ranked, same)], k), across[:, ranked])
        far = _nearest(within[np.ix_(ranked, other)], k_other).mean(1)
        score[:, c], p_value[:, c] = own, conformal_p_values(own, _share(near, far))
    return LabelPValues(score, p_value, counts)


def _checked(
    within: np.ndarray, across: np.ndarray, calibration: np.ndarray, n_neighbors: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the arguments as arrays, no reference population being its own neighbour."""
    require_counts(n_neighbors=n_neighbors)
    within, across = np.array(within, dtype=float), np.asarray(across, dtype=float)
    calibration = np.asarray(calibration, dtype=bool)
    n = len(within)
    if within.shape != (n, n) or across.ndim != 2 or across.shape[1] != n:
        raise ValueError(
            f"within {within.shape} and across {across.shape} must be distances (R, R) and (Q, R)."
        )
    if calibration.shape != (n,) or not calibration.any():
        raise ValueError(
            f"calibration must be {n} booleans, one or more of them True; got shape "
            f"{calibration.shape} with {calibration.sum()}."
        )
    if not (within >= 0).all() or not (across >= 0).all():
        raise ValueError("within or across has distances that are NaN or negative.")
    np.fill_diagonal(within, np.inf)
    return within, across, calibration


def _nearest(distances: np.ndarray, k: int) -> np.ndarray:
    """Return the k smallest of each row, ascending."""
    return np.sort(distances, axis=1)[:, :k]


def _with_query(nearest: np.ndarray, to_query: np.ndarray) -> np.ndarray:
    """Return the mean of the k smallest distances with each query's among them.

    Parameters
    ----------
    nearest
        ``(n, k)``, ascending.
    to_query
        ``(Q, n)``.

    Returns
    -------
    ``(Q, n)``.
    """
    k = nearest.shape[1]
    # The query takes the last place or none.
    return (nearest[:, :-1].sum(1) + np.minimum(nearest[:, -1], to_query)) / k


def _share(same: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return ``same / (same + other)``; one half where both are zero."""
    total = same + other
    return np.divide(same, total, out=np.full(np.shape(total), 0.5), where=total > 0)
