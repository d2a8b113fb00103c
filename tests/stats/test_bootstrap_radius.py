from __future__ import annotations

import numpy as np
import pytest

from scgde.stats import bootstrap_radius, hotelling_radius


def test_many_normal_cells_give_hotellings_radius():
    psi = np.random.default_rng(0).normal(size=(3_000, 4))
    radius = bootstrap_radius(psi, n_bootstrap=4_000)
    assert abs(radius / hotelling_radius(3_000, 4) - 1) < 0.06


def test_scale_and_turn_of_directions_do_not_matter():
    rng = np.random.default_rng(1)
    psi = rng.exponential(size=(80, 3))
    turned = psi @ rng.normal(size=(3, 3)) * 1e-3 + 5
    assert bootstrap_radius(turned) == pytest.approx(bootstrap_radius(psi), rel=1e-6)


def test_skewed_cells_are_covered_better_than_by_hotelling():
    """Means of 60 log-normal cells in five directions, against the true mean."""
    rng = np.random.default_rng(2)
    truth, n, p = np.exp(0.5), 60, 5
    covered = {"bootstrap": 0, "hotelling": 0}
    for _ in range(300):
        x = rng.lognormal(size=(n, p))
        d = x.mean(0) - truth
        distance = d @ np.linalg.solve(np.cov(x.T) / n, d)
        covered["bootstrap"] += distance < bootstrap_radius(x, n_bootstrap=200)
        covered["hotelling"] += distance < hotelling_radius(n, p)
    assert covered["hotelling"] / 300 < 0.85
    assert covered["bootstrap"] / 300 > covered["hotelling"] / 300 + 0.04


def test_seed():
    psi = np.random.default_rng(3).normal(size=(50, 2))
    assert bootstrap_radius(psi, seed=1) == bootstrap_radius(psi, seed=1)
    assert bootstrap_radius(psi, seed=1) != bootstrap_radius(psi, seed=2)


@pytest.mark.parametrize(
    ("influence", "options", "message"),
    [
        (np.ones((3, 3)), {}, "more cells than"),
        (np.ones(5), {}, "cells x directions"),
        (np.full((9, 2), np.nan), {}, "NaN"),
        (np.random.default_rng(0).normal(size=(9, 1)) * [1, 2], {}, "do not differ"),
        (np.eye(9)[:, :2], {"level": 95}, "level=95"),
        (np.eye(9)[:, :2], {"n_bootstrap": 0}, "n_bootstrap=0"),
    ],
)
def test_bad_input(influence, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_radius(influence, **options)
