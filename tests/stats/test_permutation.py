from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from scgde.stats import (
    contrast_distances,
    contrast_test,
    count_arrangements,
    fit_groups,
    max_t_p_values,
    permutation_p_values,
    permute_within_blocks,
)

LABELS = np.array([0, 1, 1, 2, 0, 1, 0, 0])
BLOCKS = np.array([5, 5, 5, 5, 2, 2, 2, 9])


def none(n):
    return np.zeros(n, dtype=int)


def test_every_arrangement_within_blocks_is_as_likely():
    drawn = permute_within_blocks(LABELS, BLOCKS, 24_000, np.random.default_rng(0))
    for block in np.unique(BLOCKS):
        assert (np.sort(drawn[:, block == BLOCKS]) == np.sort(LABELS[block == BLOCKS])).all()
    ways, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(ways) == count_arrangements(LABELS, BLOCKS) == 12 * 3
    assert stats.chisquare(counts).pvalue > 0.001


def test_arrangements_are_counted():
    assert count_arrangements(LABELS[:4], none(4)) == len(set(permutations(LABELS[:4])))
    # Far beyond what a float or an integer of 64 bits can hold.
    assert count_arrangements(np.repeat([0, 1], 700), none(1400)) > 10**400


def test_p_values_are_never_zero_and_ties_count():
    permuted = np.array([[1.0, 9], [2, 1], [3, 1]])
    np.testing.assert_allclose(permutation_p_values(np.array([2.0, 10]), permuted), [3 / 4, 1 / 4])
    np.testing.assert_allclose(max_t_p_values(np.array([2.0, 10]), permuted), [1, 1 / 4])


def test_fit_is_least_squares():
    rng = np.random.default_rng(0)
    groups, blocks = np.arange(20) % 3, np.repeat(np.arange(4), 5)
    z = rng.normal(size=(20, 2))
    fit = fit_groups(z, groups, blocks)
    x = np.hstack([np.eye(4)[blocks], np.eye(3)[groups][:, 1:]])
    coefficients, squares, *_ = np.linalg.lstsq(x, z)
    np.testing.assert_allclose(fit.effects[1:] - fit.effects[0], coefficients[4:])
    assert fit.df == pytest.approx(20 - 6)
    np.testing.assert_allclose(np.diag(fit.covariance), squares / fit.df)
    contrast = np.array([-1.0, 0, 1])
    expected = np.linalg.inv(x.T @ x)[-1, -1]
    assert contrast @ fit.noise @ contrast == pytest.approx(expected)


def test_whole_weights_are_repeats():
    rng = np.random.default_rng(1)
    z, groups = rng.normal(size=(12, 2)), np.arange(12) % 2
    times = rng.integers(1, 4, 12)
    weighted = fit_groups(z, groups, none(12), times.astype(float))
    repeated = fit_groups(z.repeat(times, 0), groups.repeat(times), none(times.sum()))
    np.testing.assert_allclose(weighted.effects, repeated.effects)
    ratio = weighted.covariance / repeated.covariance
    np.testing.assert_allclose(ratio, repeated.df / weighted.df)


def test_weighted_covariance_is_unbiased():
    rng = np.random.default_rng(2)
    groups, blocks = np.arange(12) % 2, np.repeat([0, 1], 6)
    weights = rng.exponential(size=12)
    found = [
        fit_groups(rng.normal(size=(12, 20)), groups, blocks, weights).covariance.diagonal().mean()
        for _ in range(500)
    ]
    assert np.mean(found) == pytest.approx(1, abs=0.02)


def test_statistics_are_those_of_welch_and_of_pairs():
    """In one dimension, where nothing is shrunk: unpaired and paired t, squared."""
    rng = np.random.default_rng(3)
    z, groups = rng.normal(size=(14, 1)), np.repeat([0, 1], [5, 9])
    test = contrast_test(z, groups, [(0, 1)], none(14), 99)
    welch = stats.ttest_ind(z[groups == 1, 0], z[groups == 0, 0], equal_var=False)
    assert test.statistic[0] == pytest.approx(welch.statistic**2, rel=1e-6)
    groups, blocks = np.tile([0, 1], 7), np.repeat(np.arange(7), 2)
    test = contrast_test(z, groups, [(0, 1)], blocks, 99)
    paired = stats.ttest_rel(z[1::2, 0], z[::2, 0])
    assert test.statistic[0] == pytest.approx(paired.statistic**2, rel=1e-6)
    assert test.smallest_p_value[0] == pytest.approx(2 / 2**7)


