from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import binom

from scgde.stats import (
    NormalPrior,
    conformal_p_values,
    knn_label_p_values,
    knn_novelty,
    leave_one_out_distances,
)


def test_p_values_count_the_tested_one():
    assert list(conformal_p_values([0.5, 5.0, -1.0], np.arange(3.0))) == [0.75, 0.25, 1.0]
    assert list(conformal_p_values([1.0], np.empty(0))) == [1.0]
    assert list(conformal_p_values([1.0, 1.0], [[0.0, 1.0], [0.0, 0.0]])) == [2 / 3, 1 / 3]


def naive_novelty(points, fixed, query, k):
    """Scores of all, the query last, each against all the others, written without economy."""
    bag = np.concatenate([points, query[None]])
    d = cdist(bag, np.concatenate([bag, fixed]))
    d[np.arange(len(bag)), np.arange(len(bag))] = np.inf
    scores = np.sort(d, 1)[:, :k].mean(1)
    return (scores >= scores[-1]).sum() / len(bag), scores[-1]


@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("n_fixed", [0, 6])
def test_novelty_is_full_conformal_prediction(k, n_fixed):
    rng = np.random.default_rng(0)
    points, fixed, queries = (rng.normal(size=(n, 3)) for n in (12, n_fixed, 9))
    reference = np.concatenate([points, fixed])
    calibration = np.arange(len(reference)) < 12
    result = knn_novelty(cdist(reference, reference), cdist(queries, reference), calibration, k)
    k = min(k, len(reference))
    for i, query in enumerate(queries):
        expected = naive_novelty(points, fixed, query, k)
        assert (result.p_value[i], result.score[i]) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 4, 50])
def test_label_p_values_are_full_conformal_prediction(k):
    rng = np.random.default_rng(1)
    reference, queries = rng.normal(size=(20, 2)), rng.normal(size=(5, 2))
    labels = np.array([0, 1, 2, -1] * 5)
    calibration = rng.random(20) < 0.7
    result = knn_label_p_values(
        cdist(reference, reference), cdist(queries, reference), labels, calibration, k
    )
    for i, query in enumerate(queries):
        for c in range(3):
            bag, names = np.concatenate([reference, query[None]]), np.append(labels, c)
            d = cdist(bag, bag)
            np.fill_diagonal(d, np.inf)
            scores = []
            for j in [*np.flatnonzero(calibration & (labels == c)), 20]:
                same, other = (
                    np.sort(d[j, (names >= 0) & on])[: min(k, n)].mean()
                    for on, n in (
                        (names == c, (labels == c).sum()),
                        (names != c, ((labels >= 0) & (labels != c)).sum()),
                    )
                )
                scores.append(same / (same + other))
            assert result.score[i, c] == pytest.approx(scores[-1])
            expected = (np.array(scores) >= scores[-1] - 1e-12).mean()
            assert result.p_value[i, c] == pytest.approx(expected)
    assert list(result.n_calibration) == [(calibration & (labels == c)).sum() for c in range(3)]


def test_p_values_are_exact_for_exchangeable_populations():
    """P(p <= a) is floor(a (n + 1)) / (n + 1); within Monte-Carlo error, in every class."""
    rng = np.random.default_rng(2)
    n, n_runs, alpha = 19, 1_500, 0.2
    novel, wrong = 0, np.zeros(2)
    for _ in range(n_runs):
        labels = np.arange(2 * n) % 2
        x = rng.normal(size=(2 * n, 2)) + labels[:, None]
        y = rng.normal(size=(2, 2)) + np.arange(2)[:, None]
        within, across, every = cdist(x, x), cdist(y, x), np.ones(2 * n, bool)
        p = knn_label_p_values(within, across, labels, every, 3).p_value
        wrong += p.diagonal() <= alpha
        one, another = rng.normal(size=(n, 2)), rng.normal(size=(1, 2))
        p = knn_novelty(cdist(one, one), cdist(another, one), every[:n], 3).p_value
        novel += p[0] <= alpha
    low, high = binom.ppf([0.001, 0.999], n_runs, alpha)
    assert low <= wrong.min() <= wrong.max() <= high
    assert low <= novel <= high


def test_a_class_without_calibration_populations_is_never_excluded():
    x = np.arange(6.0)[:, None]
    labels = np.array([0, 0, 0, 1, 1, 1])
    calibration = labels == 0
    result = knn_label_p_values(cdist(x, x), np.array([[0.1, 1, 2, 3, 4, 5]]), labels, calibration)
    assert result.p_value[0, 1] == 1
    assert list(result.n_calibration) == [3, 0]


def test_equal_populations_do_not_divide_by_zero():
    zero = np.zeros((4, 4))
    result = knn_label_p_values(zero, zero[:1], np.array([0, 0, 1, 1]), np.ones(4, bool))
    assert (result.p_value == 1).all()
    assert knn_novelty(zero, zero[:1], np.ones(4, bool)).p_value[0] == 1


@pytest.mark.parametrize("with_noise", [False, True])
@pytest.mark.parametrize(("n", "n_latent"), [(8, 20), (40, 5)])
def test_leaving_one_out_in_one_step_is_near_refitting(n, n_latent, with_noise):
    rng = np.random.default_rng(3)
    noise = None
    z = rng.normal(size=(n, n_latent)) * np.linspace(1, 3, n_latent)
    if with_noise:
        a = rng.normal(size=(n, n_latent, 2 * n_latent)) / np.sqrt(2 * n_latent)
        noise = 0.5 * a @ a.swapaxes(1, 2)
        z = z + np.array([rng.multivariate_normal(np.zeros(n_latent), v) for v in noise])
    prior = NormalPrior.fit(z, noise)
    found = leave_one_out_distances(z, noise, prior)
    refitted = [
        NormalPrior.fit(z[others], None if noise is None else noise[others]).mahalanobis(z[[i]])[0]
        for i, others in enumerate(~np.eye(n, dtype=bool))
    ]
    np.testing.assert_allclose(found, refitted, rtol=0.15)
    assert (found > prior.mahalanobis(z)).mean() > 0.9


def test_mistakes_are_named():
    square, every = np.ones((3, 3)), np.ones(3, bool)
    for arguments, match in (
        ((square, np.ones((2, 4)), every), "across"),
        ((square, square, every[:2]), "calibration"),
        ((square, square, ~every), "calibration"),
        ((square, -square, every), "negative"),
        ((square * np.nan, square, every), "NaN"),
    ):
        with pytest.raises(ValueError, match=match):
            knn_novelty(*arguments)
    with pytest.raises(ValueError, match="n_neighbors=0"):
        knn_novelty(square, square, every, 0)
    with pytest.raises(ValueError, match="codes"):
        knn_label_p_values(square, square, np.zeros(3, int), every)
    z = np.eye(2)
    prior = NormalPrior.fit(z)
    with pytest.raises(ValueError, match="three"):
        leave_one_out_distances(z, None, prior)
