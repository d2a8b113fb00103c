from __future__ import annotations

import numpy as np
import pytest

from scgde.stats import bootstrap_test, hotelling_test


def hotelling(d, a, b) -> float:
    covariances = np.cov(a.T) / len(a), len(a), np.cov(b.T) / len(b), len(b)
    return hotelling_test(d, *covariances).p_value


def rejected(draw, n_a, n_b, n_simulations, **options) -> tuple[float, float]:
    """Return how often the bootstrap and Hotelling reject two samples of one distribution."""
    rng = np.random.default_rng(0)
    found = np.zeros(2)
    for seed in range(n_simulations):
        a, b = draw(rng, n_a), draw(rng, n_b)
        d = b.mean(0) - a.mean(0)
        own = bootstrap_test(d, a, b, n_bootstrap=199, seed=seed, **options)
        found += own <= 0.05, hotelling(d, a, b) <= 0.05
    return tuple(found / n_simulations)


def test_skewed_cells_of_few_against_many_keep_the_level():
    own, plain = rejected(lambda rng, n: rng.lognormal(size=(n, 2)), 60, 600, 800)
    assert 0.02 < own < 0.09
    assert own < plain - 0.015


def test_a_rare_type_keeps_the_level_where_sides_are_pooled():
    def draw(rng, n):
        x = 0.1 * rng.normal(size=(n, 2))
        x[:, 0] += 8 * (rng.random(n) < 0.02)
        return x

    own, plain = rejected(draw, 100, 1_000, 200, pooled=True)
    assert 0.01 < own < 0.09
    assert own < plain - 0.06


@pytest.mark.parametrize("pooled", [False, True])
def test_normal_cells_give_hotellings_p_value(pooled):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(300, 3)), 2 * rng.normal(size=(400, 3))
    for size in (0.1, 0.2, 0.3):
        d = np.array([size, -size, 0])
        p = bootstrap_test(d, a, b, n_bootstrap=4_000, pooled=pooled)
        assert p == pytest.approx(hotelling(d, a, b), abs=0.025)


def test_scale_and_turn_do_not_matter_and_a_seed_reproduces():
    rng = np.random.default_rng(2)
    a, b, d = rng.exponential(size=(50, 3)), rng.exponential(size=(80, 3)), np.full(3, 0.2)
    turn = rng.normal(size=(3, 3)) * 1e-3
    p = bootstrap_test(d, a, b)
    assert bootstrap_test(d @ turn, a @ turn + 5, b @ turn) == pytest.approx(p, abs=2e-3)
    assert bootstrap_test(d, a, b) == p != bootstrap_test(d, a, b, seed=1)
    assert bootstrap_test(100 * d, a, b, n_bootstrap=99) == 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"difference": np.zeros(3)}, "must have shapes"),
        ({"influence_a": np.ones(9)}, "must have shapes"),
        ({"difference": np.array([0, np.nan])}, "NaN"),
        ({"influence_b": np.zeros((1, 2))}, "two at least"),
        ({"influence_a": np.ones((9, 2)), "influence_b": np.ones((9, 2))}, "do not vary"),
        ({"n_bootstrap": 0}, "n_bootstrap=0"),
    ],
)
def test_bad_input(change, message):
    rng = np.random.default_rng(3)
    sides = {"influence_a": rng.normal(size=(9, 2)), "influence_b": rng.normal(size=(8, 2))}
    with pytest.raises(ValueError, match=message):
        bootstrap_test(**{"difference": np.zeros(2), **sides, **change})