def test_exact_p_value():
    """Of ten arrangements of 2 and 3 units the observed one is the most extreme."""
    z, groups = np.array([[0.0], [0.1], [5], [5.2], [5.1]]), np.array([0, 0, 1, 1, 1])
    test = contrast_test(z, groups, [(0, 1)], none(5), 20_000)
    assert test.smallest_p_value[0] == pytest.approx(0.1)
    assert test.p_value[0] == pytest.approx(0.1, abs=0.01)


def simulated(make, n_simulations=400, **options):
    tests = [contrast_test(*make(seed), 199, seed, **options) for seed in range(n_simulations)]
    return np.array([t.p_value for t in tests]), np.array([t.p_max_t for t in tests])


def test_level_is_kept_with_unequal_spread_and_size():
    def make(seed):
        rng = np.random.default_rng([1, seed])
        z = np.concatenate([1.3 * rng.normal(size=(8, 4)), rng.normal(size=(12, 4))])
        return z, np.repeat([0, 1], [8, 12]), [(0, 1)], none(20)

    assert np.mean(simulated(make, 800)[0] <= 0.05) == pytest.approx(0.055, abs=0.022)


def test_blocks_that_mimic_groups():
    """Batches move everything, and groups are shared unequally among them."""
    groups = np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1])
    blocks = np.repeat([0, 1], 6)

    def make(seed, with_blocks=True):
        rng = np.random.default_rng([2, seed])
        z = 3 * blocks[:, None] + rng.normal(size=(12, 3))
        return z, groups, [(0, 1)], blocks if with_blocks else none(12)

    assert np.mean(simulated(make)[0] <= 0.05) == pytest.approx(0.05, abs=0.03)

    def shifted(seed):
        z, *rest = make(seed)
        return z + 3 * groups[:, None], *rest

    assert np.mean(simulated(shifted, 50)[0] <= 0.05) > 0.9


def test_familywise_error_of_several_contrasts():
    groups = np.repeat(np.arange(4), 6)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]

    def make(seed):
        return np.random.default_rng([3, seed]).normal(size=(24, 3)), groups, pairs, none(24)

    p, adjusted = simulated(make, 250)
    assert (adjusted >= p).all()
    assert np.mean(p.min(1) <= 0.05) > 0.12
    assert np.mean(adjusted.min(1) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_contrast_does_not_depend_on_a_group_far_away():
    """What is permuted are the two groups of a contrast alone."""

    def make(seed):
        z = np.random.default_rng([4, seed]).normal(size=(18, 2))
        z[12:] += 50
        return z, np.repeat([0, 1, 2], 6), [(0, 1), (0, 2)], none(18)

    p, adjusted = simulated(make, 250)
    assert np.mean(p[:, 0] <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert (adjusted[:, 1] <= 0.05).mean() > 0.9


def test_a_seed_reproduces():
    rng = np.random.default_rng(5)
    arguments = rng.normal(size=(12, 2)), np.arange(12) % 3, [(0, 1), (0, 2)], none(12)
    once, again, other = (contrast_test(*arguments, 499, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once.p_value, again.p_value)
    assert (once.p_value != other.p_value).any()


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_distance_intervals_cover(distance):
    covered, estimates = [], []
    for seed in range(40):
        rng = np.random.default_rng([6, seed])
        groups = np.repeat([0, 1], [15, 20])
        z = rng.normal(size=(35, 3)) + distance * groups[:, None] * np.array([1, 0, 0])
        estimate, low, high = contrast_distances(
            z, groups, np.array([(0, 1)]), none(35), np.arange(35), 150, seed=seed
        )[0]
        covered.append(low <= distance + 1e-9 and distance <= high)
        estimates.append(estimate)
    assert np.mean(covered) >= 0.87
    assert np.mean(estimates) == pytest.approx(distance, abs=0.35)
